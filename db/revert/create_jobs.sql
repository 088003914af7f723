-- Revert pmp:create_jobs from pg
BEGIN;
DROP TABLE pmp.export_job;
DROP TABLE pmp.import_reject;
DROP TABLE pmp.import_job;
DROP TABLE pmp.import_mapping;
COMMIT;
