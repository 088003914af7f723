-- Revert pmp:create_subjects from pg
BEGIN;
DROP TABLE pmp.subject;
DROP FUNCTION pmp.address_digest(text);
DROP FUNCTION pmp.fold_email(text);
COMMIT;
