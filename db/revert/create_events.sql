-- Revert pmp:create_events from pg
BEGIN;
DROP TABLE pmp.current_choice;
DROP FUNCTION pmp.counts_at(timestamptz, timestamptz, boolean, boolean);
DROP TABLE pmp.event;
COMMIT;
