-- Verify pmp:define_users on pg
BEGIN;
SELECT 1 / (pmp.create_user('Verify@example.invalid', 'verify') ->> 'email' = 'Verify@example.invalid')::int;
SELECT 1 / (pmp.create_user('VERIFY@example.invalid', 'verify') IS NULL)::int;
SELECT 1 / has_function_privilege('pmp_app', 'pmp.create_user(text, text)', 'EXECUTE')::int;
ROLLBACK;
