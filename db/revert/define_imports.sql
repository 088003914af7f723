-- Revert pmp:define_imports
BEGIN;
COMMIT;
