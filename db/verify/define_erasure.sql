-- Verify pmp:define_erasure on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
SELECT pmp.idempotency_finish('verify', 'erase', 'one', 201, '{}', '{"email": "Verify@example.invalid"}');
SELECT 1 / (pmp.erase_user('00000000-0000-4000-8000-000000000001', 'verify'))::int;
SELECT 1 / (pmp.erase_user('00000000-0000-4000-8000-000000000001', 'verify') IS FALSE)::int;
SELECT 1 / (pmp.erase_user('00000000-0000-4000-8000-000000000009', 'verify') IS NULL)::int;
SELECT 1 / (email IS NULL AND erased_at IS NOT NULL)::int
FROM pmp.subject WHERE id = '00000000-0000-4000-8000-000000000001';
SELECT 1 / (count(*) = 0)::int FROM pmp.idempotency_key WHERE client = 'verify';
ROLLBACK;
