-- Revert pmp:create_suppressions from pg
BEGIN;
DROP TRIGGER apply_suppressions_of_new_address ON pmp.subject;
DROP TRIGGER apply_suppressions ON pmp.subject;
DROP FUNCTION pmp.apply_suppressions();
DROP FUNCTION pmp.suppression_lock();
DROP TABLE pmp.suppression;
COMMIT;
