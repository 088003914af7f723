"""An index and a backfill of a large table, beside requests: ``make bench-migrations``.

    python -m checks.bench.migrations [--events 15000000] [--rate 40] [--seconds 20]

On a record built by SQL, the usual mix of requests arrives at a fixed rate: alone, while an index of all events is
built beside writes, and while a backfill derives a row from each event. The backfill's session is ended in its
middle, and a second run goes on there. It fails if a request failed, if the 99th percentile exceeds a second or three
times that of the requests alone, or if a row was derived twice or not at all. It writes ``docs/bench/migrations.md``
unless the number of events is another.
"""

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from checks.bench.growth.record import Record
from checks.bench.load import sides
from checks.bench.load.sides import CONNECTIONS, SETTINGS, Result
from checks.load.fleet import Fleet
from checks.load.mix import Mix, user_id
from checks.load.traffic import Stream, run
from checks.stack import Stack, end_in_order, stack
from ops.large_tables import Backfill
from ops.migrate import MOST_ACTIVE, SESSION, backfill_script
from ops.output import say, step
from ops.settings import ROOT

REPORT = ROOT / "docs" / "bench" / "migrations.md"
EVENTS, RATE, SECONDS, ENVIRONMENTS = 15_000_000, 40.0, 20.0, 40
_LONGEST_SECONDS = 3 * 3600
_MOST_P99_MS, _MOST_RATIO = 1000, 3

_INDEX = (
    "".join(f"SET {name} = '{value}';\n" for name, value in SESSION.items())
    + """\
SET statement_timeout = '6h';
SET lock_timeout = '30min';
DROP INDEX CONCURRENTLY IF EXISTS pmp.event_source;
CREATE INDEX CONCURRENTLY event_source ON pmp.event (source_key, received_at);
"""
)
_TABLE = "CREATE TABLE pmp.derived (sequence bigint PRIMARY KEY, day date NOT NULL)"
_BACKFILL = Backfill(
    "create_derived",
    "pmp.event",
    ("transaction_number", "sequence"),
    "INSERT INTO pmp.derived (sequence, day) SELECT e.sequence, e.received_at::date "
    "FROM pmp.event AS e JOIN portion AS p USING (transaction_number, sequence)",
    "0",
)


def measure(running: Stack, record: Record, rate: float, seconds: float) -> tuple[dict[str, Result], list[str]]:
    """Measure the requests of each phase.

    Returns:
        The requests by phase, in order, and what the backfill did, one sentence each.
    """
    found, told = dict[str, Result](), list[str]()
    mix = Mix(record.users, 0, places=sides.places(running, record))
    cluster = running.cluster
    with Fleet(running.environment, ENVIRONMENTS) as fleet:
        fleet.warm(mix.read("", f"/v1/users/{user_id(2)}").event)

        def beside(name: str, work: Callable[[], None] | None) -> None:
            """Let requests arrive until the work is done, or for some seconds."""
            stream = Stream(fleet.environments, iter(mix), rate=rate)
            begun = time.monotonic()
            with ThreadPoolExecutor(1) as pool:
                future = pool.submit(work) if work else None
                until = future.done if future else (lambda: False)
                run([stream], _LONGEST_SECONDS if work else seconds, until=until)
                if future:
                    future.result()
            found[name] = Result.of(stream.outcome)
            say(f"  {name}, {time.monotonic() - begun:,.0f} s: {found[name].summary()}")

        def state() -> list[int]:
            return [int(word) for word in cluster.psql("SELECT seen, changed FROM pmp.backfill").split("|")]

        def backfill() -> None:
            cluster.psql(backfill_script(_BACKFILL, _LONGEST_SECONDS, MOST_ACTIVE), role="pmp_migrator")

        def backfill_until_killed() -> None:
            killer = threading.Thread(target=_kill_in_the_middle, args=[running, record.events])
            killer.start()
            # The session is terminated.
            with suppress(RuntimeError):
                backfill()
            killer.join()

        beside("alone", None)
        beside("an index of all events", lambda: _say_nothing(cluster.psql(_INDEX, role="pmp_migrator")))
        cluster.psql("DROP INDEX pmp.event_source")
        cluster.psql(_TABLE, role="pmp_migrator")
        beside("a backfill, until it is killed", backfill_until_killed)
        before = state()
        kept = int(cluster.psql("SELECT count(*) FROM pmp.derived"))
        told.append(f"When it was killed, it had seen {before[0]:,} events and derived {kept:,} rows.")
        beside("the backfill, from there to its end", backfill)
        seen, changed = state()
        rows = int(cluster.psql("SELECT count(*) FROM pmp.derived"))
        told.append(f"At its end it had seen {seen:,} events and derived {rows:,} rows, none twice.")
        if not 0 < before[0] < seen or kept != before[1] or seen != changed or changed != rows:
            raise RuntimeError(f"the backfill lost count: {before}, {kept}, {seen}, {changed}, {rows}")
    return found, told


def _say_nothing(_: str) -> None:
    return None


def _kill_in_the_middle(running: Stack, events: int) -> None:
    """End the backfill's session when it has seen a third of the events."""
    while running.cluster.psql(f"SELECT count(*) FROM pmp.backfill WHERE seen > {events // 3}") == "0":
        time.sleep(0.2)
    running.cluster.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE query LIKE 'CALL pmp.run_backfill%' AND pid <> pg_backend_pid()"
    )


def table(found: dict[str, Result]) -> Iterator[str]:
    """Yield the lines of the report's table."""
    yield "| beside | requests | p50 ms | p99 ms | longest ms | errors |"
    yield "|---|--:|--:|--:|--:|--:|"
    for name, one in found.items():
        yield (
            f"| {name} | {one.answered:,} | {one.p50:.1f} | {one.p99:.0f} | {one.longest:.0f} | {one.errors.total()} |"
        )


def missed(found: dict[str, Result]) -> list[str]:
    """Return the goals that were missed, one sentence each."""
    alone = found["alone"].p99
    bad = [f"{one.errors.total()} requests failed beside {name}" for name, one in found.items() if one.errors]
    return bad + [
        f"p99 is {one.p99:.0f} ms beside {name}, {alone:.0f} ms alone"
        for name, one in found.items()
        if one.p99 > min(_MOST_P99_MS, max(_MOST_RATIO * alone, 50))
    ]


def main() -> int:
    """Measure, print and write the report; the exit status is 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m checks.bench.migrations", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rate", type=float, default=RATE, help="requests per second")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the requests alone")
    options = parser.parse_args()
    end_in_order()
    with stack(pool_size=CONNECTIONS, settings=SETTINGS) as running:
        record = sides.built(running, options.events)
        with step(f"{options.rate:g} requests a second"):
            found, told = measure(running, record, options.rate, options.seconds)
        server = running.cluster.psql("SHOW server_version").split()[0]
    lines = [*table(found), "", *told]
    print("\n".join(lines))
    if options.events == EVENTS:
        how = (
            f"`make bench-migrations` on {os.cpu_count()} cores, which the requests share, PostgreSQL {server}, "
            f"{options.events:,} events, {options.rate:g} requests a second of the usual mix through PgBouncer. "
            "The backfill derives a row from each event, works half of the time, and waits while more than "
            f"{MOST_ACTIVE} sessions of others are active."
        )
        REPORT.write_text("\n".join(["# Migrations of large tables beside requests", "", how, "", *lines, ""]))
    for sentence in missed(found):
        print(f"error: {sentence}")
    return 1 if missed(found) else 0


if __name__ == "__main__":
    sys.exit(main())
