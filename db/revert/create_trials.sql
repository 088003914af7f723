-- Revert pmp:create_trials from pg
BEGIN;
DROP TABLE pmp.import_preview;
DROP TABLE pmp.trial_choice;
DROP TABLE pmp.trial_event;
COMMIT;
