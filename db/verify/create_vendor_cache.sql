-- Verify pmp:create_vendor_cache on pg
BEGIN;
-- A new row is due immediately, and only the first caller claims it.
INSERT INTO pmp.upstream_cache (url) VALUES ('urn:verify');
CREATE FUNCTION pg_temp.claim() RETURNS bigint LANGUAGE sql AS $$
  WITH claimed AS (
    UPDATE pmp.upstream_cache SET next_attempt_at = now() + interval '1 minute'
    WHERE url = 'urn:verify' AND next_attempt_at <= now() RETURNING 1
  ) SELECT count(*) FROM claimed
$$;
SELECT 1 / (pg_temp.claim() = 1)::int;
SELECT 1 / (pg_temp.claim() = 0)::int;
INSERT INTO pmp.vendor (id, name, purposes, document) VALUES (2147483647, 'verify', '{1,4}', '{}');
SELECT 1 / (count(*) = 1)::int FROM pmp.vendor WHERE purposes @> '{4}' AND id = 2147483647;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.upstream_cache', 'DELETE, TRUNCATE'))::int;
ROLLBACK;
