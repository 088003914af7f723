-- Revert pmp:create_identifiers from pg
BEGIN;
DROP FUNCTION pmp.set_identifiers, pmp.describe_identifiers, pmp.subject_named;
DROP TABLE pmp.identifier;
COMMIT;
