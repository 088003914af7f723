-- Verify pmp:define_imports
BEGIN;
COMMIT;
