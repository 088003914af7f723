-- Verify pmp:create_feed on pg
BEGIN;
INSERT INTO pmp.subject (id, email, created_by)
VALUES ('00000000-0000-4000-8000-000000000001', 'verify@example.invalid', pmp.source_key('verify'));
-- This transaction is in flight, so its own user is not listed yet.
SELECT 1 / (transaction_number = pmp.transaction_number() AND transaction_number >= pmp.feed_horizon())::int
FROM pmp.subject WHERE email_key = 'verify@example.invalid';
-- A restored row of feed_epoch has another xmin. The next number is above all others.
SELECT 1 / (pmp.feed_horizon() < 9223372036854775807)::int;
UPDATE pmp.feed_epoch SET written_by = '1';
SELECT 1 / (pmp.feed_horizon() = 9223372036854775807)::int;
SELECT 1 / (pmp.transaction_number() > (SELECT max(transaction_number) FROM pmp.subject))::int;
SELECT 1 / (pmp.transaction_number() = pmp.transaction_number())::int;
SELECT 1 / (NOT has_table_privilege('pmp_app', 'pmp.feed_epoch', 'INSERT, UPDATE, DELETE'))::int;
-- A mark has the horizon of its own transaction, and the next one waits half a second.
SELECT pmp.leave_mark();
SELECT 1 / (count(*) = 1 AND bool_and(made_at > now() - interval '1 minute'))::int FROM pmp.mark;
UPDATE pmp.mark SET made_at = clock_timestamp(), horizon = -1;
SELECT pmp.leave_mark();
SELECT 1 / (horizon = -1)::int FROM pmp.mark;
UPDATE pmp.mark SET made_at = clock_timestamp() - interval '1 second';
SELECT pmp.leave_mark();
SELECT 1 / (horizon = pmp.feed_horizon())::int FROM pmp.mark;
ROLLBACK;
