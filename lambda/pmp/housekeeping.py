"""Scheduled clean-up, in portions that each take a second or so."""

from collections.abc import Callable
from typing import Any

from pmp import exports, identifiers, imports, retention, tasks
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.logging import log

PORTION_KEYS = 5000

Portion = Callable[[Any], Any]
"""Does a portion of one kind of work, given its previous result (None at first); returns None when nothing is left."""


def run(connection: Connection, context: Any) -> None:
    """Delete what has expired or is past its retention, and look after jobs, until nothing is left or time is short.

    The kinds take turns, so that one with much to do, or one that fails, does not keep the others waiting. What is left
    is done an hour later.

    Args:
        connection: to the database.
        context: Lambda's context object.

    Raises:
        Exception: the first error, after all other kinds have had their turns.
    """
    kinds: dict[str, Portion] = {
        "imports": lambda _: imports.restart(connection),
        "exports": lambda _: exports.restart(connection),
        "keys": lambda _: _delete_keys(connection),
        "confirmations": lambda _: _delete_confirmations(connection),
        "uploads": lambda after: imports.remove_uploads(connection, after),
        "rejects": lambda after: imports.remove_rejects(connection, after),
        "trials": lambda after: imports.remove_trials(connection, after),
        "previews": lambda _: imports.remove_previews(connection),
        "files": lambda after: exports.remove_files(connection, after),
        **retention.portions(connection, retention.Policy.read(configuration().retention), identifiers.new()),
    }
    results: dict[str, Any] = dict.fromkeys(kinds)
    portions = dict.fromkeys(kinds, 0)
    first_error: Exception | None = None
    waiting = list(kinds)
    while waiting:
        for kind in list(waiting):
            if portions[kind] and tasks.is_late(context):
                log("housekeeping is not finished", level="warning", left=waiting, portions=portions)
                waiting.clear()
                break
            portions[kind] += 1
            try:
                results[kind] = kinds[kind](results[kind])
            except Exception as error:  # noqa: BLE001 - raised below
                log("housekeeping failed", level="warning", kind=kind, error=error)
                first_error, results[kind] = first_error or error, None
            if results[kind] is None:
                waiting.remove(kind)
    log("housekeeping", portions=portions)
    if first_error is not None:
        raise first_error


def _delete_confirmations(connection: Connection) -> int | None:
    ((deleted,),) = connection.run("SELECT pmp.delete_expired_confirmations(:most)", most=PORTION_KEYS)
    return deleted if deleted == PORTION_KEYS else None


def _delete_keys(connection: Connection) -> int | None:
    ((deleted,),) = connection.run("SELECT pmp.delete_expired_keys(:most)", most=PORTION_KEYS)
    return deleted if deleted == PORTION_KEYS else None
