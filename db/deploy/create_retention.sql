-- Deploy pmp:create_retention to pg
--
-- What has left the record, up to when, and what is kept back from that (docs/adr/0229).
BEGIN;
CREATE TABLE pmp.removed_event (
  id uuid PRIMARY KEY
);
COMMENT ON TABLE pmp.removed_event IS
  'Ids of events that have left the record. An id names one event, also after that event has left.';

CREATE TABLE pmp.retention_edge (
  consent_key integer PRIMARY KEY REFERENCES pmp.consent,
  edge        timestamptz NOT NULL
);
COMMENT ON TABLE pmp.retention_edge IS
  'Up to when events of a consent may have left. From the edge on, every state is as if nothing had left; it never goes '
  'back. No row: nothing has left.';

CREATE TABLE pmp.retention (
  is_only        boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  policy         jsonb NOT NULL DEFAULT '{}',
  removed        bigint NOT NULL DEFAULT 0,
  highest_number bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE pmp.retention IS 'The state of the retention, in one row.';
COMMENT ON COLUMN pmp.retention.policy IS 'For which the walks in retention_walk were begun.';
COMMENT ON COLUMN pmp.retention.removed IS 'Events that have left: who reads the same number twice has missed none between.';
COMMENT ON COLUMN pmp.retention.highest_number IS 'The highest transaction number of anything that has left: see highest_number.';
INSERT INTO pmp.retention DEFAULT VALUES;

CREATE TABLE pmp.retention_walk (
  days      integer PRIMARY KEY,
  number    bigint NOT NULL DEFAULT 0,
  sequence  bigint NOT NULL DEFAULT 0,
  edge      timestamptz NOT NULL DEFAULT '-infinity',
  erased_at timestamptz NOT NULL DEFAULT '-infinity',
  user_id   uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000'
);
COMMENT ON TABLE pmp.retention_walk IS
  'How far the events that are older than a number of days were looked at, in the order of the feed, and the erasures in '
  'the order of time. A walk begins again when the policy changes or a hold is lifted.';
COMMENT ON COLUMN pmp.retention_walk.edge IS 'The latest receipt among the events that were looked at.';

CREATE TABLE pmp.retention_run (
  run       uuid NOT NULL,
  kind      text NOT NULL CHECK (kind IN ('events', 'imports', 'exports', 'notices', 'deliveries')),
  days      integer NOT NULL,
  called_by text NOT NULL DEFAULT session_user,
  begun_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  ended_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  portions  bigint NOT NULL DEFAULT 1,
  removed   bigint NOT NULL CHECK (removed > 0),
  edge      timestamptz NOT NULL,
  PRIMARY KEY (run, kind, days)
);
COMMENT ON TABLE pmp.retention_run IS
  'What left by one invocation of the housekeeping: who called it, when, how many rows in how many portions, and up to '
  'what edge. Runs that removed nothing have no row.';

CREATE TABLE pmp.legal_hold (
  id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  subject_key bigint,
  consent_key integer REFERENCES pmp.consent,
  reason      text NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
  set_by      text NOT NULL CHECK (length(set_by) BETWEEN 1 AND 500),
  set_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  lifted_by   text CHECK (length(lifted_by) BETWEEN 1 AND 500),
  lifted_at   timestamptz,
  CONSTRAINT legal_hold_is_lifted_by_somebody CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
COMMENT ON TABLE pmp.legal_hold IS
  'Events that do not leave, whatever their age: of a user (subject_key), of a consent, of a user''s consent, or all (both '
  'NULL). Operators set and lift them. A lifted hold stays as proof.';
COMMENT ON COLUMN pmp.legal_hold.set_by IS 'Identity of the operator, as the command knew it.';
CREATE INDEX legal_hold_active ON pmp.legal_hold (subject_key) WHERE lifted_at IS NULL;

CREATE FUNCTION pmp.retention_lock() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT hashtextextended('retention', 0)
$$;
COMMENT ON FUNCTION pmp.retention_lock IS
  'Key of the advisory lock that a portion and a change of a hold have for themselves, and beginning exports share: what '
  'keeps events back is either there before a portion, which sees it, or comes after its edge.';

CREATE FUNCTION pmp.refuse_before_edge(as_of timestamptz, known_at timestamptz, consent_ids text[] DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql STABLE SET search_path = pmp, pg_temp AS $$
DECLARE
  latest timestamptz;
BEGIN
  SELECT max(r.edge) INTO latest FROM retention_edge AS r JOIN consent AS k USING (consent_key)
  WHERE consent_ids IS NULL OR k.id = ANY (consent_ids);
  -- No DETAIL: the function logs none, and passes none on.
  IF as_of < latest THEN
    RAISE EXCEPTION 'as_of' USING ERRCODE = 'PMP03', HINT = instant(latest);
  ELSIF known_at < latest THEN
    RAISE EXCEPTION 'known_at' USING ERRCODE = 'PMP03', HINT = instant(latest);
  END IF;
END
$$;
COMMENT ON FUNCTION pmp.refuse_before_edge IS
  'Raise PMP03 if a state of these consents (NULL: of all) was asked for from before their retention_edge: the message is '
  'the limit that is too early, the hint the edge. In a STABLE function it sees the edge of the same snapshot as the reads.';

GRANT SELECT ON pmp.removed_event, pmp.retention_edge, pmp.retention TO pmp_app, pmp_readonly;
GRANT SELECT ON pmp.retention_walk, pmp.retention_run, pmp.legal_hold TO pmp_readonly;
GRANT EXECUTE ON FUNCTION pmp.refuse_before_edge TO pmp_app;
COMMIT;
