-- Verify pmp:create_idempotency_keys on pg
BEGIN;
SELECT 1 / (pmp.idempotency_begin('verify', 'key', 'one') IS NULL)::int;
SELECT pmp.idempotency_finish('verify', 'key', 'one', 201, '{"location": "/v1"}', '{}');
SELECT 1 / (pmp.idempotency_begin('verify', 'key', 'one')
  = '{"state": "done", "status": 201, "headers": {"location": "/v1"}, "body": "{}"}')::int;
SELECT 1 / (pmp.idempotency_begin('verify', 'key', 'two') = '{"state": "mismatch"}')::int;
UPDATE pmp.idempotency_key SET expires_at = now() WHERE client = 'verify';
SELECT 1 / (pmp.idempotency_begin('verify', 'key', 'two') IS NULL)::int;
SELECT 1 / (pmp.delete_expired_keys(1) = 1)::int;
SELECT pmp.idempotency_finish('verify', 'key', 'one', 201, '{}', '{}');
UPDATE pmp.idempotency_key SET body = NULL WHERE client = 'verify';
SELECT 1 / (pmp.idempotency_begin('verify', 'key', 'one') = '{"state": "erased"}')::int;
ROLLBACK;
