-- Verify pmp:define_reads on pg
BEGIN;
SELECT 1 / (pmp.instant('2026-01-02 03:04:05.000006+01') = '2026-01-02T02:04:05.000006Z')::int;
-- A person who chose nothing has no consents, and a stranger may get nothing.
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
SELECT 1 / (consents::text = '[]')::int FROM pmp.user_record WHERE email_key = 'verify@example.invalid';
SELECT 1 / (count(*) = 1)::int FROM pmp.user_as_of('00000000-0000-4000-8000-000000000001', now());
SELECT 1 / (count(*) FILTER (WHERE NOT allowed) = 2 AND string_agg(reason, ' ' ORDER BY position) = 'not_given unknown_user')::int
FROM pmp.check_choices(
  '[{"user": {"email": "VERIFY@example.invalid"}, "consent": "email_notifications"},
    {"user": {"id": "00000000-0000-4000-8000-000000000009"}, "consent": "email_notifications"}]'
);
ROLLBACK;
