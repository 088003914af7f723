-- Verify pmp:create_sources on pg
BEGIN;
-- The same client has one key, and its name reads back.
SELECT 1 / (
  pmp.source_key('verify') = pmp.source_key('verify') AND pmp.source_name(pmp.source_key('verify')) = 'verify'
)::int;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.source', 'INSERT, UPDATE, DELETE'))::int;
ROLLBACK;
