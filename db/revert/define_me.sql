-- Revert pmp:define_me from pg
BEGIN;
DROP FUNCTION pmp.unsubscribe(uuid, uuid, text[], text);
DROP FUNCTION pmp.confirm(uuid, uuid);
DROP FUNCTION pmp.ask_confirmation(uuid, uuid, text[], timestamptz, text, jsonb, integer);
DROP FUNCTION pmp.examine_token(uuid, text[]);
DROP FUNCTION pmp.get_me(uuid, text[]);
COMMIT;
