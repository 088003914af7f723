-- Verify pmp:define_signals on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
SELECT pmp.put_consent(
  'verify_sale', 'Sale', 'web', NULL, 'verify', '{"model": "opt_out", "legal_basis": "legitimate_interests", "opt_out_signals": ["gpc"]}'
);
CREATE FUNCTION pg_temp.signal(event_id uuid) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pmp.record_signal(
    event_id, NULL, 'email', 'VERIFY@example.invalid', '{gpc}', '{not_given,granted}', '{"gpc": true}', 'verify'
  )
$$;
SELECT 1 / (pg_temp.signal('10000000-0000-4000-8000-000000000001') #>> '{event,consents,0,enabled}' = 'false')::int;
SELECT 1 / (pg_temp.signal('10000000-0000-4000-8000-000000000002') ->> 'outcome' = 'unchanged')::int;
SELECT 1 / (pg_temp.signal('10000000-0000-4000-8000-000000000001') ->> 'outcome' = 'created')::int;
SELECT 1 / (count(*) = 1)::int FROM pmp.event AS e JOIN pmp.subject AS s USING (subject_key)
WHERE s.id = '00000000-0000-4000-8000-000000000001';
SELECT 1 / has_function_privilege('pmp_app', 'pmp.record_signal(uuid, uuid, text, text, text[], text[], jsonb, text)', 'EXECUTE')::int;
ROLLBACK;
