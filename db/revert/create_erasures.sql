-- Revert pmp:create_erasures from pg
BEGIN;
DROP FUNCTION pmp.erasure_lock;
DROP TABLE pmp.former_identifier, pmp.erasure;
COMMIT;
