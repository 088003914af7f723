-- Revert pmp:define_signals from pg
BEGIN;
DROP FUNCTION pmp.record_signal(uuid, uuid, text, text, text[], text[], jsonb, text);
DROP FUNCTION pmp.find_signalled(bigint, text[]);
COMMIT;
