-- Revert pmp:create_backfills from pg
BEGIN;
DROP PROCEDURE pmp.run_backfill(text, text, text, text[], text, integer, integer, bigint);
DROP FUNCTION pmp.database_is_busy(integer, bigint);
DROP TABLE pmp.backfill;
COMMIT;
