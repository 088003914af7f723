-- Deploy pmp:create_backfills to pg
--
-- Backfills change the rows of a large table in many short transactions, beside requests (docs/adr/0230).
BEGIN;
CREATE TABLE pmp.backfill (
  name        text PRIMARY KEY,
  digest      text NOT NULL,
  place       text[],
  seen        bigint NOT NULL DEFAULT 0,
  changed     bigint NOT NULL DEFAULT 0,
  portion     integer NOT NULL DEFAULT 500 CHECK (portion > 0),
  started_at  timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz
);
COMMENT ON TABLE pmp.backfill IS 'How far each backfill of db/backfills has come.';
COMMENT ON COLUMN pmp.backfill.name IS 'The Sqitch change that it belongs to.';
COMMENT ON COLUMN pmp.backfill.digest IS 'SHA-256 of the file. A file that was changed starts from the beginning.';
COMMENT ON COLUMN pmp.backfill.place IS 'Keys of the last row of the last portion; NULL: none yet.';
COMMENT ON COLUMN pmp.backfill.seen IS 'Rows of all portions.';
COMMENT ON COLUMN pmp.backfill.changed IS 'Rows that its statement has inserted, updated or deleted.';
COMMENT ON COLUMN pmp.backfill.portion IS 'Rows of the next portion.';

CREATE FUNCTION pmp.database_is_busy(most_active integer, most_lag bigint) RETURNS text
LANGUAGE sql VOLATILE SET search_path = pmp, pg_temp AS $$
  SELECT CASE
    WHEN b.active > most_active THEN format('%s active sessions, %s are allowed', b.active, most_active)
    WHEN b.lag > most_lag THEN format('a replica is %s behind, %s are allowed', pg_size_pretty(b.lag), pg_size_pretty(most_lag))
  END
  FROM (
    SELECT
      (
        SELECT count(*) FROM pg_stat_activity AS a
        WHERE a.state = 'active' AND a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
      ) AS active,
      -- The standby of a Multi-AZ instance is a copy of its disk and not in this view: its lag is part of each commit.
      (SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), r.replay_lsn))::bigint FROM pg_stat_replication AS r) AS lag
  ) AS b
$$;
COMMENT ON FUNCTION pmp.database_is_busy IS
  'Why a backfill should wait, in words; NULL: it need not. most_active: sessions of others that may run a statement; '
  'most_lag: bytes that a replica may be behind. The caller needs pg_monitor, or nobody seems to be active.';

CREATE PROCEDURE pmp.run_backfill(
  name text, digest text, relation text, keys text[], statement text, seconds integer,
  most_active integer DEFAULT 4, most_lag bigint DEFAULT 67108864
)
-- Without SET search_path: a procedure that has it may not commit.
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  goal CONSTANT double precision := 0.2;      -- seconds of a portion
  ends_at CONSTANT timestamptz := clock_timestamp() + make_interval(secs => seconds);
  columns CONSTANT text := (SELECT string_agg(quote_ident(k), ', ' ORDER BY place) FROM unnest(keys) WITH ORDINALITY AS u (k, place));
  backwards CONSTANT text := (SELECT string_agg(quote_ident(k) || ' DESC', ', ' ORDER BY place) FROM unnest(keys) WITH ORDINALITY AS u (k, place));
  ends CONSTANT text := (SELECT string_agg(quote_ident(k) || '::text', ', ' ORDER BY place) FROM unnest(keys) WITH ORDINALITY AS u (k, place));
  total CONSTANT bigint := (SELECT greatest(c.reltuples, 0)::bigint FROM pg_class AS c WHERE c.oid = relation::regclass);
  state pmp.backfill;
  divisor integer := 1;
  row_limit integer;
  begun timestamptz;
  told_at timestamptz := '-infinity';
  took double precision;
  pause double precision;
  seen_now bigint;
  changed_now bigint;
  last text[];
  obstacle text;
BEGIN
  INSERT INTO pmp.backfill AS b (name, digest) VALUES (run_backfill.name, run_backfill.digest)
  ON CONFLICT (name) DO UPDATE
  SET digest = excluded.digest, place = NULL, seen = 0, changed = 0, started_at = now(), finished_at = NULL
  WHERE b.digest <> excluded.digest;
  COMMIT;
  IF NOT pg_has_role('pg_monitor', 'USAGE') THEN
    RAISE NOTICE '%: it does not see how busy the database is, because % lacks pg_monitor', run_backfill.name, current_user;
  END IF;
  LOOP
    obstacle := pmp.database_is_busy(most_active, most_lag);
    pause := 1;
    IF obstacle IS NULL THEN
      begun := clock_timestamp();
      -- Shorter than deadlock_timeout, with the time of a portion: of a request and a backfill that wait for each
      -- other, the backfill gives up.
      SET LOCAL lock_timeout = '100ms';
      BEGIN
        SELECT * INTO STRICT state FROM pmp.backfill AS b WHERE b.name = run_backfill.name FOR UPDATE;
        IF state.finished_at IS NULL THEN
          row_limit := greatest(state.portion / divisor, 1);
          EXECUTE format(
            'WITH portion AS MATERIALIZED (SELECT %1$s FROM %2$s WHERE %3$s ORDER BY %1$s LIMIT %4$s), '
            'work AS (%5$s RETURNING 1) '
            'SELECT (SELECT count(*) FROM portion), (SELECT count(*) FROM work), '
            '(SELECT ARRAY[%6$s] FROM portion ORDER BY %7$s LIMIT 1)',
            columns, relation::regclass,
            CASE WHEN state.place IS NULL THEN 'true' ELSE format(
              '(%s) > (%s)', columns, (SELECT string_agg(quote_literal(p), ', ' ORDER BY n) FROM unnest(state.place) WITH ORDINALITY AS u (p, n))
            ) END,
            row_limit, statement, ends, backwards
          ) INTO seen_now, changed_now, last;
          took := extract(epoch FROM clock_timestamp() - begun);
          UPDATE pmp.backfill AS b SET
            place = coalesce(last, b.place), seen = b.seen + seen_now, changed = b.changed + changed_now,
            finished_at = CASE WHEN seen_now < row_limit THEN clock_timestamp() END,
            portion = least(greatest(row_limit * least(greatest(goal / took, 0.5), 2), 1), 50000)
          WHERE b.name = run_backfill.name
          RETURNING * INTO state;
          divisor := 1;
          -- Half of the time belongs to others.
          pause := least(took, 1);
        END IF;
      EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
        obstacle := format('rows are locked: %s', sqlerrm);
        divisor := least(divisor * 2, 50000);
        pause := goal;
      END;
    END IF;
    COMMIT;
    EXIT WHEN state.finished_at IS NOT NULL OR clock_timestamp() >= ends_at;
    IF clock_timestamp() >= told_at + interval '10 seconds' THEN
      told_at := clock_timestamp();
      RAISE NOTICE '%: % of about % rows, % changed%', run_backfill.name, coalesce(state.seen, 0),
        greatest(total, state.seen), coalesce(state.changed, 0), coalesce('; waits: ' || obstacle, '');
    END IF;
    PERFORM pg_sleep(pause);
    COMMIT;
  END LOOP;
END
$$;
COMMENT ON PROCEDURE pmp.run_backfill IS
  'Apply a statement to the rows of a table in portions by its keys, until the end or for some seconds. The statement '
  'is one INSERT, UPDATE or DELETE of rows whose keys are in "portion". Each portion and the place after it are '
  'committed together, so a later call goes on where this one ended, whatever ended it.';

GRANT SELECT ON pmp.backfill TO pmp_readonly;
COMMIT;
