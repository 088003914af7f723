"""The usual alternatives to PMP's import, one per process: ``python peers.py psycopg|sqlalchemy|calls URL FILE``.

Prints the number of events in the file and the seconds they took, without the process's start. Each alternative parses
the same gzip file and writes to the same tables; none validates like PMP's import, resumes, or survives a fault.
"""

import gzip
import itertools
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

MERGE = """
WITH inserted AS (
  INSERT INTO pmp.event (
    id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, versions, enabled
  )
  SELECT l.id, s.subject_key, l.occurred_at, now(), 1, true, true, l.versions, l.enabled
  FROM (SELECT * FROM pmp_peer_line ORDER BY user_id) AS l
  CROSS JOIN LATERAL (SELECT s.subject_key FROM pmp.subject AS s WHERE s.id = l.user_id OFFSET 0) AS s
  ORDER BY s.subject_key
  RETURNING subject_key, occurred_at, sequence, versions, enabled
), folded AS (
  SELECT DISTINCT ON (v.consent_key, e.subject_key)
    e.subject_key, v.consent_key, v.version_key, e.occurred_at, e.sequence, e.enabled
  FROM (
    SELECT i.subject_key, i.occurred_at, i.sequence, unnest(i.versions) AS version_key, unnest(i.enabled) AS enabled
    FROM inserted AS i
  ) AS e
  JOIN pmp.consent_version AS v USING (version_key)
  ORDER BY v.consent_key, e.subject_key, e.occurred_at DESC, e.enabled, e.sequence DESC
)
INSERT INTO pmp.current_choice AS c (subject_key, consent_key, version_key, counts_at, sequence, enabled)
SELECT subject_key, consent_key, version_key, occurred_at, sequence, enabled FROM folded
ON CONFLICT (consent_key, subject_key) DO UPDATE
SET version_key = excluded.version_key, counts_at = excluded.counts_at, sequence = excluded.sequence,
    enabled = excluded.enabled
WHERE (excluded.counts_at, NOT excluded.enabled, excluded.sequence) > (c.counts_at, NOT c.enabled, c.sequence)
"""
VERSIONS = {"email_notifications": 1, "sms_notifications": 2}


def batches(path: str, size: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the events of a gzip file of JSON lines, ``size`` at a time."""
    with gzip.open(path, "rb") as lines:
        while batch := [json.loads(line) for line in itertools.islice(lines, size)]:
            yield batch


def with_psycopg(url: str, path: str) -> int:
    """COPY row by row into a staging table, then the same set-based merge, 20,000 lines at a time."""
    import psycopg  # type: ignore[import-not-found]  # only in the benchmark's own environment

    count = 0
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for batch in batches(path, 20_000):
            cursor.execute("TRUNCATE pmp_peer_line")
            with cursor.copy("COPY pmp_peer_line (id, user_id, occurred_at, versions, enabled) FROM STDIN") as copy:
                for e in batch:
                    copy.write_row((
                        e["id"], e["user"]["id"], e["occurred_at"],
                        [VERSIONS[c["id"]] for c in e["consents"]], [c["enabled"] for c in e["consents"]],
                    ))  # fmt: skip
            cursor.execute(MERGE)
            connection.commit()
            count += len(batch)
    return count


def with_sqlalchemy(url: str, path: str) -> int:
    """INSERT … VALUES (…), (…) ON CONFLICT with 1,000 rows per statement, as awswrangler and pandas do."""
    import sqlalchemy as sa  # type: ignore[import-not-found]
    from sqlalchemy.dialects.postgresql import ARRAY, UUID, insert  # type: ignore[import-not-found]

    engine = sa.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    meta = sa.MetaData(schema="pmp")
    instant = sa.TIMESTAMP(timezone=True)
    subject = sa.Table("subject", meta, sa.Column("subject_key", sa.BigInteger), sa.Column("id", UUID(as_uuid=False)))
    event = sa.Table(
        "event", meta, sa.Column("sequence", sa.BigInteger, primary_key=True), sa.Column("id", UUID(as_uuid=False)),
        sa.Column("subject_key", sa.BigInteger), sa.Column("occurred_at", instant), sa.Column("received_at", instant),
        sa.Column("source_key", sa.Integer), sa.Column("has_instant", sa.Boolean),
        sa.Column("has_fraction", sa.Boolean),
        sa.Column("versions", ARRAY(sa.Integer)), sa.Column("enabled", ARRAY(sa.Boolean)),
    )  # fmt: skip
    choice = sa.Table(
        "current_choice", meta, sa.Column("subject_key", sa.BigInteger), sa.Column("consent_key", sa.Integer),
        sa.Column("version_key", sa.Integer), sa.Column("counts_at", instant),
        sa.Column("sequence", sa.BigInteger), sa.Column("enabled", sa.Boolean),
    )  # fmt: skip
    count = 0
    with engine.connect() as connection:
        for batch in batches(path, 1000):
            ids = {e["user"]["id"] for e in batch}
            known = sa.select(subject.c.id, subject.c.subject_key).where(subject.c.id.in_(ids))
            keys = dict(connection.execute(known).all())
            rows = [
                {
                    "id": e["id"], "subject_key": keys[e["user"]["id"]], "occurred_at": e["occurred_at"],
                    "received_at": sa.func.now(), "source_key": 1, "has_instant": True, "has_fraction": True,
                    "versions": [VERSIONS[c["id"]] for c in e["consents"]],
                    "enabled": [c["enabled"] for c in e["consents"]],
                }
                for e in batch
            ]  # fmt: skip
            added = connection.execute(
                insert(event).values(rows).on_conflict_do_nothing(index_elements=["id"])
                .returning(*(event.c[n] for n in ("subject_key", "occurred_at", "sequence", "versions", "enabled")))
            ).all()  # fmt: skip
            newest: dict[tuple[int, int], dict[str, Any]] = {}
            for key, at, sequence, versions, enabled in added:
                for version, yes in zip(versions, enabled, strict=True):
                    row = {"subject_key": key, "consent_key": version, "version_key": version, "counts_at": at,
                           "sequence": sequence, "enabled": yes}  # fmt: skip
                    old = newest.get((key, version))
                    if old is None or (at, not yes, sequence) > (
                        old["counts_at"],
                        not old["enabled"],
                        old["sequence"],
                    ):
                        newest[key, version] = row
            if newest:
                new = insert(choice).values(list(newest.values()))
                connection.execute(new.on_conflict_do_update(
                    index_elements=["consent_key", "subject_key"],
                    set_={n: new.excluded[n] for n in ("version_key", "counts_at", "sequence", "enabled")},
                    where=new.excluded.counts_at > choice.c.counts_at,
                ))  # fmt: skip
            connection.commit()
            count += len(batch)
    return count


def with_calls(url: str, path: str) -> int:
    """100 single calls of create_event per transaction, like a bulk API of 100 events, without network and HTTP."""
    import psycopg

    count = 0
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for batch in batches(path, 100):
            for e in batch:
                cursor.execute(
                    "SELECT pmp.create_event(%s, %s, %s, %s, 'bench')",
                    (e["id"], e["user"]["id"], json.dumps(e["consents"]), e["occurred_at"]),
                )
            connection.commit()
            count += len(batch)
    return count


if __name__ == "__main__":
    kind, url, path = sys.argv[1:]
    work = {"psycopg": with_psycopg, "sqlalchemy": with_sqlalchemy, "calls": with_calls}[kind]
    started = time.perf_counter()
    done = work(url, path)
    print(json.dumps({"events": done, "seconds": time.perf_counter() - started}))
