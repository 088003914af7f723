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
SELECT 1 / (c.lines = 1 AND c.content::jsonb #>> '{user,email}' = 'verify@example.invalid')::int
FROM pmp.export_choices_page(
  (SELECT subject_key - 1 FROM pmp.subject WHERE email_key = 'verify@example.invalid'), 1, now(), clock_timestamp()
) AS c;
SELECT 1 / (e.lines = 1 AND e.content::jsonb ->> 'id' = '10000000-0000-4000-8000-000000000001')::int
FROM pmp.event AS v, pmp.export_events_page(
  v.transaction_number, v.sequence - 1, v.transaction_number + 1, 1, clock_timestamp(), clock_timestamp()
) AS e
WHERE v.id = '10000000-0000-4000-8000-000000000001';
ROLLBACK;
