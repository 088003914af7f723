-- Verify pmp:add_import_canceller on pg
BEGIN;
SELECT 1 / has_column_privilege('pmp_app', 'pmp.import_job', 'cancelled_by', 'UPDATE')::int;
ROLLBACK;
