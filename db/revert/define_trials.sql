-- Revert pmp:define_trials from pg
BEGIN;
DROP FUNCTION pmp.try_lines(
  uuid, timestamptz, bigint[], uuid[], uuid[], text[], bytea, timestamptz[], boolean[], text[], text[], text[], text[], jsonb[],
  bigint[]
);
COMMIT;
