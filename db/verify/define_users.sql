-- Verify pmp:define_users on pg
BEGIN;
SELECT 1 / (outcome = 'created')::int
FROM pmp.create_user('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', 'verify');
SELECT 1 / (outcome = 'taken')::int
FROM pmp.create_user('00000000-0000-4000-8000-000000000002', 'VERIFY@example.invalid', 'verify');
SELECT 1 / has_function_privilege('pmp_app', 'pmp.create_user(uuid, text, text)', 'EXECUTE')::int;
ROLLBACK;
