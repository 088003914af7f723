-- Revert pmp:create_vendor_cache from pg
BEGIN;
DROP TABLE pmp.vendor;
DROP TABLE pmp.upstream_cache;
COMMIT;
