-- Verify pmp:define_erasure on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
SELECT pmp.set_identifiers(s.subject_key, '{"phone": "+41791234567"}', 'verify') FROM pmp.subject AS s
WHERE s.id = '00000000-0000-4000-8000-000000000001';
SELECT pmp.idempotency_finish(
  'verify', 'erase', 'one', 201, '{}', '{"email": "verify@example.invalid"}', '00000000-0000-4000-8000-000000000001'
);
SELECT pmp.idempotency_finish('verify', 'other', 'one', 201, '{}', '{"email": "notverify@example.invalid"}');
CREATE FUNCTION pg_temp.erase(person integer) RETURNS boolean LANGUAGE sql AS $$
  SELECT pmp.erase_user(('00000000-0000-4000-8000-00000000000' || person)::uuid, 'verify', ARRAY[sha256('verify'), sha256('former')], now())
$$;
SELECT 1 / (pmp.prepare_erasure('00000000-0000-4000-8000-000000000001') -> 'identifiers'
  = '["verify@example.invalid", "phone:+41791234567"]')::int;
SELECT 1 / pg_temp.erase(1)::int;
SELECT 1 / (pg_temp.erase(1) IS FALSE)::int;
SELECT 1 / (pg_temp.erase(9) IS NULL)::int;
SELECT 1 / (pmp.prepare_erasure('00000000-0000-4000-8000-000000000001') = '{"erased": true}')::int;
SELECT 1 / (pmp.subject_named('phone', '+41791234567') IS NULL)::int;
SELECT 1 / (email IS NULL AND erased_at IS NOT NULL)::int
FROM pmp.subject WHERE id = '00000000-0000-4000-8000-000000000001';
SELECT 1 / ((body IS NULL) = (key = 'erase'))::int FROM pmp.idempotency_key WHERE client = 'verify';
SELECT 1 / (count(*) = 1)::int FROM pmp.erasure WHERE address_hash = sha256('verify');
SELECT 1 / (pmp.replay_erasure('{00000000-0000-4000-8000-000000000001}', ARRAY[sha256('verify')], now()) = 'known')::int;
SELECT 1 / (pmp.replay_erasure('{00000000-0000-4000-8000-000000000009}', ARRAY[sha256('verify')], now()) = 'remembered')::int;
SELECT 1 / (jsonb_array_length(answer -> 'erased') = 2 AND answer -> 'user' = 'null' AND answer -> 'items' = '[]')::int
FROM pmp.lookup_user('email', 'verify@example.invalid', sha256('verify'), NULL, NULL, NULL, 10) AS answer;
ROLLBACK;
