-- Verify pmp:create_identifiers on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by, transaction_number) VALUES
  ('00000000-0000-4000-8000-000000000001', 'one@example.invalid', pmp.source_key('verify'), 1),
  ('00000000-0000-4000-8000-000000000002', 'two@example.invalid', pmp.source_key('verify'), 2);
CREATE FUNCTION pg_temp.set(address text, changes jsonb) RETURNS text LANGUAGE sql AS $$
  SELECT pmp.set_identifiers(pmp.subject_named('email', address), changes, 'verify')
$$;
SELECT 1 / (pg_temp.set('one@example.invalid', '{"phone": "+41791234567", "external:crm": "1"}') IS NULL)::int;
SELECT 1 / (pg_temp.set('two@example.invalid', '{"external:crm": "1"}') = 'external:crm')::int;
SELECT 1 / (pg_temp.set('one@example.invalid', '{"phone": null, "external:crm": "1"}') IS NULL)::int;
SELECT 1 / (pmp.describe_identifiers(s.subject_key) = '{"external_ids": {"crm": "1"}}' AND s.has_more)::int
FROM pmp.subject AS s WHERE s.subject_key = pmp.subject_named('external:crm', '1') AND s.email = 'one@example.invalid';
SELECT 1 / (pmp.subject_named('phone', '+41791234567') IS NULL)::int;
SELECT 1 / (NOT has_column_privilege('pmp_readonly', 'pmp.identifier', 'value', 'SELECT'))::int;
ROLLBACK;
