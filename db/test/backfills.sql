BEGIN;
SET search_path = tap, pmp;
SELECT * FROM no_plan();

-- pg_prove runs as the superuser, and other sessions may be active: the limits are far above or below.
SELECT is(database_is_busy(100000, 1000000000000), NULL, 'nothing is in the way');
SELECT is(database_is_busy(-1, 1000000000000) ~ '^\d+ active sessions, -1 are allowed$', true, 'others are active');

-- A call commits, which a test inside a transaction cannot: tests/pipeline/test_backfills.py has the rest.
SELECT throws_ok(
  $$CALL run_backfill('a', 'b', 'pmp.subject', '{subject_key}', 'DELETE FROM subject', 1)$$,
  '2D000', 'invalid transaction termination', 'a backfill is not a part of another transaction'
);

SELECT * FROM finish();
ROLLBACK;
