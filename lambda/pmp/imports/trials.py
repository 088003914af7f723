"""What a dry run keeps: its first lines as they were understood, and, until its end, what it has accepted."""

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pmp.database import Connection
from pmp.erasures import HASH_BYTES
from pmp.imports.lines import Batch, Catalogue
from pmp.imports.mapping import HASHED
from pmp.imports.rejects import Reject

PREVIEW_LINES = 20

PREVIEW_KEPT = "1 day"
"""After the end of the dry run, as PostgreSQL reads it: a preview holds addresses."""

PORTION_ROWS = 20_000


class Place(NamedTuple):
    """How far the rows of a dry run are deleted, in the order of their keys.

    Attributes:
        job: the dry run's id.
        event: id of its last deleted event.
        person: of its last deleted choice, in hexadecimal.
        consent: the key of that choice's consent.
    """

    job: str
    event: str = "00000000-0000-0000-0000-000000000000"
    person: str = ""
    consent: int = 0


class Preview:
    """The first lines of one dry run; of any other import, nothing.

    Args:
        row: of ``import_job``.
    """

    def __init__(self, row: dict[str, Any]) -> None:
        self._job: str = row["id"]
        self._declared: str | None = row["occurred_at"]
        self._is_kept: bool = row["dry_run"]
        self._kept = set[int]()

    def resume(self, run: Callable[..., Any]) -> None:
        """Learn which lines earlier invocations kept; ``run`` runs a statement on the job ``:job``."""
        if self._is_kept:
            self._kept = {line for (line,) in run("SELECT line FROM pmp.import_preview WHERE import_id = :job")}

    def keep(self, connection: Connection, batch: Batch, found: Sequence[Reject], catalogue: Catalogue) -> None:
        """Write the batch's lines, if they are among the first, in the transaction of their batch.

        Args:
            connection: to the database.
            batch: the lines.
            found: those that are rejected. Only the reason is shown: the line may be of an erased person.
            catalogue: as the batch was read with.
        """
        # A batch may come again in parts.
        room = PREVIEW_LINES - sum(line <= batch.from_line for line in self._kept)
        if not self._is_kept or room <= 0:
            return
        rejected = {one.line: one for one in found}
        places = {line: place for place, line in enumerate(batch.line_numbers[:room]) if line not in rejected}
        lines = sorted([*places, *sorted(rejected)[:room]])[:room]
        marks = {line: _mark(batch, place) for line, place in places.items()}
        connection.run(
            "INSERT INTO pmp.import_preview (import_id, line, document, address_hash)"
            " SELECT CAST(:job AS uuid), l.line, l.document, decode(l.hash, 'hex')"
            " FROM unnest(CAST(:lines AS bigint[]), CAST(:documents AS jsonb[]), CAST(:hashes AS text[]))"
            "  AS l (line, document, hash) ON CONFLICT DO NOTHING",
            job=self._job,
            lines=lines,
            documents=[
                json.dumps(
                    {
                        "line": line,
                        "event": self._event(batch, places[line], catalogue) if line in places else None,
                        "rejected": {name: getattr(rejected[line], name) for name in ("code", "pointer", "detail")}
                        if line in rejected
                        else None,
                    }
                )
                for line in lines
            ],
            hashes=[mark.hex() if (mark := marks.get(line)) else None for line in lines],
        )
        self._kept.update(lines)

    def _event(self, batch: Batch, place: int, catalogue: Catalogue) -> dict[str, Any]:
        instant = batch.instants[place]
        versions, answers = batch.versions[place][1:-1].split(","), batch.choices[place][1:-1].split(",")
        choices = []
        chosen = _values(batch.chosen[place]) or [None] * len(versions)
        for key, answer, value in zip(versions, answers, chosen, strict=True):
            consent, version = catalogue.named(int(key))
            choice = {"id": consent, "enabled": answer == "t", "version": version}
            choices.append(choice if value is None else {**choice, "value": json.loads(value)})
        return {
            "id": batch.event_ids[place],
            "user": _user(batch, place),
            "consents": choices,
            "occurred_at": self._declared if instant == "NULL" else instant,
        }


def _values(chosen: str) -> list[str | None]:
    """The values of an event in JSON, by the places of its choices; none: the list is empty.

    Args:
        chosen: of ``Batch``. The elements of an array literal are quoted as JSON is, and a value has no capital letter.
    """
    found: list[str | None] = json.loads(f"[{json.loads(chosen)[1:-1].replace('NULL', 'null')}]")
    return found


def _user(batch: Batch, place: int) -> dict[str, str]:
    if batch.emails[place] != "NULL":
        # The element of an array literal is quoted as JSON is.
        return {"email": json.loads(batch.emails[place])}
    if batch.user_ids[place] != "NULL":
        return {"id": batch.user_ids[place]}
    return {HASHED: batch.address_hashes[HASH_BYTES * place : HASH_BYTES * (place + 1)].hex()}


def _mark(batch: Batch, place: int) -> bytes | None:
    """The hash of the address on a line; None if it has none."""
    if batch.emails[place] == "NULL":
        return None
    return bytes(batch.address_hashes[HASH_BYTES * place : HASH_BYTES * (place + 1)])


def shown(connection: Connection, job: str) -> dict[str, Any] | None:
    """GET /imports/{id}/preview: ``{"lines", "kept_until"}``; None if there is none (any more)."""
    rows = connection.run(
        "SELECT jsonb_build_object("  # noqa: S608 - a constant
        " 'lines', coalesce((SELECT jsonb_agg(p.document ORDER BY p.line) FROM pmp.import_preview AS p"
        "  WHERE p.import_id = j.id), '[]'),"
        f" 'kept_until', pmp.instant(j.finished_at + interval '{PREVIEW_KEPT}'))"
        " FROM pmp.import_job AS j WHERE j.id = :job AND j.dry_run"
        f" AND coalesce(j.finished_at > now() - interval '{PREVIEW_KEPT}', true)",
        job=job,
    )
    document: dict[str, Any] | None = rows[0][0] if rows else None
    return document


def remove_previews(connection: Connection) -> None:
    """Delete the previews whose time is over."""
    connection.run(
        "DELETE FROM pmp.import_preview AS p USING pmp.import_job AS j WHERE j.id = p.import_id"  # noqa: S608 - a constant
        f" AND j.finished_at <= now() - interval '{PREVIEW_KEPT}'"
    )


def remove(connection: Connection, after: Place) -> Place | None:
    """Delete some of what a dry run has accepted.

    Args:
        connection: to the database.
        after: the previous call's result; for the first call, only the job.

    Returns:
        Where the next call goes on; None if nothing is left.
    """
    ((event, person, consent),) = connection.run(
        "WITH events AS MATERIALIZED ("
        " SELECT id FROM pmp.trial_event WHERE import_id = :job AND id > :event ORDER BY id LIMIT :most"
        "), choices AS MATERIALIZED ("
        " SELECT person, consent_key FROM pmp.trial_choice"
        " WHERE import_id = :job AND (person, consent_key) > (decode(:person, 'hex'), CAST(:consent AS integer))"
        " ORDER BY person, consent_key LIMIT :most"
        "), gone AS ("
        " DELETE FROM pmp.trial_event AS t USING events AS e WHERE t.import_id = :job AND t.id = e.id"
        "), gone_too AS ("
        " DELETE FROM pmp.trial_choice AS t USING choices AS c"
        " WHERE t.import_id = :job AND t.person = c.person AND t.consent_key = c.consent_key"
        ") SELECT (SELECT id FROM events ORDER BY id DESC LIMIT 1), last.person, last.consent_key FROM (SELECT) AS one"
        " LEFT JOIN (SELECT encode(person, 'hex') AS person, consent_key FROM choices"
        "  ORDER BY choices.person DESC, consent_key DESC LIMIT 1) AS last ON true",
        most=PORTION_ROWS,
        **after._asdict(),
    )
    if event is None and person is None:
        return None
    return Place(
        after.job,
        after.event if event is None else str(event),
        *((after.person, after.consent) if person is None else (person, consent)),
    )


def remove_left(connection: Connection, after: Place | None) -> Place | None:
    """Delete some of what dry runs have accepted that were cancelled, or whose last invocation was killed.

    Args and result: see ``remove``.
    """
    if after is None:
        rows = connection.run(
            "SELECT j.id FROM pmp.import_job AS j WHERE j.dry_run AND j.finished_at IS NOT NULL"
            " AND (EXISTS (SELECT FROM pmp.trial_event AS t WHERE t.import_id = j.id)"
            "  OR EXISTS (SELECT FROM pmp.trial_choice AS t WHERE t.import_id = j.id)) LIMIT 1"
        )
        if not rows:
            return None
        after = Place(str(rows[0][0]))
    return remove(connection, after) or remove_left(connection, None)
