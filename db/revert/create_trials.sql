-- Revert pmp:create_trials from pg
BEGIN;
DROP FUNCTION pmp.context_digest(jsonb);
DROP TABLE pmp.import_preview;
DROP TABLE pmp.trial_choice;
DROP TABLE pmp.trial_event;
COMMIT;
