-- Verify pmp:define_users on pg
BEGIN;
SELECT 1 / (pmp.create_user('Verify@example.invalid', 'verify') ->> 'email' = 'Verify@example.invalid')::int;
SELECT 1 / (pmp.create_user('VERIFY@example.invalid', 'verify') = '{"taken": "email"}')::int;
SELECT pmp.create_user('other@example.invalid', 'verify');
CREATE FUNCTION pg_temp.change(address text) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pmp.change_user(
    s.id, address, '{"phone": "+41791234567"}', CASE WHEN address LIKE 'new%' THEN ARRAY[sha256('former')] END, 'verify'
  ) FROM pmp.subject AS s
  WHERE s.email_key IN ('verify@example.invalid', 'new@example.invalid')
$$;
SELECT 1 / (pg_temp.change('OTHER@example.invalid') = '{"taken": "email"}')::int;
SELECT 1 / (pg_temp.change('vERIFY@example.invalid') ->> 'email' = 'vERIFY@example.invalid')::int;
SELECT 1 / (count(*) = 0)::int FROM pmp.former_identifier WHERE address_hash = sha256('former');
SELECT 1 / (pg_temp.change('new@example.invalid') ->> 'email' = 'new@example.invalid')::int;
SELECT 1 / (count(*) = 1)::int FROM pmp.former_identifier WHERE address_hash = sha256('former');
SELECT 1 / (jsonb_path_query_array(
  pmp.merge_users(o.id, s.id, 'verify'), '$.merged[*].email') = '["new@example.invalid"]')::int
FROM pmp.subject AS s, pmp.subject AS o
WHERE s.email_key = 'new@example.invalid' AND o.email_key = 'other@example.invalid';
SELECT 1 / (pmp.get_user(id) ->> 'email' = 'other@example.invalid' AND cardinality(pmp.subject_keys(merged_into)) = 2)::int
FROM pmp.subject WHERE email_key = 'new@example.invalid';
SELECT 1 / has_function_privilege('pmp_app', 'pmp.create_user(text, text, jsonb)', 'EXECUTE')::int;
ROLLBACK;
