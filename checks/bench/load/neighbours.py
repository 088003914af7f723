"""What may run beside requests: a hot row, a reader of lists, imports, a migration that waits, a vacuum."""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from checks.bench.beside import file_of_events
from checks.bench.queue.function import Function as Executions
from checks.bench.queue.function import Queue
from checks.load.fleet import Environment
from checks.load.mix import Mix
from checks.load.traffic import Call, Stream
from checks.stack import Stack
from ops.errors import UserError
from ops.lock_waits import lock_waits

HOT_USER = 7
FEW_WRITERS, MANY_WRITERS = 20, 60
"""Fewer and more than the pooler's connections. Writers of one user wait for each other, each with a connection: when
they hold all, everybody else waits for the row as well."""

OBJECTS, LINES, JOBS = 40, 5_000, 2
"""Uploads, lines of each, and jobs that run at once, as in envs/local.tfvars."""


@dataclass
class Work:
    """What goes on beside the requests.

    Attributes:
        is_done: whether it has nothing left to do.
        seconds: CPU seconds so far of processes that nobody else counts.
        told: what it did; known when it has ended.
    """

    is_done: Callable[[], bool] = lambda: False
    seconds: Callable[[], float] = lambda: 0.0
    told: list[str] = field(default_factory=list)


@dataclass
class Neighbour:
    """Something beside the requests.

    Attributes:
        name: in the report.
        processes: that want a processor at the same time, the function's and PostgreSQL's.
        streams: requests of its own.
        work: its work outside of requests, between the beginning and the end of the context.
    """

    name: str
    processes: int
    streams: Callable[[], list[Stream]] = list
    work: Callable[[], AbstractContextManager[Work]] = lambda: nullcontext(Work())


def all_of(running: Stack, environments: Sequence[Environment], mix: Mix, lines: int, folder: Path) -> list[Neighbour]:
    """Return the neighbours.

    Args:
        running: the servers.
        environments: that requests of neighbours may use.
        mix: makes their requests.
        lines: of each import.
        folder: for logs.
    """

    def hot(writers: int) -> Neighbour:
        def streams() -> list[Stream]:
            calls = (mix.event(HOT_USER, "hot") for _ in itertools.count())
            at_once = min(writers, len(environments))
            return [Stream(environments[:at_once], calls, at_once=at_once)]

        return Neighbour(f"one hot row, {writers} writers without a pause", 4, streams=streams)

    def lists() -> list[Stream]:
        return [Stream(environments[:1], _lists(mix), at_once=1)]

    return [
        hot(FEW_WRITERS),
        hot(MANY_WRITERS),
        Neighbour("one reader of the slowest lists without a pause", 2, streams=lists),
        Neighbour(f"{OBJECTS} imports, {JOBS} at once", 2 * JOBS, work=lambda: _imports(running, lines, folder)),
        Neighbour("a migration that waits for a lock", 1, work=lambda: _migration(running)),
        Neighbour("VACUUM FREEZE of every page, again and again", 1, work=lambda: _vacuum(running)),
    ]


def _lists(mix: Mix) -> Iterator[Call]:
    """The lists that cost most: pages of 500, and choices that few or none of a thousand users have."""
    queries = ["limit=500", "limit=500&consent=email_notifications&enabled=true"]
    queries += [f"limit=500&consent={consent}&enabled=true" for consent in ("rare", "expiring")]
    return itertools.cycle([mix.read("list", "/v1/users", query) for query in queries])


@contextmanager
def _imports(running: Stack, lines: int, folder: Path) -> Iterator[Work]:
    """Upload objects at once; jobs take them from the queue, claim them and merge them as deployed ones do."""
    names = [f"load-{time.time_ns()}-{number}" for number in range(OBJECTS)]
    notices = [
        json.dumps(running.store.put(f"imports/{name}.ndjson.gz", file_of_events(name, lines))) for name in names
    ]
    executions = Executions(running.environment, JOBS, folder / "imports.log")
    executions.warm({"Event": "s3:TestEvent"})
    queue = Queue(executions, running.store, JOBS)
    for notice in notices:
        queue.send(notice)
    work = Work(is_done=lambda: not queue.length(), seconds=executions.seconds)
    try:
        yield work
        end = time.monotonic() + 120
        while queue.length() and time.monotonic() < end:
            time.sleep(0.1)
    finally:
        queue.stop()
        executions.stop()
    keys = ", ".join(f"'imports/{name}.ndjson.gz'" for name in names)
    row = running.cluster.psql(
        "SELECT count(*) FILTER (WHERE state = 'succeeded'), coalesce(sum(accepted), 0) FROM pmp.import_job"
        f" WHERE object_key IN ({keys})"
    )
    succeeded, accepted = map(int, row.split("|"))
    if (succeeded, accepted) != (OBJECTS, OBJECTS * lines):
        raise UserError(f"{succeeded} of {OBJECTS} imports succeeded, with {accepted:,} of {OBJECTS * lines:,} lines")
    work.told.append(f"{OBJECTS} of {OBJECTS} imports succeeded, {accepted:,} lines")


@contextmanager
def _migration(running: Stack) -> Iterator[Work]:
    """Somebody's transaction holds the table of events, and a migration wants to add a column to it.

    It waits as ``ops migrate`` does. When the transaction has ended, the migration must get the table.
    """
    cluster, work, over = running.cluster, Work(), threading.Event()
    refused = 0

    def change() -> None:
        nonlocal refused
        over.wait(_HEAD_START_SECONDS)
        for seconds in lock_waits(over.wait):
            try:
                cluster.psql(
                    f"SET lock_timeout = '{seconds:g}s'; ALTER TABLE pmp.event ADD COLUMN load_probe integer",
                    role="pmp_migrator",
                )
            except RuntimeError as error:
                if "lock timeout" not in str(error):
                    raise
                refused += 1
            else:
                return

    with ThreadPoolExecutor(2) as pool:
        holding = pool.submit(_hold, running)
        while cluster.psql(f"SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE {_HELD}") == "0":
            time.sleep(0.05)
        changing = pool.submit(change)
        try:
            yield work
        finally:
            cluster.psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {_HOLDER}")
            over.set()
            holding.result()
        changing.result()
    cluster.psql("ALTER TABLE pmp.event DROP COLUMN load_probe", role="pmp_migrator")
    work.told.append(f"it gave way {_times(refused)}, and succeeded when the other transaction had ended")


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


_HEAD_START_SECONDS = 0.3
"""Of the requests, so that they meet the first wait."""

_HOLDER = "application_name = 'pmp-load-holder'"
_HELD = f"{_HOLDER} AND relation = 'pmp.event'::regclass"


def _hold(running: Stack) -> None:
    """Keep a transaction open that has read events, until it is terminated."""
    with suppress(RuntimeError):
        running.cluster.psql(f"SET {_HOLDER}; BEGIN; SELECT FROM pmp.event LIMIT 1; SELECT pg_sleep(600);")


@contextmanager
def _vacuum(running: Stack) -> Iterator[Work]:
    """Freeze and vacuum the large tables without any delay, as against a wraparound, again and again."""
    over, rounds = threading.Event(), 0

    def vacuum() -> None:
        nonlocal rounds
        while not over.is_set():
            running.cluster.psql(
                "VACUUM (FREEZE, DISABLE_PAGE_SKIPPING, INDEX_CLEANUP ON) pmp.event, pmp.current_choice, pmp.subject"
            )
            rounds += 1

    work = Work()
    with ThreadPoolExecutor(1) as pool:
        vacuuming = pool.submit(vacuum)
        try:
            yield work
        finally:
            over.set()
        vacuuming.result()
    work.told.append(f"{rounds} vacuums of the whole tables")
