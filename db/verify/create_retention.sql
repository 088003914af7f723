-- Verify pmp:create_retention on pg
BEGIN;
SELECT 1 / (count(*) = 1)::int FROM pmp.retention;
SELECT 1 / (count(*) = 0)::int FROM pmp.retention_edge;
SELECT pmp.refuse_before_edge('-infinity', NULL);
INSERT INTO pmp.retention_edge SELECT k.consent_key, '2026-01-02T00:00:00Z' FROM pmp.consent AS k WHERE k.id = 'email_notifications';
SELECT pmp.refuse_before_edge('2026-01-02T00:00:00Z', NULL);
SELECT pmp.refuse_before_edge('2026-01-01T00:00:00Z', NULL, '{sms_notifications}');
DO $$
BEGIN
  PERFORM pmp.refuse_before_edge(NULL, '2026-01-01T00:00:00Z');
  RAISE EXCEPTION 'a state from before the edge was not refused';
EXCEPTION WHEN SQLSTATE 'PMP03' THEN NULL;
END
$$;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.legal_hold', 'INSERT'))::int;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.retention_edge', 'UPDATE'))::int;
ROLLBACK;
