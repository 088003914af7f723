"""Measure each read and write at two sizes of the record: ``make bench-growth``.

    python -m checks.bench.growth [--events 1500000 15000000] [--repeats 40]

One run fills a throwaway PostgreSQL with events by SQL, measures, fills it up to the next size and measures again. It
prints each operation's median time and the blocks of one call, and what an event costs on disk. It fails if the blocks
of an operation grow faster than the logarithm of the number of events, if an event writes too much, or if vacuum leaves
too much to freeze. It writes ``docs/bench/growth.md`` unless the sizes are others.
"""

import argparse
import math
import os
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from checks.bench.growth.operations import OPERATIONS
from checks.bench.growth.record import Record
from checks.bench.growth.storage import Storage, measure_storage, settle
from checks.stack import Stack, end_in_order, stack
from ops.output import say, step
from ops.settings import ROOT

REPORT = ROOT / "docs" / "bench" / "growth.md"
SIZES = [1_500_000, 15_000_000]
_SAMPLE = 10
"""Users over which the blocks of a call are averaged."""

_ALLOWANCE = 1.25
"""Blocks may exceed logarithmic growth by this factor: the sampled users differ in their number of events."""

_SERVER = {
    "shared_buffers": "'4GB'",
    "work_mem": "'256MB'",
    "maintenance_work_mem": "'1GB'",
    "max_wal_size": "'16GB'",
    "checkpoint_timeout": "'1h'",
    "autovacuum": "off",  # It works after each fill, so that it disturbs no measurement.
    "autovacuum_naptime": "'1s'",
    "autovacuum_vacuum_cost_delay": "0",
    "full_page_writes": "on",
}

# Half of what the first version wrote (27 and 54 kB), and what the freeze settings promise (docs/adr/0231 and 0232).
_MOST_WAL_ORDERED = 13_500
_MOST_WAL_RANDOM = 27_000
_LEAST_FROZEN = 0.95


@dataclass(frozen=True)
class Measurement:
    """Of one operation at one size.

    Attributes:
        p50: median of a call from the client's side, through the pooler, in ms.
        processor: mean processor time of the server for a call, in ms; other work on the machine hardly changes it.
        blocks: of 8 KiB, found in memory or read, of one call.
    """

    p50: float
    processor: float
    blocks: float


def measure(stack: Stack, record: Record, repeats: int) -> dict[str, Measurement]:
    """Measure each operation on the record as it is.

    Args:
        stack: the servers; the function's environment variables are set.
        record: the data.
        repeats: calls of each operation, each with another user.
    """
    from pmp import database

    connection = database.connect()
    parameters = record.parameters(repeats)
    found = {}
    for operation in OPERATIONS:
        calls = [operation.statement.format(**values) for values in parameters]
        # Enough for the plans of the pooled session to be those that it keeps.
        for call in calls[:10]:
            connection.run(call)
        ((backend,),) = connection.run("SELECT pg_backend_pid()")
        times, before = [], _processor_ms(backend)
        for call in calls:
            started = time.perf_counter()
            connection.run(call)
            times.append((time.perf_counter() - started) * 1000)
        processor = (_processor_ms(backend) - before) / len(calls)
        varied = calls[:: max(len(calls) // _SAMPLE, 1)] if calls[0] != calls[1] else calls[:1]
        blocks = [stack.blocks(call) for call in varied]
        found[operation.name] = Measurement(statistics.median(times), processor, statistics.mean(blocks))
    return found


def _processor_ms(process: int) -> float:
    """Processor time that a process has used, in ms (proc(5): schedstat counts ns)."""
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e6


def law(small: int, large: int, before: float, after: float) -> str:
    """Name the growth of the blocks from ``small`` to ``large`` events: constant, log n, or the exponent of n."""
    growth = after / max(before, 1)
    if growth <= 1.05:
        return "constant"
    if growth <= _ALLOWANCE * math.log(large) / math.log(small):
        return "log n"
    return f"n^{math.log(growth) / math.log(large / small):.2f}"


def _report(sizes: list[int], found: list[dict[str, Measurement]]) -> tuple[list[str], list[str]]:
    """Return the report's lines, and the names of the operations that grow too fast."""
    small, large = sizes
    head = " | ".join(f"{what} at {size:,}" for what in ("p50 ms", "CPU ms", "blocks") for size in sizes)
    lines = [f"| operation | {head} | growth of the blocks |", "|---|--:|--:|--:|--:|--:|--:|---|"]
    bad = list[str]()
    for operation in OPERATIONS:
        before, after = (measured[operation.name] for measured in found)
        growth = law(small, large, before.blocks, after.blocks)
        if growth.startswith("n"):
            bad.append(operation.name)
        lines.append(
            f"| {operation.name} | {before.p50:.2f} | {after.p50:.2f} | {before.processor:.2f} | {after.processor:.2f}"
            f" | {before.blocks:,.0f} | {after.blocks:,.0f} | {growth} |"
        )
    return lines, bad


def storage_report(sizes: list[int], found: list[Storage]) -> tuple[list[str], list[str]]:
    """Return the lines of the report about storage, and one sentence for each limit that is exceeded."""
    rows = {
        "bytes of tables and indexes": [f"{one.bytes_per_event:,.0f}" for one in found],
        "WAL right after a checkpoint, id of the server": [f"{one.wal_ordered:,.0f}" for one in found],
        "WAL right after a checkpoint, id of a client": [f"{one.wal_random:,.0f}" for one in found],
        "WAL later": [f"{one.wal_later:,.0f}" for one in found],
        "pages that are frozen": [f"{one.frozen:.1%}" for one in found],
    }
    lines = [
        "| of an event with two choices, in bytes | " + " | ".join(f"at {size:,}" for size in sizes) + " |",
        "|---|--:|--:|",
        *(f"| {name} | {' | '.join(values)} |" for name, values in rows.items()),
    ]
    bad = []
    for size, one in zip(sizes, found, strict=True):
        if one.wal_ordered > _MOST_WAL_ORDERED or one.wal_random > _MOST_WAL_RANDOM:
            bad.append(f"an event writes {max(one.wal_ordered, one.wal_random):,.0f} bytes of WAL at {size:,} events")
        if one.frozen < _LEAST_FROZEN:
            bad.append(
                f"only {one.frozen:.1%} of the pages are frozen at {size:,} events: vacuum will write the rest again"
            )
    return lines, bad


def main() -> int:
    """Measure both sizes and write the report; the exit status is 1 if an operation grows too fast."""
    parser = argparse.ArgumentParser(prog="python -m checks.bench.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, nargs=2, default=SIZES, metavar=("SMALL", "LARGE"))
    parser.add_argument("--repeats", type=int, default=40)
    options = parser.parse_args()
    end_in_order()
    found = list[dict[str, Measurement]]()
    kept = list[Storage]()
    with stack(settings=_SERVER) as running:
        os.environ.update(running.environment)
        sys.path.insert(0, str(ROOT / "lambda"))
        record = Record(running)
        for size in options.events:
            with step(f"fill up to {size:,} events"):
                for events in record.fill(size, vacuum=False):
                    say(f"  {events:,} events", "dim")
            with step("vacuum"):
                settle(running)
            with step("measure"):
                found.append(measure(running, record, options.repeats))
                kept.append(measure_storage(running, record))
        server = running.cluster.psql("SHOW server_version").split()[0]
    lines, bad = _report(options.events, found)
    stored, excess = storage_report(options.events, kept)
    lines += ["", *stored]
    print("\n".join(lines))
    if options.events == SIZES:
        how = (
            f"`make bench-growth` on {os.cpu_count()} cores, PostgreSQL {server}, one client through PgBouncer, "
            "everything in memory. There are five events per user, by a power law, 13 consents, and two to four "
            f"choices per event. p50 is the median of {options.repeats} calls as the client sees them; CPU is the "
            "server's processor time for a call; blocks are the 8 KiB blocks that one call touches. "
            "A call that touches a fixed number of rows grows with the depth of its indexes: log n. WAL is the mean of "
            "300 events of different users; right after a checkpoint, the first write of each page writes all of it."
        )
        REPORT.write_text("\n".join(["# Growth with the record", "", how, "", *lines, ""]))
    for name in bad:
        print(f"error: {name} touches more blocks as the record grows: its statement must not scan")
    for sentence in excess:
        print(f"error: {sentence}")
    return 1 if bad or excess else 0


if __name__ == "__main__":
    sys.exit(main())
