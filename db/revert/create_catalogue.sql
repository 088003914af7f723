-- Revert pmp:create_catalogue from pg
BEGIN;
DROP FUNCTION pmp.put_consent(text, text, text, integer, text, jsonb);
DROP FUNCTION pmp.retire_consent(text, text);
DROP FUNCTION pmp.list_versions(text, integer, integer);
DROP FUNCTION pmp.list_consents(text, integer, boolean);
DROP FUNCTION pmp.get_consent(text, integer);
DROP FUNCTION pmp.describe_consent(pmp.consent, pmp.consent_version);
DROP FUNCTION pmp.instant(timestamptz);
DROP TABLE pmp.consent_version;
DROP TABLE pmp.consent;
COMMIT;
