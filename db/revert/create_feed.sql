-- Revert pmp:create_feed from pg
BEGIN;
ALTER TABLE pmp.subject ALTER transaction_number DROP DEFAULT;
ALTER TABLE pmp.event ALTER transaction_number DROP DEFAULT;
DROP FUNCTION pmp.leave_mark();
DROP FUNCTION pmp.feed_horizon();
DROP TABLE pmp.mark;
DROP FUNCTION pmp.transaction_number();
DROP FUNCTION pmp.highest_number();
DROP TABLE pmp.feed_epoch;
COMMIT;
