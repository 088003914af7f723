-- Revert pmp:define_exports from pg
BEGIN;
DROP FUNCTION pmp.export_page(bigint, integer, text, boolean, timestamptz, timestamptz);
COMMIT;
