-- Revert pmp:create_confirmations from pg
BEGIN;
DROP FUNCTION pmp.delete_expired_confirmations(integer);
DROP FUNCTION pmp.is_pending(bigint, integer);
DROP TABLE pmp.confirmation;
COMMIT;
