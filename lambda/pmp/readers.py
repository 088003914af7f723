"""Reads that may be some seconds old, from a reader of the database where there is one (docs/adr/0316).

A reader repeats the writer's commits in their order, a moment later. How much later is measured by what it shows, for
Aurora's readers as for PostgreSQL's standbys: the writer leaves a mark with its time, and whoever sees the mark sees
everything committed before it. Whatever is wrong with a reader, the caller gets None and asks the writer.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from pmp import database
from pmp.configuration import configuration
from pmp.database import Connection, DatabaseError
from pmp.logging import log

MOST_SECONDS = 5.0
"""How old an answer from a reader may be."""

_MARK_SECONDS = 1.0
"""How often this instance of the function has the writer leave a mark, at most."""

_REST_SECONDS = 30.0
"""How long a reader that cannot be used is left alone."""

_UNUSABLE = {"40001", "42883", "42P01", "53300", "53400", "55000"}
"""SQLSTATEs of a reader for which the writer may have an answer: a row that was cleaned up meanwhile, too many
connections, a schema that has not arrived yet. Not a statement that takes too long (57014): the writer would, too."""

R = TypeVar("R")

_marked_at = float("-inf")
_rests_until = float("-inf")


def recent(work: Callable[[Connection], R], most_seconds: float) -> tuple[R, float] | None:
    """Read from a reader what is not older than some seconds.

    Args:
        work: reads by statements that may be repeated.
        most_seconds: how old the answer may be; never more than ``MOST_SECONDS``.

    Returns:
        The answer and how old it is at most, in seconds; None: ask the writer.

    Raises:
        Exception: what ``work`` raises, unless the reader is to blame.
    """
    most = min(most_seconds, MOST_SECONDS)
    if most <= 0 or not _is_there():
        return None
    _leave_mark()

    def age(connection: Connection) -> float | None:
        rows = connection.run("SELECT extract(epoch FROM clock_timestamp() - made_at)::float8 FROM pmp.mark")
        # A clock that is ahead makes nothing younger than it is.
        return max(rows[0][0], 0.0) if rows and rows[0][0] <= most else None

    return _attempt(work, age)


def following(work: Callable[[Connection], R], export: str) -> R | None:
    """Read from a reader that has everything that was committed before an export was asked for; None: ask the writer.

    Args:
        work: reads by statements that may be repeated; its answer is not None.
        export: the job's id. Who sees its row sees what was committed before.
    """
    if not _is_there():
        return None

    def sees(connection: Connection) -> float | None:
        return 0.0 if connection.run("SELECT 1 FROM pmp.export_job WHERE id = :id", id=export) else None

    found = _attempt(work, sees)
    return None if found is None else found[0]


def _is_there() -> bool:
    return bool(configuration().database_reader_host) and time.monotonic() >= _rests_until


def _leave_mark() -> None:
    """Have the writer leave a mark, so that readers that keep up are found to."""
    global _marked_at  # noqa: PLW0603 - of this instance, as the connections are
    if time.monotonic() - _marked_at >= _MARK_SECONDS:
        _marked_at = time.monotonic()
        database.with_connection(lambda connection: connection.run("SELECT pmp.leave_mark()"))


def _attempt(work: Callable[[Connection], R], admit: Callable[[Connection], float | None]) -> tuple[R, float] | None:
    """Do the work on a reader that is admitted, in one transaction: a proxy may give each another reader.

    Args:
        work: see ``recent``.
        admit: looks at the reader before; its number is returned, None rejects the reader. At READ COMMITTED the work's
            statements see at least what this one sees.
    """
    is_new = database.has_no_reader_connection()
    try:
        connection = database.connect_reader()
        with connection.transaction(pipelined=True):
            admitted = admit(connection)
            return None if admitted is None else (work(connection), admitted)
    except Exception as error:
        is_lost = database.is_lost(error)
        if not is_lost and not (isinstance(error, DatabaseError) and database.error_code(error) in _UNUSABLE):
            raise
        log("reader unusable", level="warning", error=error)
        if is_lost:
            database.disconnect_reader()
        # A kept connection may have died since the last invocation, which says nothing about the reader.
        if is_new or not is_lost:
            _rest()
        return None


def _rest() -> None:
    global _rests_until  # noqa: PLW0603 - of this instance, as the connections are
    _rests_until = time.monotonic() + _REST_SECONDS


def forget() -> None:
    """Use the readers again at once, as a new instance of the function does."""
    global _marked_at, _rests_until  # noqa: PLW0603 - see above
    _marked_at = _rests_until = float("-inf")
    database.disconnect_reader()
