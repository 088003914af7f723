-- Revert pmp:define_retention from pg
BEGIN;
DROP TRIGGER keep_for_export ON pmp.export_job;
DROP FUNCTION
  pmp.keep_for_export, pmp.lift_legal_hold, pmp.set_legal_hold, pmp.remove_expired_records, pmp.remove_expired_records_at,
  pmp.remove_expired_events, pmp.remove_expired_events_at, pmp.forgotten_events, pmp.superseded_events,
  pmp.remove_events, pmp.record_removal, pmp.retention_terms, pmp.lock_owners;
CREATE OR REPLACE FUNCTION pmp.highest_number() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pmp, pg_temp AS $$
  SELECT greatest(
    0, (SELECT max(s.transaction_number) FROM subject AS s), (SELECT max(e.transaction_number) FROM event AS e),
    (SELECT max(n.transaction_number) FROM notice AS n), (SELECT max(l.number) FROM delivery_lane AS l)
  )
$$;
REVOKE EXECUTE ON FUNCTION pmp.retention_lock, pmp.feed_horizon, pmp.counts_at, pmp.instant FROM pmp_retention;
REVOKE ALL ON ALL TABLES IN SCHEMA pmp FROM pmp_retention;
REVOKE SELECT (subject_key, id, merged_into, erased_at) ON pmp.subject FROM pmp_retention;
REVOKE UPDATE (import_id, remaining) ON pmp.source FROM pmp_retention;
REVOKE USAGE ON SCHEMA pmp FROM pmp_retention;
COMMIT;
