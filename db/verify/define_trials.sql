-- Verify pmp:define_trials on pg
BEGIN;
INSERT INTO pmp.import_job (id, state, format, compression, dry_run, client, bucket, object_key, lease_owner)
VALUES (
  '00000000-0000-4000-8000-000000000001', 'running', 'ndjson', 'none', true, 'verify', 'bucket', 'verify',
  '00000000-0000-4000-8000-000000000001'
);
-- A new user's denial and grant, and an unknown user.
CREATE FUNCTION pg_temp.try(up_to integer) RETURNS text LANGUAGE sql AS $$
  SELECT pmp.import_batch(
    '00000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001', 60, up_to - 400, up_to, up_to,
    up_to, up_to, '{1,2,3}',
    '{10000000-0000-4000-8000-000000000001,10000000-0000-4000-8000-000000000002,10000000-0000-4000-8000-000000000003}',
    '{NULL,NULL,20000000-0000-4000-8000-000000000001}', '{Verify@example.invalid,verify@EXAMPLE.invalid,NULL}',
    '{2026-01-01Z,2026-01-02Z,2026-01-02Z}', '{t,t,t}', '{"{1}","{1}","{1}"}', '{"{f}","{t}","{t}"}',
    '{}', '{NULL,NULL,NULL}', ARRAY[NULL, '{"ip": "192.0.2.1"}', NULL]::jsonb[], false, '{bad}', sha256('verify') || sha256('verify') || sha256('no address')
  ) ->> 'state'
$$;
SELECT 1 / (pg_temp.try(400) = 'running')::int;
SELECT 1 / ((lines, accepted, skipped, rejected, opted_in, opted_out, unchanged, new_users) = (4, 2, 0, 2, 1, 1, 0, 1))::int
FROM pmp.import_job WHERE object_key = 'verify';
-- The same lines in another batch are known.
SELECT 1 / (pg_temp.try(800) = 'running')::int;
SELECT 1 / ((lines, accepted, skipped, rejected, opted_in, opted_out, unchanged, new_users) = (8, 2, 2, 4, 1, 1, 0, 1))::int
FROM pmp.import_job WHERE object_key = 'verify';
SELECT 1 / (NOT EXISTS (SELECT FROM pmp.subject WHERE email_key = 'verify@example.invalid'))::int;
ROLLBACK;
