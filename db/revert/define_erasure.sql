-- Revert pmp:define_erasure from pg
BEGIN;
DROP FUNCTION pmp.erase_user(uuid, text);
COMMIT;
