-- Verify pmp:define_events on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
CREATE FUNCTION pg_temp.record(event_id uuid, happened_at timestamptz, enabled boolean) RETURNS text LANGUAGE sql AS $$
  SELECT outcome FROM pmp.record_event(
    event_id, '00000000-0000-4000-8000-000000000001', happened_at, '{email_notifications}', ARRAY[enabled], NULL, 'verify'
  )
$$;
SELECT 1 / (pg_temp.record('10000000-0000-4000-8000-000000000001', '2026-01-02Z', true) = 'created')::int;
SELECT 1 / (pg_temp.record('10000000-0000-4000-8000-000000000001', '2026-01-02Z', true) = 'repeated')::int;
SELECT 1 / (pg_temp.record('10000000-0000-4000-8000-000000000001', '2026-01-02Z', false) = 'conflict')::int;
-- An older event changes nothing, one of the same instant only if it denies.
SELECT 1 / (pg_temp.record('10000000-0000-4000-8000-000000000002', '2026-01-01Z', false) = 'created')::int;
SELECT 1 / enabled::int FROM pmp.current_choice JOIN pmp.subject USING (subject_key) WHERE email_key = 'verify@example.invalid';
SELECT 1 / (pg_temp.record('10000000-0000-4000-8000-000000000003', '2026-01-02Z', false) = 'created')::int;
SELECT 1 / (NOT enabled)::int FROM pmp.current_choice JOIN pmp.subject USING (subject_key) WHERE email_key = 'verify@example.invalid';
SELECT 1 / (pg_temp.record('10000000-0000-4000-8000-000000000004', now() + interval '1 hour', true) = 'in_future')::int;
ROLLBACK;
