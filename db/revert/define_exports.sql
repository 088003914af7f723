-- Revert pmp:define_exports from pg
BEGIN;
DROP FUNCTION pmp.export_events_page(bigint, bigint, bigint, integer, timestamptz, timestamptz);
DROP FUNCTION pmp.export_choices_page(bigint, integer, timestamptz, timestamptz);
DROP FUNCTION pmp.export_line(uuid, pmp.subject, jsonb, timestamptz, boolean, timestamptz, text, jsonb);
DROP FUNCTION pmp.export_page(bigint, integer, text, boolean, timestamptz, timestamptz);
COMMIT;
