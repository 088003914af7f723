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
SELECT 1 / (has_table_privilege('pmp_app', 'pmp.event_context', 'SELECT')
  AND NOT has_table_privilege('pmp_readonly', 'pmp.event_context', 'SELECT')
  AND NOT has_table_privilege('pmp_app', 'pmp.event_context', 'INSERT, UPDATE, DELETE, TRUNCATE'))::int;
-- A user's events are read by index.
SELECT 1 / (count(*) = 1)::int FROM pg_indexes WHERE schemaname = 'pmp' AND indexname = 'event_history';
-- A choice counts when it was made, at the latest when it was received; without a fraction, an instant covers its second.
SELECT 1 / bool_and(
  pmp.counts_at(occurred_at::timestamptz, '2026-01-01 10:00:05.5Z', has_fraction, enabled) = expected::timestamptz
)::int
FROM (VALUES
  ('2026-01-01 10:00:00Z', true, false, '2026-01-01 10:00:00Z'),
  ('2026-01-01 10:00:00Z', false, false, '2026-01-01 10:00:00.999999Z'),
  ('2026-01-01 10:00:00Z', false, true, '2026-01-01 10:00:00Z'),
  ('2026-01-01 10:00:05Z', false, false, '2026-01-01 10:00:05.5Z'),
  ('2026-01-01 10:04:00Z', false, true, '2026-01-01 10:00:05.5Z')
) AS told (occurred_at, has_fraction, enabled, expected);
ROLLBACK;
