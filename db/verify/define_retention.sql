-- Verify pmp:define_retention on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
CREATE FUNCTION pg_temp.record(id integer, enabled boolean) RETURNS void LANGUAGE sql AS $$
  SELECT pmp.create_event(
    ('00000000-0000-4000-8000-00000000001' || id)::uuid, '00000000-0000-4000-8000-000000000001',
    jsonb_build_array(jsonb_build_object('id', 'email_notifications', 'enabled', enabled)), NULL, 'verify'
  )
$$;
SELECT pg_temp.record(1, true);
SELECT pg_temp.record(2, false);
-- Nothing leaves by itself, and nothing in flight does.
SELECT 1 / (pmp.remove_expired_events('{}', gen_random_uuid(), 10) = '{"more": false, "removed": 0}')::int;
SELECT 1 / (pmp.remove_expired_events('{"days": 30}', gen_random_uuid(), 10) ->> 'removed' = '0')::int;
DO $$
BEGIN
  PERFORM pmp.remove_expired_events('{"days": 29}', gen_random_uuid(), 10);
  RAISE EXCEPTION 'events of 29 days were let go';
EXCEPTION WHEN invalid_parameter_value THEN NULL;
END
$$;
SELECT pmp.remove_expired_records(kind, 30, gen_random_uuid(), 10)
FROM unnest(ARRAY['imports', 'exports', 'notices', 'deliveries']) AS kind;
SELECT 1 / (pmp.set_legal_hold(NULL, 'none', 'verify', 'verify') ->> 'outcome' = 'unknown_consent')::int;
SELECT 1 / (
  pmp.lift_legal_hold((pmp.set_legal_hold(NULL, NULL, 'verify', 'verify') ->> 'id')::uuid, 'verify') ->> 'outcome' = 'lifted'
)::int;
SELECT 1 / (NOT has_function_privilege('pmp_app', 'pmp.remove_expired_events_at(jsonb, uuid, integer, timestamptz)', 'EXECUTE'))::int;
SELECT 1 / (NOT has_schema_privilege('pmp_retention', 'pmp', 'CREATE'))::int;
ROLLBACK;
