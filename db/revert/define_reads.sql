-- Revert pmp:define_reads from pg
BEGIN;
DROP FUNCTION pmp.check_consents(jsonb);
DROP FUNCTION pmp.export_user(uuid);
DROP FUNCTION pmp.list_user_events(uuid, timestamptz, bigint, integer);
DROP FUNCTION pmp.list_events(bigint, integer);
DROP FUNCTION pmp.get_event(uuid);
DROP FUNCTION pmp.describe_event(pmp.event_record);
DROP VIEW pmp.event_record;
DROP FUNCTION pmp.list_users(uuid, integer, text, text, boolean);
DROP FUNCTION pmp.get_user(uuid, timestamptz);
DROP FUNCTION pmp.describe_user(pmp.subject);
DROP FUNCTION pmp.describe_choice(text, boolean, timestamptz, timestamptz);
DROP FUNCTION pmp.replay(bigint, timestamptz);
DROP FUNCTION pmp.expiry(boolean, timestamptz, integer);
COMMIT;
