BEGIN;
SET search_path = tap, pmp;
SELECT * FROM no_plan();

-- docs/adr/0232: vacuum freezes a page of a large table once, soon after it is full.
SELECT is(
  c.reloptions @> '{autovacuum_freeze_min_age=0,autovacuum_vacuum_insert_scale_factor=0.01}', true, format('%s is frozen early', c.relname)
)
FROM pg_class AS c WHERE c.oid = ANY ('{pmp.event,pmp.event_context,pmp.current_choice,pmp.subject}'::regclass[]);

SELECT * FROM finish();
ROLLBACK;
