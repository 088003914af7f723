-- Deploy pmp:add_import_canceller to pg
BEGIN;
ALTER TABLE pmp.import_job ADD COLUMN cancelled_by text;
COMMENT ON COLUMN pmp.import_job.cancelled_by IS 'The API client that cancelled it; client is the one that announced it.';
COMMIT;
