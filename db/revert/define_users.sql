-- Revert pmp:define_users from pg
BEGIN;
DROP FUNCTION pmp.merge_users, pmp.change_user, pmp.lock_user, pmp.create_user;
COMMIT;
