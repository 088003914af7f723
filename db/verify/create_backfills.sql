-- Verify pmp:create_backfills on pg
--
-- A procedure that commits cannot run inside a transaction that is rolled back: db/test/backfills.sql and
-- tests/pipeline/test_backfills.py run it.
BEGIN;
INSERT INTO pmp.backfill (name, digest) VALUES ('verify', 'verify');
SELECT 1 / (portion = 500 AND seen = 0 AND finished_at IS NULL)::int FROM pmp.backfill WHERE name = 'verify';
SELECT 1 / (pmp.database_is_busy(1000000, 1000000000000) IS NULL)::int;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.backfill', 'SELECT'))::int;
SELECT 1 / (prokind = 'p')::int FROM pg_proc WHERE oid = 'pmp.run_backfill(text, text, text, text[], text, integer, integer, bigint)'::regprocedure;
ROLLBACK;
