-- Revert pmp:create_idempotency_keys from pg
BEGIN;
DROP FUNCTION pmp.delete_expired_keys(integer);
DROP FUNCTION pmp.idempotency_finish(text, text, bytea, integer, jsonb, text, uuid);
DROP FUNCTION pmp.idempotency_begin(text, text, bytea);
DROP TABLE pmp.idempotency_key;
COMMIT;
