-- Revert pmp:create_events from pg
BEGIN;
DROP TABLE pmp.current_choice;
DROP TABLE pmp.event_context;
DROP FUNCTION pmp.counts_at(timestamptz, timestamptz, boolean, boolean);
DROP FUNCTION pmp.is_same_event(pmp.event, bigint, timestamptz, integer[], boolean[], text, integer[]);
DROP FUNCTION pmp.fits(jsonb, jsonb, boolean);
DROP FUNCTION pmp.chosen_values(text);
DROP TABLE pmp.event;
COMMIT;
