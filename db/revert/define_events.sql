-- Revert pmp:define_events from pg
BEGIN;
DROP FUNCTION pmp.create_events(jsonb, text);
DROP FUNCTION pmp.create_event_by_identifier, pmp.create_event_by_address;
DROP FUNCTION pmp.create_event(uuid, uuid, jsonb, timestamptz, text, boolean, jsonb);
DROP FUNCTION pmp.overridden(pmp.event);
COMMIT;
