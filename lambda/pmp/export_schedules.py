"""Daily exports that Terraform schedules: the state at a time of day, or the events since the last one (ADR 0215)."""

import datetime as dt

from pmp import exports
from pmp.database import Connection, DatabaseError, error_code
from pmp.logging import log

MOST_MADE_UP = 7
"""Days without an export that the next one makes up, as long as one is kept."""

_EARLY = dt.timedelta(minutes=1)
"""By how much the clock here may be behind the scheduler's."""

_UNIQUE_VIOLATION = "23505"


def run(connection: Connection, schedule: dict[str, str]) -> None:
    """Make the exports that are due and that do not exist.

    Of users and choices, one for each day that has none since the last that succeeded, each with the state at that
    day's instant. Of events, one of all since the last that succeeded; none while an earlier one has not ended.

    Args:
        connection: to the database.
        schedule: ``{"name", "contents", "format", "at": "HH:MM" (UTC), "folder"}``, as Terraform writes it.
    """
    latest = _latest(schedule["at"], dt.datetime.now(dt.UTC))
    name, contents = schedule["name"], schedule["contents"]
    ((last, number, sequence, is_open),) = connection.run(
        "SELECT pmp.instant(s.due_at), s.feed_number, s.feed_sequence, EXISTS ("
        "  SELECT 1 FROM pmp.export_job WHERE schedule = :name AND state IN ('waiting', 'running'))"
        " FROM (SELECT 1) AS one LEFT JOIN LATERAL ("
        "  SELECT due_at, feed_number, feed_sequence FROM pmp.export_job"
        "  WHERE schedule = :name AND contents = :contents AND state = 'succeeded' ORDER BY due_at DESC LIMIT 1"
        " ) AS s ON true",
        name=name,
        contents=contents,
    )
    if contents == "events" and is_open:
        log("scheduled export waits for an earlier one", schedule=name)
        return
    after = dt.datetime.fromisoformat(last) if last else latest - dt.timedelta(days=1)
    missing = [
        latest - dt.timedelta(days=days) for days in range(MOST_MADE_UP) if latest - dt.timedelta(days=days) > after
    ]
    for due in [latest] * bool(missing) if contents == "events" else reversed(missing):
        at = due.isoformat()
        limits = {} if contents == "events" else {"as_of": at, "known_at": at}
        try:
            made = exports.create(
                connection,
                {"contents": contents, "format": schedule["format"], "partitioned": True, **limits},
                f"schedule:{name}",
                (number or 0, sequence or 0),
                exports.Due(name, at, f"exports/scheduled/{schedule['folder']}/"),
            )
        except DatabaseError as error:
            if error_code(error) != _UNIQUE_VIOLATION:
                raise
            log("scheduled export exists", schedule=name, due=at)
        else:
            log("scheduled export made", schedule=name, due=at, job=made["id"])


def _latest(time_of_day: str, now: dt.datetime) -> dt.datetime:
    """The last instant with this time of day."""
    hour, minute = map(int, time_of_day.split(":"))
    today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today <= now + _EARLY else today - dt.timedelta(days=1)
