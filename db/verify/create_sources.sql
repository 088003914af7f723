-- Verify pmp:create_sources on pg
BEGIN;
-- A client has one key, and the key returns its name.
SELECT 1 / (
  pmp.source_key('verify') = pmp.source_key('verify') AND pmp.source_name(pmp.source_key('verify')) = 'verify'
)::int;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.source', 'INSERT, UPDATE, DELETE'))::int;
ROLLBACK;
