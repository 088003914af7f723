-- Verify pmp:create_schema on pg
BEGIN;
SELECT 1 / (
  has_schema_privilege('pmp_app', 'pmp', 'USAGE')
  AND has_schema_privilege('pmp_readonly', 'pmp', 'USAGE')
  AND NOT has_schema_privilege('pmp_app', 'pmp', 'CREATE')
  AND NOT has_function_privilege('pmp_app', 'pmp.refuse_change()', 'EXECUTE')
)::int;
ROLLBACK;
