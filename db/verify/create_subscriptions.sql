-- Verify pmp:create_subscriptions on pg
BEGIN;
INSERT INTO pmp.subscription (id, url, description, client, is_enabled)
VALUES ('00000000-0000-4000-8000-000000000001', 'https://verify.example', '', 'verify', true);
INSERT INTO pmp.delivery_lane (subscription_key, lane, number, sequence)
SELECT subscription_key, 'prompt', 0, 0 FROM pmp.subscription WHERE url = 'https://verify.example';
INSERT INTO pmp.delivery (subscription_key, lane, pass, number, sequence, after_number, after_sequence, acknowledged_at)
SELECT subscription_key, lane, pass, 1, 1, number, sequence, now() FROM pmp.delivery_lane;
-- An erasure, and the end of a job, leave a notice.
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
UPDATE pmp.subject SET email = NULL, erased_at = now(), erased_by = created_by
WHERE id = '00000000-0000-4000-8000-000000000001';
INSERT INTO pmp.import_job (id, format, compression, client, bucket, object_key)
VALUES ('00000000-0000-4000-8000-000000000002', 'csv', 'none', 'verify', 'verify', 'verify');
UPDATE pmp.import_job SET state = 'cancelled', finished_at = now() WHERE client = 'verify';
SELECT 1 / (array_agg(type ORDER BY sequence) = '{user.erased,import.ended}')::int
FROM pmp.notice WHERE subject_id::text LIKE '00000000-0000-4000-8000-00000000000%';
SELECT 1 / (count(*) = 1)::int FROM pmp.delivery_chain;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.delivery', 'UPDATE, DELETE'))::int;
ROLLBACK;
