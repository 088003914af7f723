"""Reads that may be some seconds old, from a reader of the database where there is one (docs/adr/0316, 0319).

A reader repeats the writer's commits in their order, a moment later. How much later is measured by what it shows, for
Aurora's readers as for PostgreSQL's standbys: the writer leaves a mark with its time, and whoever sees the mark sees
everything committed before it. Both times, the mark's and now, are of the writer's clock. Whatever is wrong with a
reader, the caller gets None and asks the writer.

All clocks here are the wall's: others may stop while Lambda freezes the instance.
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

_TOO_SLOW = "57014"
"""SQLSTATE of a statement that took too long: it would on the writer, too."""

_UNUSABLE = ("42", "53", "55", "57", "58", "XX")
"""Classes of SQLSTATEs that the next statement would meet again: a schema that has not arrived yet, a server that is
full, not ready, or damaged. Not a row that was cleaned up meanwhile (40001), nor what the request asks for (22)."""

_MARK = "SELECT extract(epoch FROM made_at)::float8 FROM pmp.mark"
_MARK_AND_EXPORT = (
    "SELECT extract(epoch FROM made_at)::float8 FROM pmp.mark"
    " WHERE EXISTS (SELECT 1 FROM pmp.export_job WHERE id = :export)"
)

R = TypeVar("R")

_marked_at = float("-inf")
"""When the last mark was asked for, by this instance's clock, in seconds since the epoch."""
_writers_lead = 0.0
"""How far the writer's clock was ahead of this instance's then, at least, in seconds."""
_rests_until = float("-inf")


def recent(work: Callable[[Connection], R], most_seconds: float) -> tuple[R, float] | None:
    """Read from a reader what is not older than some seconds.

    Args:
        work: reads by statements that may be repeated.
        most_seconds: how old the answer may be; never more than ``MOST_SECONDS``.

    Returns:
        The answer and how old it is at most, in seconds; None: ask the writer.

    Raises:
        Exception: what ``work`` raises, unless it is PostgreSQL's and not that a statement was too slow.
    """
    most = min(most_seconds, MOST_SECONDS)
    if most <= 0 or not _is_there() or not _is_marked():
        return None
    return _attempt(work, most, _MARK)


def following(work: Callable[[Connection], R], export: str) -> R | None:
    """Read from a reader that has everything that was committed before an export was asked for; None: ask the writer.

    It may be as old as for ``recent``: what was erased since must not be exported for long.

    Args:
        work: reads by statements that may be repeated; its answer is not None.
        export: the job's id. Who sees its row sees what was committed before.
    """
    if not _is_there() or not _is_marked():
        return None
    found = _attempt(work, MOST_SECONDS, _MARK_AND_EXPORT, export=export)
    return None if found is None else found[0]


def _is_there() -> bool:
    return bool(configuration().database_reader_host) and time.time() >= _rests_until


def _is_marked() -> bool:
    """Whether the writer left a mark not long ago, by which readers that keep up are found to; else have it leave one.

    False: it cannot, such as one that is being replaced and read-only for a while.
    """
    global _marked_at, _writers_lead
    asked_at = time.time()
    # A clock that was set back would make a reader look younger than it is.
    if 0 <= asked_at - _marked_at < _MARK_SECONDS:
        return True
    statement = "SELECT pmp.leave_mark(), extract(epoch FROM clock_timestamp())::float8"
    try:
        ((_, now),) = database.with_connection(lambda connection: connection.run(statement))
    except DatabaseError as error:
        log("no mark for readers", level="warning", error=error)
        return False
    # The writer looked at its clock after we looked at ours: the lead is not less than the true one.
    _marked_at, _writers_lead = asked_at, now - asked_at
    return True


def _attempt(work: Callable[[Connection], R], most: float, mark: str, **parameters: str) -> tuple[R, float] | None:
    """Do the work on a reader that is admitted, in one transaction: a proxy may give each another reader.

    Args:
        work: see ``recent``.
        most: how old what the reader shows may be, in seconds.
        mark: a query for when the shown mark was left, in seconds since the epoch; no row rejects the reader. At READ
            COMMITTED the work's statements see at least what this one sees.
        **parameters: of the query.
    """
    is_new = database.has_no_reader_connection()
    try:
        connection = database.connect_reader()
        with connection.transaction(pipelined=True):
            shown = connection.run(mark, **parameters)
            # A mark of another instance may be younger than our idea of now.
            age = max(time.time() + _writers_lead - shown[0][0], 0.0) if shown else most + 1
            if age > most:
                return None
            connection.set_timeout(database.SOCKET_TIMEOUT_SECONDS)
            return work(connection), age
    except Exception as error:
        code = database.error_code(error) if isinstance(error, DatabaseError) else ""
        is_lost = database.is_lost(error)
        if not is_lost and code in {"", _TOO_SLOW}:
            raise
        log("reader unusable", level="warning", error=error)
        if is_lost:
            database.disconnect_reader()
            # A kept connection may have died since the last invocation, which says nothing about the reader.
            is_to_rest = is_new or database.is_timeout(error)
        else:
            is_to_rest = code.startswith(_UNUSABLE)
        if is_to_rest:
            _rest()
        return None


def _rest() -> None:
    global _rests_until  # noqa: PLW0603 - of this instance, as the connections are
    _rests_until = time.time() + _REST_SECONDS


def forget() -> None:
    """Use the readers again at once, as a new instance of the function does."""
    global _marked_at, _rests_until  # noqa: PLW0603 - see above
    _marked_at = _rests_until = float("-inf")
    database.disconnect_reader()
