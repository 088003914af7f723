-- Revert pmp:add_import_canceller from pg
BEGIN;
ALTER TABLE pmp.import_job DROP COLUMN cancelled_by;
COMMIT;
