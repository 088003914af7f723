-- Verify pmp:define_imports on pg
BEGIN;
INSERT INTO pmp.import_job (id, state, format, compression, client, bucket, object_key, lease_owner)
VALUES (
  '00000000-0000-4000-8000-000000000001', 'running', 'ndjson', 'none', 'verify', 'bucket', 'verify',
  '00000000-0000-4000-8000-000000000001'
);
-- Two lines of a new user, the older one last; a third line of an unknown user; a fourth, invalid line.
CREATE FUNCTION pg_temp.merge(owner integer, up_to integer) RETURNS text LANGUAGE sql AS $$
  SELECT pmp.import_batch(
    '00000000-0000-4000-8000-000000000001', ('00000000-0000-4000-8000-00000000000' || owner)::uuid, 60, up_to - 400, up_to, up_to, up_to, up_to,
    '{1,2,3}',
    '{10000000-0000-4000-8000-000000000001,10000000-0000-4000-8000-000000000002,10000000-0000-4000-8000-000000000003}',
    '{NULL,NULL,20000000-0000-4000-8000-000000000001}', '{Verify@example.invalid,verify@EXAMPLE.invalid,NULL}',
    '{2026-01-02Z,2026-01-01Z,2026-01-02Z}', '{t,t,t}', '{"{1}","{1}","{1}"}', '{"{t}","{f}","{t}"}', '{}', '{NULL,NULL,NULL}',
    ARRAY[NULL, '{"ip": "192.0.2.1"}', NULL]::jsonb[], false,
    '{bad}', sha256('verify') || sha256('verify') || sha256('no address')
  ) ->> 'state'
$$;
SELECT 1 / (pg_temp.merge(2, 400) = 'taken')::int;
SELECT 1 / (pg_temp.merge(1, 400) = 'running')::int;
SELECT 1 / ((lines, accepted, skipped, rejected) = (4, 2, 0, 2))::int FROM pmp.import_job WHERE object_key = 'verify';
SELECT 1 / (reasons = '{"bad": 1, "unknown_user": 1}')::int FROM pmp.import_job WHERE object_key = 'verify';
-- The same batch again, after a lost response: nothing happens.
SELECT 1 / (pg_temp.merge(1, 400) = 'running')::int;
SELECT 1 / (lines = 4)::int FROM pmp.import_job WHERE object_key = 'verify';
SELECT 1 / enabled::int FROM pmp.current_choice JOIN pmp.subject USING (subject_key) WHERE email_key = 'verify@example.invalid';
SELECT 1 / (c.context = '{"ip": "192.0.2.1"}')::int
FROM pmp.event_context AS c JOIN pmp.event AS e USING (subject_key, sequence)
WHERE e.id = '10000000-0000-4000-8000-000000000002';
SELECT 1 / (pg_temp.merge(1, 1600) = 'behind')::int;
-- The same lines at a later position are two duplicates and the same rejects.
SELECT 1 / (pg_temp.merge(1, 800) = 'running')::int;
SELECT 1 / ((lines, accepted, skipped, rejected) = (8, 2, 2, 4))::int FROM pmp.import_job WHERE object_key = 'verify';
-- After the user was erased, the lines are refused.
INSERT INTO pmp.erasure VALUES ('20000000-0000-4000-8000-000000000009', sha256('verify'), '2026-01-02Z');
SELECT 1 / (pg_temp.merge(1, 1200) = 'running')::int;
SELECT 1 / ((lines, accepted, skipped, rejected) = (12, 2, 2, 8))::int FROM pmp.import_job WHERE object_key = 'verify';
SELECT pmp.analyze_grown();
SELECT 1 / has_function_privilege('pmp_app', 'pmp.analyze_grown()', 'EXECUTE')::int;
ROLLBACK;
