-- Verify pmp:create_jobs on pg
BEGIN;
INSERT INTO pmp.import_job (id, format, compression, client, bucket, object_key, object_version)
VALUES ('00000000-0000-4000-8000-000000000001', 'ndjson', 'none', 'verify', 'bucket', 'verify', '1');
DO $$
BEGIN
  UPDATE pmp.import_job SET lines = 3, accepted = 1, rejected = 1 WHERE object_key = 'verify';
  RAISE EXCEPTION 'the counts of an import need not add up';
EXCEPTION WHEN check_violation THEN NULL;
END
$$;
DO $$
BEGIN
  INSERT INTO pmp.import_job (id, format, compression, client, bucket, object_key, object_version)
  VALUES ('00000000-0000-4000-8000-000000000002', 'ndjson', 'none', 'verify', 'bucket', 'verify', '1');
  RAISE EXCEPTION 'one version of an object has two jobs';
EXCEPTION WHEN unique_violation THEN NULL;
END
$$;
DO $$
BEGIN
  INSERT INTO pmp.import_job (id, format, compression, client, bucket, object_key, object_version, parts)
  VALUES ('00000000-0000-4000-8000-000000000002', 'ndjson', 'none', 'verify', 'bucket', 'sum', '1', 2);
  RAISE EXCEPTION 'an import of several objects has an object of its own';
EXCEPTION WHEN check_violation THEN NULL;
END
$$;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.import_job', 'DELETE'))::int;
SELECT 1 / (NOT (
  has_column_privilege('pmp_readonly', 'pmp.import_reject', 'original', 'SELECT')
  OR has_column_privilege('pmp_readonly', 'pmp.import_job', 'file_name', 'SELECT')
))::int;
INSERT INTO pmp.export_job (id, client, bucket, object_key, as_of, known_at)
VALUES ('00000000-0000-4000-8000-000000000003', 'verify', 'bucket', 'verify', now(), now());
INSERT INTO pmp.export_job (id, client, bucket, object_key, as_of, known_at, schedule, due_at)
VALUES ('00000000-0000-4000-8000-000000000004', 'verify', 'bucket', 'verify', now(), now(), 'verify', now());
DO $$
BEGIN
  INSERT INTO pmp.export_job (id, client, bucket, object_key, as_of, known_at, schedule, due_at)
  VALUES ('00000000-0000-4000-8000-000000000005', 'verify', 'bucket', 'verify', now(), now(), 'verify', now());
  RAISE EXCEPTION 'a schedule has two exports of one instant';
EXCEPTION WHEN unique_violation THEN NULL;
END
$$;
INSERT INTO pmp.import_mapping (id, document, client) VALUES ('verify', '{"prefix": "imports/verify/"}', 'verify');
DO $$
BEGIN
  INSERT INTO pmp.import_mapping (id, document, client) VALUES ('verify_2', '{"prefix": "imports/verify/"}', 'verify');
  RAISE EXCEPTION 'two mappings have the same prefix';
EXCEPTION WHEN unique_violation THEN NULL;
END
$$;
ROLLBACK;
