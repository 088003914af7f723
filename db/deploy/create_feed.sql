-- Deploy pmp:create_feed to pg
--
-- Users and events are listed in the order (transaction number, key), up to the oldest transaction that is in flight.
-- Whatever is still uncommitted comes after that, so a reader who follows the list misses nothing (docs/adr/0208).
BEGIN;
CREATE TABLE pmp.feed_epoch (
  is_only    boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  base       bigint NOT NULL,
  written_by xid
);
COMMENT ON TABLE pmp.feed_epoch IS
  'What is added to PostgreSQL''s transaction ids, in one row. A server that restores a dump counts its transactions '
  'from the start; a new base keeps later numbers above the restored ones.';
COMMENT ON COLUMN pmp.feed_epoch.written_by IS
  'The row''s own xmin. In a restored copy of the row the two differ.';

CREATE FUNCTION pmp.highest_number() RETURNS bigint
LANGUAGE sql STABLE SET search_path = pmp, pg_temp AS $$
  SELECT greatest(
    0, (SELECT max(s.transaction_number) FROM subject AS s), (SELECT max(e.transaction_number) FROM event AS e)
  )
$$;
COMMENT ON FUNCTION pmp.highest_number IS 'The highest number that is stored anywhere.';

CREATE FUNCTION pmp.transaction_number() RETURNS bigint
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
DECLARE
  start bigint;
BEGIN
  LOOP
    SELECT e.base INTO start FROM feed_epoch AS e WHERE e.xmin = e.written_by;
    IF FOUND THEN
      RETURN start + pg_current_xact_id()::text::bigint;
    END IF;
    -- The first write, or the first one after a restore. Concurrent writers wait here for the one that sets the base.
    INSERT INTO feed_epoch AS e (base) VALUES (highest_number())
    ON CONFLICT (is_only) DO UPDATE SET base = excluded.base, written_by = NULL
    WHERE e.xmin IS DISTINCT FROM e.written_by;
    -- A subtransaction has an xmin of its own, and no function returns it.
    UPDATE feed_epoch AS e SET written_by = e.xmin WHERE e.written_by IS NULL;
  END LOOP;
END
$$;
COMMENT ON FUNCTION pmp.transaction_number IS
  'Number of the current transaction: above the numbers of all transactions that ended before it began, also after '
  'the database was restored from a dump.';

CREATE TABLE pmp.mark (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  made_at timestamptz NOT NULL,
  horizon bigint NOT NULL
);
COMMENT ON TABLE pmp.mark IS
  'When the writer of the database last left a mark, and its feed_horizon() then, in one row. A reader that sees a mark '
  'sees all that was committed before it: how old that is at most is known without asking the engine (docs/adr/0316).';

CREATE FUNCTION pmp.feed_horizon() RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
BEGIN
  IF pg_is_in_recovery() THEN
    -- A reader shows commits in their order, but what its own snapshot calls in flight is the engine's affair.
    RETURN coalesce((SELECT m.horizon FROM mark AS m), 0);
  END IF;
  RETURN coalesce((
    SELECT e.base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM feed_epoch AS e
    WHERE e.xmin = e.written_by
  ), 9223372036854775807);
END
$$;
COMMENT ON FUNCTION pmp.feed_horizon IS
  'All transactions with a number below it have ended. Everything is below it if nothing was written since a restore. On '
  'a reader: as it was when the mark was left.';

CREATE FUNCTION pmp.leave_mark() RETURNS void
LANGUAGE plpgsql SET search_path = pmp, pg_temp AS $$
BEGIN
  INSERT INTO mark AS m (made_at, horizon) VALUES (clock_timestamp(), feed_horizon())
  ON CONFLICT (is_only) DO UPDATE SET made_at = excluded.made_at, horizon = excluded.horizon
  WHERE m.made_at < excluded.made_at - interval '500 ms';
END
$$;
COMMENT ON FUNCTION pmp.leave_mark IS
  'Leave a mark for readers, unless there is one of the last half second.';

ALTER TABLE pmp.subject ALTER transaction_number SET DEFAULT pmp.transaction_number();
ALTER TABLE pmp.event ALTER transaction_number SET DEFAULT pmp.transaction_number();

GRANT SELECT ON pmp.feed_epoch TO pmp_app, pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.feed_horizon TO pmp_app, pmp_readonly;
GRANT SELECT, INSERT, UPDATE ON pmp.mark TO pmp_app;
GRANT SELECT ON pmp.mark TO pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.leave_mark TO pmp_app;
COMMIT;
