-- Verify pmp:create_events on pg
BEGIN;
DO $$
DECLARE
  statement text;
BEGIN
  FOREACH statement IN ARRAY ARRAY['UPDATE pmp.event SET enabled = enabled', 'DELETE FROM pmp.event', 'TRUNCATE pmp.event']
  LOOP
    BEGIN
      EXECUTE statement;
      RAISE EXCEPTION 'event accepts: %', statement;
    EXCEPTION WHEN restrict_violation THEN NULL;
    END;
  END LOOP;
END
$$;
-- Only the owner can write.
SELECT 1 / (count(*) = 0)::int
FROM unnest(ARRAY['pmp_app', 'pmp_readonly']) AS role, unnest(ARRAY['pmp.event', 'pmp.current_choice']) AS relation
WHERE has_table_privilege(role, relation, 'INSERT, UPDATE, DELETE, TRUNCATE')
   OR NOT has_table_privilege(role, relation, 'SELECT');
-- A user's events are read by index.
SELECT 1 / (count(*) = 1)::int FROM pg_indexes WHERE schemaname = 'pmp' AND indexname = 'event_history';
ROLLBACK;
