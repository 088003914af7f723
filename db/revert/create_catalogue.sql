-- Revert pmp:create_catalogue from pg
BEGIN;
DROP FUNCTION pmp.put_consent(text, text, text, integer, text);
DROP VIEW pmp.catalogue;
DROP TABLE pmp.consent_version;
DROP TABLE pmp.consent;
COMMIT;
