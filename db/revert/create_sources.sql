-- Revert pmp:create_sources from pg
BEGIN;
DROP FUNCTION pmp.source_name(integer);
DROP FUNCTION pmp.source_key(text, uuid);
DROP TABLE pmp.source;
COMMIT;
