-- Revert pmp:define_imports from pg
BEGIN;
DROP FUNCTION pmp.analyze_grown();
DROP FUNCTION pmp.import_batch(
  uuid, uuid, integer, bigint, bigint, bigint, bigint, bigint, bigint[], uuid[], uuid[], text[], timestamptz[], boolean[], text[], text[],
  text[], text[], jsonb[], boolean, text[], bytea
);
DROP FUNCTION pmp.add_reasons(jsonb, text[], jsonb);
DROP FUNCTION pmp.erased_lines(timestamptz, bigint[], text[], bytea, timestamptz[]);
DROP FUNCTION pmp.merge_lines(
  integer, timestamptz, bigint[], uuid[], uuid[], text[], timestamptz[], boolean[], text[], text[], text[], text[], jsonb[],
  boolean
);
DROP FUNCTION pmp.suppress_lines(
  pmp.import_job, bigint[], uuid[], uuid[], bytea, timestamptz[], boolean[], text[], text[], bigint[]
);
DROP FUNCTION pmp.removed_lines(bigint[], uuid[]);
DROP FUNCTION pmp.conflicting_lines(
  bigint[], uuid[], uuid[], text[], timestamptz[], text[], text[], text[], text[], jsonb[], bigint[]
);
DROP FUNCTION pmp.changes_answer(boolean, timestamptz, timestamptz, timestamptz);
COMMIT;
