-- Verify pmp:define_me on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
CREATE FUNCTION pg_temp.me(consent text) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pmp.get_me('00000000-0000-4000-8000-000000000001', ARRAY[consent]) -> 'consents' -> 0
$$;
CREATE FUNCTION pg_temp.ask(number integer) RETURNS text LANGUAGE sql AS $$
  SELECT pmp.ask_confirmation(
    ('20000000-0000-4000-8000-00000000000' || number)::uuid, '00000000-0000-4000-8000-000000000001',
    '{email_notifications}', now() + interval '1 day', 'verify', '{"channel": "web"}', 2
  ) ->> 'outcome'
$$;
CREATE FUNCTION pg_temp.confirm(number integer) RETURNS jsonb LANGUAGE sql AS $$
  SELECT pmp.confirm(('20000000-0000-4000-8000-00000000000' || number)::uuid, '00000000-0000-4000-8000-000000000001')
$$;
SELECT 1 / (pg_temp.me('email_notifications') @> '{"version": 1, "enabled": false, "since": null, "pending": false}')::int;
SELECT 1 / (pmp.get_me('00000000-0000-4000-8000-000000000009') IS NULL)::int;
SELECT 1 / (pmp.examine_token('00000000-0000-4000-8000-000000000001', '{email_notifications,nothing}')
  = '{"outcome": "unknown_consent", "index": 1}')::int;
-- A grant waits for its confirmation; a repetition of it answers the same.
SELECT 1 / (pg_temp.ask(1) = 'valid')::int;
SELECT 1 / (pg_temp.me('email_notifications') ->> 'pending')::boolean::int;
SELECT 1 / (pg_temp.confirm(1) @> '{"outcome": "confirmed", "denied": []}')::int;
SELECT 1 / (pg_temp.confirm(1) -> 'event' = pmp.get_event('20000000-0000-4000-8000-000000000001'))::int;
SELECT 1 / (pg_temp.me('email_notifications') @> '{"enabled": true, "pending": false}')::int;
-- The newest requests are kept; a denial since then wins.
SELECT 1 / (pg_temp.ask(2) = 'valid' AND pg_temp.ask(3) = 'valid' AND pg_temp.confirm(1) = '{"outcome": "ended"}')::int;
SELECT 1 / (pmp.unsubscribe('30000000-0000-4000-8000-000000000001', '00000000-0000-4000-8000-000000000001',
  '{email_notifications,nothing}', 'verify') ->> 'outcome' = 'created')::int;
SELECT 1 / (pmp.unsubscribe('30000000-0000-4000-8000-000000000002', '00000000-0000-4000-8000-000000000001',
  '{email_notifications}', 'verify') ->> 'outcome' = 'nothing')::int;
SELECT 1 / (pg_temp.confirm(2) @> '{"event": null, "denied": ["email_notifications"]}')::int;
SELECT 1 / (pg_temp.me('email_notifications') @> '{"enabled": false, "pending": false}')::int;
ROLLBACK;
