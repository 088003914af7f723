-- Revert pmp:define_events from pg
BEGIN;
DROP FUNCTION pmp.record_event(uuid, uuid, timestamptz, text[], boolean[], integer[], text);
COMMIT;
