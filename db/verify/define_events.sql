-- Verify pmp:define_events on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
CREATE FUNCTION pg_temp.record(event_number integer, happened_at timestamptz, enabled boolean) RETURNS text LANGUAGE sql AS $$
  SELECT pmp.create_event(
    ('10000000-0000-4000-8000-00000000000' || event_number)::uuid, '00000000-0000-4000-8000-000000000001',
    jsonb_build_array(jsonb_build_object('id', 'email_notifications', 'enabled', enabled)), happened_at, 'verify'
  ) ->> 'outcome'
$$;
CREATE FUNCTION pg_temp.choice() RETURNS boolean LANGUAGE sql AS $$
  SELECT c.enabled FROM pmp.current_choice AS c JOIN pmp.subject AS s USING (subject_key)
  WHERE s.email_key = 'verify@example.invalid'
$$;
SELECT 1 / (pg_temp.record(1, '2026-01-02Z', true) = 'created')::int;
SELECT 1 / (pg_temp.record(1, '2026-01-02Z', true) = 'repeated')::int;
SELECT 1 / (pg_temp.record(1, '2026-01-02Z', false) = 'conflict')::int;
-- An older event changes nothing; an event of the same instant does only if it is a denial.
SELECT 1 / (pg_temp.record(2, '2026-01-01Z', false) = 'created' AND pg_temp.choice())::int;
SELECT 1 / (pg_temp.record(3, '2026-01-02Z', false) = 'created' AND NOT pg_temp.choice())::int;
SELECT 1 / (pg_temp.record(4, '2026-01-02Z', true) = 'created' AND NOT pg_temp.choice())::int;
SELECT 1 / (pg_temp.record(5, NULL, true) = 'created' AND pg_temp.choice())::int;
SELECT 1 / (pg_temp.record(6, now() + interval '1 hour', true) = 'in_future')::int;
-- By address; what adds no event makes no user; one event of a batch does not stop another.
CREATE FUNCTION pg_temp.item(email text, consent text) RETURNS jsonb LANGUAGE sql AS $$
  SELECT jsonb_build_object('id', gen_random_uuid(), 'email', email, 'is_upsert', true, 'has_fraction', true,
    'choices', jsonb_build_array(jsonb_build_object('id', consent, 'enabled', true)))
$$;
SELECT 1 / (jsonb_path_query_array(pmp.create_events(jsonb_build_array(
  pg_temp.item('new@example.invalid', 'sms_notifications'), pg_temp.item('other@example.invalid', 'nothing'),
  pg_temp.item('VERIFY@example.invalid', 'sms_notifications')
), 'verify'), '$[*].outcome') = '["created", "unknown_consent", "created"]')::int;
SELECT 1 / (array_agg(email_key ORDER BY email_key) = ARRAY['new@example.invalid', 'verify@example.invalid'])::int
FROM pmp.subject WHERE email_key LIKE '%@example.invalid';
SELECT 1 / (pmp.create_event_by_address(gen_random_uuid(), 'nobody@example.invalid', NULL, false,
  '[{"id": "sms_notifications", "enabled": true}]', NULL, 'verify', true) = '{"outcome": "unknown_user"}')::int;
ROLLBACK;
