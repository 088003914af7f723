"""What leaves the record by its age: events that no later state needs, and records of work that has ended (ADR 0229).

PostgreSQL decides what may leave, and removes it by a role of its own; this module brings the environment's policy.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pmp.database import Connection

PORTION_EVENTS = 1000
"""Events that a portion looks at. While it removes some of them, requests that write for the same users wait for it."""

PORTION_RECORDS = 1000

_KINDS = ("imports", "exports", "notices", "deliveries")


@dataclass(frozen=True, slots=True)
class Policy:
    """How many days what is kept; None: without end.

    Attributes:
        event_days: events, after they were received.
        consent_days: the same by consent, instead of ``event_days``.
        record_days: ended imports and exports, notices and the ledger of deliveries.
    """

    event_days: int | None
    consent_days: dict[str, int | None]
    record_days: int | None

    @classmethod
    def read(cls, text: str) -> "Policy":
        """Read ``{"event_days"?, "consents"?: {id: days or null}, "record_days"?}``; nothing leaves by an empty text.

        Raises:
            ValueError: it is not JSON.
        """
        found = json.loads(text or "{}")
        return cls(found.get("event_days"), found.get("consents") or {}, found.get("record_days"))


def portions(connection: Connection, policy: Policy, run: str) -> dict[str, Callable[[Any], Any]]:
    """The kinds of clean-up that a policy asks for, each as a function that does a portion (see ``pmp.housekeeping``).

    Args:
        connection: to the database.
        policy: of the environment.
        run: UUID under which the database records what this invocation has removed.
    """
    kinds: dict[str, Callable[[Any], Any]] = {}
    if policy.event_days is not None or any(days is not None for days in policy.consent_days.values()):
        kinds["events"] = lambda _: _remove_events(connection, policy, run)
    if policy.record_days is not None:
        for kind in _KINDS:
            kinds[f"old {kind}"] = partial(_remove_records, connection, kind, policy.record_days, run)
    return kinds


def _remove_events(connection: Connection, policy: Policy, run: str) -> bool | None:
    ((done,),) = connection.run(
        "SELECT pmp.remove_expired_events(:policy, :run, :most)",
        policy=json.dumps({"days": policy.event_days, "consents": policy.consent_days}),
        run=run,
        most=PORTION_EVENTS,
    )
    return True if done["more"] else None


def _remove_records(connection: Connection, kind: str, days: int, run: str, _: Any) -> int | None:
    ((removed,),) = connection.run(
        "SELECT pmp.remove_expired_records(:kind, :days, :run, :most)",
        kind=kind,
        days=days,
        run=run,
        most=PORTION_RECORDS,
    )
    return removed if removed == PORTION_RECORDS else None
