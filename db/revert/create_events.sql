-- Revert pmp:create_events from pg
BEGIN;
DROP TABLE pmp.current_choice;
DROP TABLE pmp.event;
COMMIT;
