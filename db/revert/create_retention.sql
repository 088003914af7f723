-- Revert pmp:create_retention from pg
BEGIN;
DROP FUNCTION pmp.refuse_before_edge, pmp.retention_lock;
DROP TABLE pmp.legal_hold, pmp.retention_run, pmp.retention_walk, pmp.retention, pmp.retention_edge, pmp.removed_event;
COMMIT;
