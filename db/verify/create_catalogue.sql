-- Verify pmp:create_catalogue on pg
BEGIN;
SELECT 1 / (count(*) = 2)::int FROM pmp.catalogue WHERE id IN ('email_notifications', 'sms_notifications');
-- A new wording is a new version; the same wording again is not.
SELECT 1 / (outcome = 'created' AND version = 1)::int FROM pmp.put_consent('verify', 'one', 'other', 30, 'verify');
SELECT 1 / (outcome = 'updated' AND version = 2)::int FROM pmp.put_consent('verify', 'two', 'other', 30, 'verify');
SELECT 1 / (outcome = 'unchanged' AND version = 2)::int FROM pmp.put_consent('verify', 'two', 'other', 30, 'verify');
-- A version that people answered cannot be reworded, not even by the owner.
DO $$
BEGIN
  UPDATE pmp.consent_version SET description = 'reworded';
  RAISE EXCEPTION 'consent_version accepts UPDATE';
EXCEPTION WHEN restrict_violation THEN NULL;
END
$$;
ROLLBACK;
