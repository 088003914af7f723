-- Revert pmp:create_subscriptions from pg
BEGIN;
CREATE OR REPLACE FUNCTION pmp.highest_number() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pmp, pg_temp AS $$
  SELECT greatest(
    0, (SELECT max(s.transaction_number) FROM subject AS s), (SELECT max(e.transaction_number) FROM event AS e)
  )
$$;
DROP TRIGGER notice_erasure ON pmp.subject;
DROP TRIGGER notice_end ON pmp.import_job;
DROP TRIGGER notice_end ON pmp.export_job;
DROP FUNCTION pmp.notice_erasure(), pmp.notice_end();
DROP TABLE pmp.delivery_chain, pmp.notice, pmp.delivery, pmp.delivery_lane, pmp.subscription;
COMMIT;
