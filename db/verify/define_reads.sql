-- Verify pmp:define_reads on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
-- A user without events has no consents, and an unknown user is not allowed anything.
SELECT 1 / (pmp.get_user('00000000-0000-4000-8000-000000000001')
  = '{"id": "00000000-0000-4000-8000-000000000001", "email": "verify@example.invalid", "consents": []}')::int;
SELECT 1 / (pmp.get_user('00000000-0000-4000-8000-000000000001', now()) -> 'consents' = '[]')::int;
SELECT 1 / (pmp.get_user('00000000-0000-4000-8000-000000000009') IS NULL)::int;
SELECT 1 / (pmp.lapsed(true, '2026-01-01Z', 1, NULL, '2026-01-02Z') = 'expired'
  AND pmp.lapsed(true, '2026-01-01Z', NULL, '2026-01-02Z', '2026-01-02Z') = 'superseded'
  AND pmp.lapsed(true, '2026-01-01Z', 1, '2026-01-02Z', '2026-01-01 23:00Z') IS NULL
  AND pmp.lapsed(false, '2026-01-01Z', 1, '2026-01-02Z', '2026-01-09Z') IS NULL)::int;
-- This transaction is in flight, so its user is not listed yet.
SELECT 1 / (NOT pmp.list_users(NULL, NULL, 500) -> 'items' @> '[{"email": "verify@example.invalid"}]')::int;
SELECT 1 / (pmp.list_users_by_choice(NULL, 1, 'nothing', true) = '{"items": [], "last": [0], "more": false}')::int;
SELECT 1 / (jsonb_array_length(pmp.find_user('VERIFY@example.invalid')) = 1)::int;
SELECT 1 / (pmp.list_user_events('00000000-0000-4000-8000-000000000001', NULL, NULL, 1) = '[]')::int;
SELECT 1 / (pmp.export_user('00000000-0000-4000-8000-000000000001') -> 'wordings' = '[]')::int;
SELECT 1 / (pmp.get_event('00000000-0000-4000-8000-000000000009') IS NULL)::int;
SELECT 1 / (jsonb_array_length(pmp.list_events(0, 0, 1) -> 'items') <= 1)::int;
SELECT 1 / (pmp.check_consents(
  '[{"user": {"email": "VERIFY@example.invalid"}, "consent": "email_notifications"},
    {"user": {"id": "00000000-0000-4000-8000-000000000009"}, "consent": "email_notifications"}]'
) = '[{"allowed": false, "reason": "not_given", "model": "opt_in", "since": null, "user": "00000000-0000-4000-8000-000000000001"}, {"allowed": false, "reason": "unknown_user", "model": "opt_in", "since": null, "user": null}]')::int;
ROLLBACK;
