-- Revert pmp:define_reads from pg
BEGIN;
DROP FUNCTION pmp.check_choices(jsonb);
DROP VIEW pmp.event_record;
DROP FUNCTION pmp.user_as_of(uuid, timestamptz);
DROP VIEW pmp.user_record;
DROP FUNCTION pmp.describe_choices(pmp.current_choice[], timestamptz);
DROP FUNCTION pmp.replay(bigint, timestamptz);
DROP FUNCTION pmp.expiry(timestamptz, integer);
DROP FUNCTION pmp.instant(timestamptz);
COMMIT;
