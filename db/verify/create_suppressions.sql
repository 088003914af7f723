-- Verify pmp:create_suppressions on pg
BEGIN;
SELECT 1 / (pmp.address_digest('ada\b@exämple.invalid') = sha256(convert_to('ada\b@exämple.invalid', 'UTF8')))::int;
INSERT INTO pmp.suppression VALUES (
  '10000000-0000-4000-8000-000000000001', pmp.address_digest('verify@example.invalid'), '2026-01-01Z', now(),
  pmp.source_key('verify'), true, true, '{1}', '{f}'
);
SELECT pmp.create_user('Verify@example.invalid', 'verify');
SELECT 1 / (NOT enabled)::int FROM pmp.current_choice JOIN pmp.subject USING (subject_key)
WHERE email_key = 'verify@example.invalid';
SELECT 1 / (NOT EXISTS (SELECT FROM pmp.suppression))::int;
ROLLBACK;
