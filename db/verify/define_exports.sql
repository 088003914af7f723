-- Verify pmp:define_exports on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
SELECT pmp.create_event(
  '10000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001',
  '[{"id": "sms_notifications", "enabled": true}]', now(), 'verify'
);
CREATE FUNCTION pg_temp.users(enabled boolean) RETURNS bigint LANGUAGE sql AS $$
  SELECT users FROM pmp.export_page(
    (SELECT subject_key - 1 FROM pmp.subject WHERE email_key = 'verify@example.invalid'), 1, 'sms_notifications', enabled, now(), clock_timestamp()
  )
$$;
SELECT 1 / (pg_temp.users(true) = 1 AND pg_temp.users(false) = 0)::int;
SELECT 1 / (last_key IS NULL)::int
FROM pmp.export_page((SELECT max(subject_key) FROM pmp.subject), 1, NULL, NULL, now(), now());
ROLLBACK;
