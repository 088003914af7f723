"""A record of millions of events, filled by SQL: skewed like a real one, and with its projection."""

import json
from collections.abc import Iterator

from checks.stack import Stack

BUSY = "00000000-0000-4000-8000-000000000001"
"""Id of a user with 10,000 events at every size."""

RARE = "rare"
"""A consent that every fifth event denies, and that twenty users grant at each size."""

EXPIRING = "expiring"
"""A consent whose grants have all expired."""

_COMMON = "email_notifications"
_CONSENTS = [_COMMON, "sms_notifications", *(f"topic_{number}" for number in range(9)), RARE, EXPIRING]
"""In the order of their keys, which are those of their versions."""

_BUSY_FROM = 100_000
_EVENTS_PER_USER = 5
_CHUNK = 500_000
_START = "timestamptz '2016-01-01T00:00:00Z'"

# The triggers refuse everyone; they do not fire for a replica.
_UNGUARDED = "SET session_replication_role = replica; SET search_path = pmp;\n"

_USERS = """
INSERT INTO subject (id, email, created_at, created_by, transaction_number)
SELECT
  CASE n WHEN 1 THEN '{busy}'::uuid ELSE md5(n::text)::uuid END, 'user' || n || '@example.com', {start}, 1, number
FROM generate_series({first}, {last}) AS n, (SELECT transaction_number() AS number) AS t;
"""

# Two for each user, in indexes that grow with the users. Without subject.has_more, so that the other operations read
# users as most are.
_IDENTIFIERS = """
INSERT INTO identifier (kind, value, subject_key, created_by)
SELECT i.kind, i.value, n, 1
FROM generate_series({first}, {last}) AS n
CROSS JOIN LATERAL (
  VALUES ('phone', '+1' || lpad(n::text, 10, '0')), ('external:crm', 'user' || n || '@example.com')
) AS i (kind, value);
"""

# The square of a uniform number makes a power law: a tenth of the users has almost a third of the events. 20 s lie
# between two events, so 15 million span ten years.
_EVENTS = """
INSERT INTO event (
  id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, versions, enabled,
  transaction_number
)
SELECT
  gen_random_uuid(),
  CASE WHEN n BETWEEN {busy} AND {busy} + 9999 THEN 1 ELSE 2 + floor(({users} - 1) * random() ^ 2) END,
  {start} + n * interval '20 s', {start} + n * interval '20 s', 1, false, true,
  (ARRAY[1 + n % 2, 3 + n % 9, 12, 13])[1:c.choices], (ARRAY[random() < 0.6, random() < 0.5, false, true])[1:c.choices],
  number
FROM
  generate_series({first}, {last}) AS n
  CROSS JOIN LATERAL (SELECT CASE WHEN n % 35 = 0 THEN 4 WHEN n % 5 = 0 THEN 3 ELSE 2 END AS choices) AS c
  CROSS JOIN (SELECT transaction_number() AS number) AS t;
"""

_RARE_GRANTS = """
INSERT INTO event (
  id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, versions, enabled
)
SELECT gen_random_uuid(), {users} / 20 * n, now(), now(), 1, false, true, ARRAY[12], ARRAY[true]
FROM generate_series(1, 20) AS n;
"""

_FOLD = """
TRUNCATE current_choice;
INSERT INTO current_choice (subject_key, consent_key, version_key, counts_at, sequence, enabled)
SELECT DISTINCT ON (c.version_key, c.subject_key)
  c.subject_key, c.version_key, c.version_key, c.occurred_at, c.sequence, c.enabled
FROM (
  SELECT e.subject_key, unnest(e.versions) AS version_key, e.occurred_at, e.sequence, unnest(e.enabled) AS enabled
  FROM event AS e
) AS c
ORDER BY c.version_key, c.subject_key, c.occurred_at DESC, c.sequence DESC;
"""


class Record:
    """The record of a stack. It is empty at first.

    Args:
        stack: servers with an empty schema.
    """

    def __init__(self, stack: Stack) -> None:
        self._cluster = stack.cluster
        self.events = 0
        for consent in _CONSENTS[2:]:
            days = "1" if consent == EXPIRING else "NULL"
            self._cluster.psql(f"SELECT pmp.put_consent('{consent}', 'Growth', 'web', {days}, 'growth')")
        keys = self._cluster.psql("SELECT k.id FROM pmp.consent AS k ORDER BY k.consent_key").split()
        if keys != _CONSENTS:
            raise RuntimeError(f"the catalogue is {keys}, not {_CONSENTS}: the fill names consents by their keys")

    def fill(self, events: int, *, vacuum: bool = True) -> Iterator[int]:
        """Add events and users until there are ``events``; yield the number of events after each portion.

        Args:
            events: number of events afterwards.
            vacuum: whether to vacuum at the end; otherwise the tables are only analyzed.
        """
        users, known = events // _EVENTS_PER_USER, self.events // _EVENTS_PER_USER
        self._run(_USERS, busy=BUSY, first=known + 1, last=users)
        self._run(_IDENTIFIERS, first=known + 1, last=users)
        while self.events < events:
            last = min(self.events + _CHUNK, events)
            self._run(_EVENTS, busy=_BUSY_FROM, users=users, first=self.events + 1, last=last)
            self.events = last
            yield last
        self._run(_RARE_GRANTS, users=users)
        self._run(_FOLD)
        self._cluster.psql("VACUUM (ANALYZE)" if vacuum else "ANALYZE")

    def parameters(self, count: int) -> list[dict[str, str]]:
        """Return ``count`` sets of parameters for an operation's statement, each of another user.

        Each has ``user`` (an id), ``email`` (also the user's external id), ``phone``, ``common`` (a consent that most
        users answered), ``choices`` (two, JSON),
        ``checks`` (1,000 checks by id, JSON), and places in the middle of the record: ``number`` and ``key`` of a user,
        ``event_number`` and ``sequence`` of an event.
        """
        sample = self._sample(count)
        ids = [user for user, _ in self._sample(1000)]
        number, key = self._cluster.psql(
            f"SELECT s.transaction_number, s.subject_key FROM pmp.subject AS s WHERE s.subject_key = {self.users // 2}"
        ).split("|")
        event_number, sequence = self._cluster.psql(
            f"SELECT e.transaction_number, e.sequence FROM pmp.event AS e WHERE e.sequence = {self.events // 2}"
        ).split("|")
        shared = {
            "number": number,
            "key": key,
            "event_number": event_number,
            "sequence": sequence,
            "common": _COMMON,
            "choices": json.dumps([{"id": _COMMON, "enabled": True}, {"id": "sms_notifications", "enabled": False}]),
            "checks": json.dumps([{"user": {"id": user}, "consent": _COMMON} for user in ids]),
        }
        return [
            {"user": user, "email": email, "phone": f"+1{email.partition('@')[0].removeprefix('user'):0>10}", **shared}
            for user, email in sample
        ]

    def _sample(self, count: int) -> list[list[str]]:
        """Id and address of ``count`` users at the same relative places at every size: as busy as each other."""
        users = self._cluster.psql(
            "SELECT s.id, s.email FROM pmp.subject AS s JOIN unnest(ARRAY["
            + ", ".join(str(2 + (self.users - 2) * (2 * place + 1) // (2 * count)) for place in range(count))
            + "]) AS k ON k = s.subject_key ORDER BY s.subject_key"
        )
        return [line.split("|") for line in users.splitlines()]

    @property
    def users(self) -> int:
        """How many there are; their keys count from 1."""
        return self.events // _EVENTS_PER_USER

    def _run(self, statement: str, **values: object) -> None:
        self._cluster.psql(_UNGUARDED + statement.format(start=_START, **values))
