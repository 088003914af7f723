-- Revert pmp:define_events from pg
BEGIN;
DROP FUNCTION pmp.create_events(jsonb, text);
DROP FUNCTION pmp.create_event_by_address(uuid, text, bytea, boolean, jsonb, timestamptz, text, boolean, jsonb);
DROP FUNCTION pmp.create_event(uuid, uuid, jsonb, timestamptz, text, boolean, jsonb);
DROP FUNCTION pmp.overridden(pmp.event);
COMMIT;
