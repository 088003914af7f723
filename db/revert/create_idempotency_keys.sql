-- Revert pmp:create_idempotency_keys from pg
BEGIN;
DROP FUNCTION pmp.keep_answer(text, text, bytea, integer, json, text, uuid);
DROP FUNCTION pmp.claim_idempotency_key(text, text, bytea);
DROP TABLE pmp.idempotency_key;
COMMIT;
