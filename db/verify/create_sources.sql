-- Verify pmp:create_sources on pg
BEGIN;
-- A client has one key, and the key returns its name.
SELECT 1 / (
  pmp.source_key('verify') = pmp.source_key('verify') AND pmp.source_name(pmp.source_key('verify')) = 'verify'
)::int;
-- An import takes a row that nothing names.
INSERT INTO pmp.source DEFAULT VALUES;
SELECT 1 / (source_key = pmp.source_key(NULL, '00000000-0000-4000-8000-000000000001'))::int
FROM pmp.source WHERE client IS NULL AND import_id IS NULL;
SELECT 1 / (pmp.source_name(pmp.source_key(NULL, '00000000-0000-4000-8000-000000000001')) LIKE 'import:%')::int;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.source', 'INSERT, UPDATE, DELETE'))::int;
ROLLBACK;
