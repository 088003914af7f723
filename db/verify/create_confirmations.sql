-- Verify pmp:create_confirmations on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
INSERT INTO pmp.confirmation (id, subject_key, versions, source_key, asked_at, expires_at)
SELECT gen_random_uuid(), s.subject_key, ARRAY[v.version_key], pmp.source_key('verify'), now(), now() + age
FROM pmp.subject AS s, pmp.consent_version AS v JOIN pmp.consent AS k USING (consent_key),
  (VALUES ('email_notifications', interval '1 day'), ('sms_notifications', interval '-1 day')) AS asked (consent, age)
WHERE s.email_key = 'verify@example.invalid' AND k.id = asked.consent AND v.version = 1;
CREATE FUNCTION pg_temp.is_pending(consent text) RETURNS boolean LANGUAGE sql AS $$
  SELECT pmp.is_pending(s.subject_key, k.consent_key) FROM pmp.subject AS s, pmp.consent AS k
  WHERE s.email_key = 'verify@example.invalid' AND k.id = consent
$$;
SELECT 1 / (pg_temp.is_pending('email_notifications') AND NOT pg_temp.is_pending('sms_notifications'))::int;
SELECT 1 / (pmp.delete_expired_confirmations(10) >= 1 AND pg_temp.is_pending('email_notifications'))::int;
ROLLBACK;
