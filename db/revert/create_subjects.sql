-- Revert pmp:create_subjects from pg
BEGIN;
DROP FUNCTION pmp.subject_keys, pmp.lock_subject, pmp.take_turn, pmp.find_subject;
DROP TABLE pmp.subject;
DROP FUNCTION pmp.address_digest(text);
DROP FUNCTION pmp.fold_email(text);
COMMIT;
