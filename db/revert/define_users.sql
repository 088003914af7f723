-- Revert pmp:define_users from pg
BEGIN;
DROP FUNCTION pmp.create_user(text, text);
COMMIT;
