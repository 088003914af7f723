-- Verify pmp:create_trials on pg
BEGIN;
SELECT import_id, id, person, told, versions, enabled, context_digest FROM pmp.trial_event WHERE false;
SELECT import_id, person, consent_key, counts_at, enabled FROM pmp.trial_choice WHERE false;
SELECT import_id, line, address_hash, document FROM pmp.import_preview WHERE false;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.trial_event', 'INSERT'))::int;
ROLLBACK;
