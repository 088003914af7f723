BEGIN;
SET search_path = tap, pmp;
SELECT * FROM no_plan();

-- An SQL function that is not inlined is parsed and planned again by each statement that calls it, which was a fifth of the
-- processor time of an event. PL/pgSQL keeps its plans for the life of the session.
-- https://wiki.postgresql.org/wiki/Inlining_of_SQL_functions
CREATE FUNCTION pg_temp.is_inlined(called pg_proc) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  columns text;
  given text;
  line text;
  plan text := '';
BEGIN
  SELECT string_agg(format('a%s %s', place, type::regtype), ', '), string_agg(format('a%s', place), ', ')
  INTO columns, given
  FROM unnest(called.proargtypes::oid[]) WITH ORDINALITY AS argument (type, place);
  EXECUTE format('CREATE TEMPORARY TABLE argument (%s)', columns);
  FOR line IN EXECUTE format('EXPLAIN (VERBOSE, COSTS off) SELECT %s(%s) FROM argument', called.oid::regproc, given) LOOP
    plan := plan || line;
  END LOOP;
  DROP TABLE argument;
  RETURN plan !~ ('\m' || called.proname || '\(');
END
$$;

SELECT is(
  pg_temp.is_inlined(p),
  -- What a job calls once a portion, and what a server calls once in its life.
  p.proname NOT IN (
    'database_is_busy', 'delete_expired_confirmations', 'delete_expired_keys', 'remove_expired_events',
    'remove_expired_records', 'highest_number'
  ),
  format('%s is inlined', p.oid::regprocedure)
)
FROM pg_proc AS p
WHERE p.pronamespace = 'pmp'::regnamespace AND NOT p.proretset
  AND p.prolang = (SELECT l.oid FROM pg_language AS l WHERE l.lanname = 'sql')
ORDER BY p.proname;

-- A query that runs in parallel because of one label would otherwise be refused, or wrong, because of another.
SELECT is_empty(
  $$SELECT caller.proname, called.proname
  FROM pg_proc AS caller JOIN pg_proc AS called ON caller.prosrc ~ ('\m' || called.proname || '\(')
  WHERE caller.pronamespace = 'pmp'::regnamespace AND called.pronamespace = 'pmp'::regnamespace
    AND caller.proparallel = 's' AND called.proparallel <> 's'$$,
  'functions that are safe in parallel call only such functions'
);

SELECT * FROM finish();
ROLLBACK;
