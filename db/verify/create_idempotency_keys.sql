-- Verify pmp:create_idempotency_keys on pg
BEGIN;
SELECT 1 / (outcome = 'new')::int FROM pmp.claim_idempotency_key('verify', 'key', 'one');
SELECT pmp.keep_answer('verify', 'key', 'one', 201, '{"location": "/v1"}', '{}', NULL);
SELECT 1 / (outcome = 'replay' AND status = 201 AND body = '{}')::int FROM pmp.claim_idempotency_key('verify', 'key', 'one');
SELECT 1 / (outcome = 'mismatch')::int FROM pmp.claim_idempotency_key('verify', 'key', 'two');
UPDATE pmp.idempotency_key SET expires_at = now() WHERE client = 'verify';
SELECT 1 / (outcome = 'new')::int FROM pmp.claim_idempotency_key('verify', 'key', 'two');
ROLLBACK;
