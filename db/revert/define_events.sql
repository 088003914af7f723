-- Revert pmp:define_events from pg
BEGIN;
DROP FUNCTION pmp.create_event(uuid, uuid, jsonb, timestamptz, text, boolean);
DROP FUNCTION pmp.overridden(pmp.event);
COMMIT;
