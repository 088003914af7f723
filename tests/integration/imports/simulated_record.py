"""A record with a clock of its own, of which events leave, beside a copy of which nothing does: years in seconds.

A script for psql: one transaction, which is rolled back. Days are counted from the start of 2026.
"""

from dataclasses import dataclass, field

CONSENTS = ("email_notifications", "sms_notifications", "letters")

_BEGIN = """
BEGIN;
SET session_replication_role = replica;
TRUNCATE pmp.event, pmp.event_context, pmp.current_choice, pmp.subject, pmp.erasure, pmp.former_identifier, pmp.notice,
  pmp.confirmation, pmp.export_job, pmp.subscription, pmp.delivery_lane, pmp.delivery, pmp.legal_hold,
  pmp.removed_event, pmp.retention_edge, pmp.retention_walk, pmp.retention_run;
UPDATE pmp.retention SET removed = 0, policy = '{}';
SET session_replication_role = origin;
SET client_min_messages = warning;
DO $$ BEGIN PERFORM pmp.put_consent('letters', 'Letters', 'post', NULL, 'test'); END $$;
CREATE TEMPORARY TABLE shadow (LIKE pmp.event INCLUDING INDEXES) ON COMMIT DROP;
CREATE TEMPORARY TABLE kept (id uuid PRIMARY KEY, because text) ON COMMIT DROP;
CREATE TEMPORARY TABLE left_at (id uuid PRIMARY KEY, day double precision) ON COMMIT DROP;

CREATE FUNCTION pg_temp.day(number double precision) RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
  SELECT timestamptz '2026-01-01T00:00:00.5Z' + number * interval '24 hours'
$$;
CREATE FUNCTION pg_temp.person(number integer) RETURNS pmp.subject LANGUAGE sql STABLE AS $$
  SELECT pmp.find_subject(('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid)
$$;
CREATE FUNCTION pg_temp.add_user(number integer) RETURNS void LANGUAGE sql AS $$
  INSERT INTO pmp.subject (id, email, created_by, transaction_number) VALUES (
    ('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid, number || '@example.com', pmp.source_key('test'),
    number
  )
$$;
CREATE FUNCTION pg_temp.add_event(number integer, who integer, choices jsonb, told timestamptz, received timestamptz)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  person pmp.subject := pg_temp.person(who);
BEGIN
  IF person.erased_at IS NOT NULL THEN
    RETURN;
  END IF;
  INSERT INTO pmp.event (
    transaction_number, sequence, id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction,
    has_context, versions, enabled
  ) OVERRIDING SYSTEM VALUE
  -- One transaction number, below the horizon: the feed is in the order of the sequence.
  SELECT 1, number, ('00000000-0000-4000-9000-' || lpad(number::text, 12, '0'))::uuid, person.subject_key,
    coalesce(told, received), received, pmp.source_key('test'), told IS NOT NULL, told IS NULL OR number % 2 = 0,
    number % 3 = 0,
    array_agg(v.version_key), array_agg(c.value::boolean)
  FROM jsonb_each_text(choices) AS c
  JOIN pmp.consent AS k ON k.id = c.key JOIN pmp.consent_version AS v USING (consent_key);
  INSERT INTO pmp.event_context SELECT e.subject_key, e.sequence, '{}' FROM pmp.event AS e
  WHERE e.sequence = number AND e.has_context;
  INSERT INTO shadow SELECT * FROM pmp.event AS e WHERE e.sequence = number;
  -- As create_event projects it.
  INSERT INTO pmp.current_choice AS c
  SELECT person.subject_key, v.consent_key, v.version_key,
    pmp.counts_at(e.occurred_at, e.received_at, e.has_fraction, a.enabled), e.sequence, a.enabled, NULL
  FROM pmp.event AS e CROSS JOIN unnest(e.versions, e.enabled) AS a (version_key, enabled)
  JOIN pmp.consent_version AS v USING (version_key)
  WHERE e.sequence = number
  ON CONFLICT (consent_key, subject_key) DO UPDATE
  SET version_key = excluded.version_key, counts_at = excluded.counts_at, sequence = excluded.sequence,
    enabled = excluded.enabled
  WHERE (excluded.counts_at, NOT excluded.enabled, excluded.sequence) > (c.counts_at, NOT c.enabled, c.sequence);
END
$$;
CREATE FUNCTION pg_temp.merge(who integer, other integer) RETURNS void LANGUAGE sql AS $$
  SELECT pmp.merge_users((pg_temp.person(who)).id, (pg_temp.person(other)).id, 'test')
  WHERE (pg_temp.person(who)).erased_at IS NULL AND (pg_temp.person(other)).erased_at IS NULL
$$;
CREATE FUNCTION pg_temp.erase(who integer, at timestamptz) RETURNS void LANGUAGE sql AS $$
  SELECT pmp.erase_user((pg_temp.person(who)).id, 'test', ARRAY[sha256(who::text::bytea)], at)
$$;
CREATE FUNCTION pg_temp.hold(who integer, consent text, name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pmp.set_legal_hold((pg_temp.person(who)).id, consent, name, 'test');
  INSERT INTO kept SELECT e.id, name FROM pmp.event AS e JOIN pmp.subject AS s USING (subject_key)
  WHERE (who IS NULL OR coalesce(s.merged_into, s.subject_key) = (pg_temp.person(who)).subject_key)
    AND (consent IS NULL OR EXISTS (
      SELECT FROM pmp.consent_version AS v JOIN pmp.consent AS k USING (consent_key)
      WHERE v.version_key = ANY (e.versions) AND k.id = consent
    ))
  ON CONFLICT DO NOTHING;
END
$$;
CREATE FUNCTION pg_temp.lift(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pmp.lift_legal_hold(h.id, 'test') FROM pmp.legal_hold AS h WHERE h.reason = name AND h.lifted_at IS NULL;
  DELETE FROM kept WHERE because = name;
END
$$;
-- The fold as replay computes it, from the copy.
CREATE FUNCTION pg_temp.replay(subject_key bigint, as_of timestamptz, known_at timestamptz)
RETURNS SETOF pmp.current_choice LANGUAGE sql STABLE AS $$
  SELECT DISTINCT ON (v.consent_key)
    $1, v.consent_key, v.version_key, c.counts_at, c.sequence, c.enabled, NULL::jsonb
  FROM (
    SELECT e.sequence, e.received_at, a.version_key, a.enabled,
      pmp.counts_at(e.occurred_at, e.received_at, e.has_fraction, a.enabled) AS counts_at
    FROM shadow AS e CROSS JOIN unnest(e.versions, e.enabled) AS a (version_key, enabled)
    WHERE e.subject_key = ANY (pmp.subject_keys($1))
  ) AS c
  JOIN pmp.consent_version AS v USING (version_key)
  WHERE pmp.is_within(c.counts_at, c.received_at, as_of, known_at)
  ORDER BY v.consent_key, c.counts_at DESC, c.enabled, c.sequence DESC
$$;
CREATE FUNCTION pg_temp.compare() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  edge timestamptz := coalesce((SELECT max(r.edge) FROM pmp.retention_edge AS r), '-infinity');
  odd record;
BEGIN
  -- Every instant at which something changes, from the edge on, and pairs of them.
  CREATE TEMPORARY TABLE instant ON COMMIT DROP AS
  SELECT DISTINCT at FROM (
    SELECT edge AS at WHERE edge > '-infinity'
    UNION ALL SELECT s.received_at FROM shadow AS s
    UNION ALL SELECT s.occurred_at + interval '0.999999 seconds' FROM shadow AS s
    UNION ALL SELECT NULL
  ) AS i WHERE at IS NULL OR at >= edge ORDER BY at DESC LIMIT 40;
  FOR odd IN
    SELECT s.id, a.at AS as_of, b.at AS known_at
    FROM pmp.subject AS s CROSS JOIN instant AS a CROSS JOIN instant AS b
    WHERE s.erased_at IS NULL AND s.merged_into IS NULL
      AND (a.at IS NULL OR b.at IS NULL OR hashint8(s.subject_key) % 3 = 0)
      AND (SELECT array_agg(r ORDER BY r.consent_key) FROM pmp.replay(s.subject_key, a.at, b.at) AS r) IS DISTINCT FROM
        (SELECT array_agg(r ORDER BY r.consent_key) FROM pg_temp.replay(s.subject_key, a.at, b.at) AS r)
    LIMIT 1
  LOOP
    RAISE EXCEPTION 'another state of % as of %, known at %: edge %', odd.id, odd.as_of, odd.known_at, edge;
  END LOOP;
  DROP TABLE instant;
  FOR odd IN SELECT * FROM kept AS k WHERE NOT EXISTS (SELECT FROM pmp.event AS e WHERE e.id = k.id) LIMIT 1 LOOP
    RAISE EXCEPTION '% has left, in spite of %', odd.id, odd.because;
  END LOOP;
  IF EXISTS (SELECT FROM pmp.export_job AS x WHERE x.finished_at IS NULL AND x.as_of < edge) THEN
    RAISE EXCEPTION 'the edge % has passed an export under way', edge;
  END IF;
  FOR odd IN
    SELECT s.id FROM pmp.subject AS s WHERE s.erased_at IS NULL AND s.merged_into IS NULL
      AND jsonb_array_length(pmp.describe_choices(s.id)) <>
        (SELECT count(*) FROM pmp.current_choice AS c WHERE c.subject_key = s.subject_key)
  LOOP
    RAISE EXCEPTION 'a current choice of % has lost its event', odd.id;
  END LOOP;
  FOR odd IN
    SELECT s.id FROM shadow AS s
    WHERE EXISTS (SELECT FROM pmp.event AS e WHERE e.id = s.id)
      = EXISTS (SELECT FROM pmp.removed_event AS r WHERE r.id = s.id)
  LOOP
    RAISE EXCEPTION '% is neither there nor remembered, or both', odd.id;
  END LOOP;
  IF EXISTS (
    SELECT FROM pmp.event_context AS c WHERE NOT EXISTS (SELECT FROM pmp.event AS e WHERE e.sequence = c.sequence)
  ) THEN
    RAISE EXCEPTION 'a context has stayed without its event';
  END IF;
  IF (SELECT r.removed FROM pmp.retention AS r) <> (SELECT count(*) FROM pmp.removed_event)
    OR (SELECT coalesce(sum(r.removed), 0) FROM pmp.retention_run AS r) <> (SELECT count(*) FROM pmp.removed_event) THEN
    RAISE EXCEPTION 'the runs do not add up';
  END IF;
END
$$;
CREATE FUNCTION pg_temp.let_leave(policy jsonb, today double precision, most integer, portions integer)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
  answer jsonb;
  before bigint;
  run uuid := gen_random_uuid();
BEGIN
  FOR portion IN 1..portions LOOP
    before := (SELECT count(*) FROM pmp.event);
    answer := pmp.remove_expired_events_at(policy, run, most, pg_temp.day(today));
    IF before - (SELECT count(*) FROM pmp.event) <> (answer ->> 'removed')::bigint
      OR (answer ->> 'removed')::bigint > most THEN
      RAISE EXCEPTION 'a portion of % removed % of % events', most, answer ->> 'removed', before;
    END IF;
    INSERT INTO left_at SELECT r.id, today FROM pmp.removed_event AS r ON CONFLICT DO NOTHING;
    EXIT WHEN NOT (answer ->> 'more')::boolean;
  END LOOP;
  IF EXISTS (
    SELECT FROM left_at AS l JOIN shadow AS s USING (id)
    WHERE s.received_at > pg_temp.day(l.day) - interval '30 days'
  ) THEN
    RAISE EXCEPTION 'an event has left that was younger than 30 days';
  END IF;
END
$$;
-- By the definition alone, without walks: what should be gone once all portions are done and nothing is held.
CREATE FUNCTION pg_temp.overdue(policy jsonb, today double precision) RETURNS SETOF uuid LANGUAGE sql STABLE AS $$
  WITH choice AS (
    SELECT
      e.id, coalesce(s.merged_into, s.subject_key) AS owner, s.erased_at, v.consent_key, e.received_at, e.sequence,
      a.enabled, pmp.counts_at(e.occurred_at, e.received_at, e.has_fraction, a.enabled) AS counts_at, t.due
    FROM pmp.event AS e JOIN pmp.subject AS s USING (subject_key)
    CROSS JOIN unnest(e.versions, e.enabled) AS a (version_key, enabled)
    JOIN pmp.consent_version AS v USING (version_key)
    LEFT JOIN pmp.retention_terms(policy, pg_temp.day(today)) AS t ON t.consent_key = v.consent_key
  )
  SELECT c.id FROM choice AS c GROUP BY c.id
  HAVING bool_and(EXISTS (
    SELECT FROM choice AS o
    WHERE o.owner = c.owner AND o.consent_key = c.consent_key AND o.id <> c.id
      AND c.received_at <= c.due AND o.received_at <= c.due
      AND (o.counts_at, NOT o.enabled, o.sequence) > (c.counts_at, NOT c.enabled, c.sequence)
  )) OR bool_and(coalesce(c.erased_at <= c.due, false))
$$;
"""


def literal(value: str | None) -> str:
    """A value as SQL."""
    return "NULL" if value is None else "'{}'".format(value.replace("'", "''"))


@dataclass
class Record:
    """A script that grows by what happens.

    Attributes:
        users: how many there are at first.
        day: the clock, in days since the start of 2026.
        latest: how far it has been.
        policy: as ``pmp.retention_terms`` takes it, in JSON.
    """

    users: int
    policy: str
    day: float = 0
    latest: float = 0
    events: int = 0
    lines: list[str] = field(default_factory=list)

    def wait(self, days: float) -> None:
        """Move the clock, forward or back."""
        self.day = max(0, self.day + days)
        self.latest = max(self.latest, self.day)

    def add_event(self, who: int, choices: dict[str, bool], told_days_ago: int | None) -> None:
        """A choice that is received now; ``told_days_ago`` None: no instant was told."""
        self.events += 1
        self.wait(0.001)
        # At the start of a day, so that several choices happen at the same instant.
        told = (
            "NULL"
            if told_days_ago is None
            else f"date_trunc('second', pg_temp.day(floor({self.day} - {told_days_ago})))"
        )
        chosen = ", ".join(f'"{name}": {str(enabled).lower()}' for name, enabled in choices.items())
        self._call("add_event", self.events, who, literal(f"{{{chosen}}}"), told, f"pg_temp.day({self.day})")

    def merge(self, who: int, other: int) -> None:
        """Merge two users."""
        self._call("merge", who, other)

    def erase(self, who: int) -> None:
        """Erase a user now."""
        self._call("erase", who, f"pg_temp.day({self.day})")

    def hold(self, who: int | None, consent: str | None, name: str) -> None:
        """Set a legal hold; None: all."""
        self._call("hold", "NULL" if who is None else who, literal(consent), literal(name))

    def lift(self, name: str) -> None:
        """Lift it."""
        self._call("lift", literal(name))

    def begin_export(self, contents: str, days_ago: float) -> None:
        """An export that is under way from now on; one of events has no limits."""
        at = "NULL" if contents == "events" else f"greatest(pg_temp.day({self.day - days_ago}), edge)"
        self.lines.append(
            "INSERT INTO pmp.export_job (id, state, contents, as_of, known_at, client, bucket, object_key)"
            f" SELECT gen_random_uuid(), 'running', '{contents}', {at}, {at}, 'test', 'b', 'k'"
            " FROM (SELECT coalesce(max(r.edge), '-infinity') AS edge FROM pmp.retention_edge AS r) AS e;"
        )
        if contents == "events":
            self.lines.append("INSERT INTO kept SELECT e.id, 'export' FROM pmp.event AS e ON CONFLICT DO NOTHING;")

    def end_exports(self) -> None:
        """No export is under way any more."""
        self.lines.append(
            "UPDATE pmp.export_job SET state = 'cancelled', finished_at = now() WHERE finished_at IS NULL;"
            "DELETE FROM kept WHERE because = 'export';"
        )

    def let_leave(self, most: int = 1000, portions: int = 1_000_000, *, compares: bool = True) -> None:
        """Remove what is due, in portions, and compare with the copy of which nothing left."""
        self._call("let_leave", literal(self.policy), self.day, most, portions)
        if compares:
            self._call("compare")

    def let_all_leave(self, most: int = 1000) -> None:
        """Remove all that is due; nothing that the definition names may be left."""
        self.let_leave(most)
        overdue = f"FROM pg_temp.overdue({literal(self.policy)}, {self.day}) AS o"
        self.lines.append(
            f"DO $$ BEGIN IF EXISTS (SELECT {overdue}) THEN"
            f" RAISE EXCEPTION 'overdue and still there: %', (SELECT min(o::text) {overdue}); END IF; END $$;"
        )

    def script(self, *questions: str) -> str:
        """The whole script, whose output is the answers to the questions."""
        users = f"DO $$ BEGIN PERFORM pg_temp.add_user(n) FROM generate_series(1, {self.users}) AS n; END $$;"
        return "\n".join([_BEGIN, users, *self.lines, *questions, "ROLLBACK;"])

    def _call(self, function: str, *arguments: object) -> None:
        self.lines.append(f"DO $do$ BEGIN PERFORM pg_temp.{function}({', '.join(map(str, arguments))}); END $do$;")
