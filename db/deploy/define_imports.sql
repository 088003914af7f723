-- Deploy pmp:define_imports
BEGIN;
COMMIT;
