"""What an event costs on disk: bytes, write-ahead log, and whether vacuum will have to write its page again."""

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from checks.bench.growth.record import Record
from checks.stack import Stack

_TABLES = ("event", "event_context", "current_choice")
_SETTLED = ("event", "current_choice", "subject")
_QUIET_SECONDS = 600
_IDLE_LOOKS = 4
"""Looks, a second apart, at which no worker is there: the launcher starts one each second if there is work."""


@dataclass(frozen=True)
class Storage:
    """Of one size of the record.

    Attributes:
        bytes_per_event: of the tables of events and choices with their indexes, divided by the number of events.
        wal_ordered: bytes of write-ahead log of an event with two choices of a random user, right after a checkpoint,
            with an id of the server.
        wal_random: the same with an id of a client.
        wal_later: the same once the pages that it touches were written since the checkpoint.
        frozen: share of the pages of events, choices and users that no vacuum has to write again, 0 to 1.
    """

    bytes_per_event: float
    wal_ordered: float
    wal_random: float
    wal_later: float
    frozen: float


def measure_storage(stack: Stack, record: Record, calls: int = 300) -> Storage:
    """Measure storage on the record as it is; this adds ``4 * calls`` events.

    Args:
        stack: its server has ``full_page_writes`` on.
        record: the data.
        calls: events of each measurement, each of another user.
    """
    from pmp import identifiers

    settle(stack)
    size = int(stack.cluster.psql(f"SELECT sum(pg_total_relation_size('pmp.' || name)) FROM {_names(_TABLES)}"))
    frozen = frozen_share(stack)
    users = [values["user"] for values in record.parameters(2 * calls)]
    choices = record.parameters(1)[0]["choices"]

    def written(new_id: Callable[[], object], people: list[str]) -> float:
        output = stack.cluster.psql(
            "SELECT pg_current_wal_insert_lsn();\n"
            + "".join(
                f"SELECT pmp.create_event('{new_id()}', '{user}', '{choices}', NULL, 'a') ->> 'outcome';\n"
                for user in people
            )
            + "SELECT pg_current_wal_insert_lsn();\n"
        ).splitlines()
        if set(output[1:-1]) != {"created"}:
            raise RuntimeError(f"events were not created: {set(output[1:-1])}")
        return float(stack.cluster.psql(f"SELECT pg_wal_lsn_diff('{output[-1]}', '{output[0]}')")) / len(people)

    stack.cluster.psql("CHECKPOINT")
    ordered = written(identifiers.new, users[::2])
    later = written(identifiers.new, users[::2])
    stack.cluster.psql("CHECKPOINT")
    return Storage(size / record.events, ordered, written(uuid.uuid4, users[1::2]), later, frozen)


def settle(stack: Stack) -> None:
    """Let autovacuum work until it has nothing to do, and stop it again.

    Raises:
        TimeoutError: it is still at work after ten minutes.
    """
    stack.cluster.psql("ALTER SYSTEM SET autovacuum = on; SELECT pg_reload_conf()")
    ends_at = time.monotonic() + _QUIET_SECONDS
    idle = 0
    while idle < _IDLE_LOOKS:
        if time.monotonic() > ends_at:
            raise TimeoutError(f"autovacuum is still at work after {_QUIET_SECONDS} s")
        time.sleep(1)
        working = stack.cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'")
        idle = idle + 1 if working == "0" else 0
    stack.cluster.psql("ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf()")


def frozen_share(stack: Stack) -> float:
    """Share of the pages of events, choices and users that are frozen, 0 to 1."""
    output = stack.cluster.psql(
        "SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS pg_visibility; "
        "SELECT sum(s.all_frozen), sum(pg_relation_size('pmp.' || name) / 8192) "
        f"FROM {_names(_SETTLED)} CROSS JOIN LATERAL pg_visibility_map_summary(('pmp.' || name)::regclass) AS s"
    )
    frozen, pages = map(int, output.split("|"))
    return frozen / max(pages, 1)


def _names(tables: tuple[str, ...]) -> str:
    return f"unnest('{{{','.join(tables)}}}'::text[]) AS name"
