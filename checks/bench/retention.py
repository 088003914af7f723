"""What it costs that events leave, and what it leaves behind: ``python -m checks.bench.retention``.

    python -m checks.bench.retention [--events 300000 1500000]

At each size of the record, portions of the housekeeping are measured: blocks, WAL and time of a portion, and for each
event that left. It fails if the blocks of a portion grow faster than the logarithm of the number of events. Then events
come and leave, ten times over, with the vacuum that autovacuum would do: whether the table grows.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass

from checks.bench.growth.record import Record
from checks.stack import Stack, stack
from ops.output import say, step

_PORTIONS = 30
_PORTION = 1000
_ALLOWANCE = 1.25
_ROUNDS = 10
# Each round vacuums by itself, so that no worker disturbs a measurement.
_SERVER = {"shared_buffers": "'1GB'", "max_wal_size": "'8GB'", "autovacuum": "off"}
_POLICY = '{"days": 30, "consents": {}}'
# Until the instant of an event of the record, in whose order they were received.
_LEAVE = (
    "SELECT pmp.remove_expired_events_at('{policy}', '00000000-0000-4000-8000-000000000001', {portion},"
    " timestamptz '2016-01-31T00:00:00Z' + {last} * interval '20 s')"
)


@dataclass(frozen=True)
class Portions:
    """Of some portions together.

    Attributes:
        removed: events that left.
        blocks: of 8 KiB, found in memory or read.
        wal: bytes written ahead.
        milliseconds: of the server.
    """

    removed: int
    blocks: int
    wal: int
    milliseconds: float


def measure(running: Stack, last: int) -> Portions:
    """Measure portions of events up to the one with this number."""
    statement = _LEAVE.format(policy=_POLICY, portion=_PORTION, last=last)
    # In one session, whose plans are kept.
    explained = f"EXPLAIN (ANALYZE, BUFFERS, WAL, FORMAT JSON) {statement};\n" * _PORTIONS
    before = int(running.cluster.psql("SELECT r.removed FROM pmp.retention AS r"))
    output = running.cluster.psql(f"{statement};\n" * 6 + f"SELECT r.removed FROM pmp.retention AS r;\n{explained}")
    warmed = int(next(line for line in output.splitlines() if line.isdigit()))
    decoder, plans, place = json.JSONDecoder(), [], output.index("[\n")
    while (place := output.find("[\n", place)) >= 0:
        (plan,), place = decoder.raw_decode(output, place)
        plans.append(plan)
    removed = int(running.cluster.psql("SELECT r.removed FROM pmp.retention AS r")) - warmed
    if len(plans) != _PORTIONS or warmed < before:
        raise RuntimeError(f"{len(plans)} plans of {_PORTIONS} portions")
    return Portions(
        removed,
        sum(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] for plan in plans),
        sum(plan["Plan"].get("WAL Bytes", 0) for plan in plans),
        sum(plan["Execution Time"] for plan in plans),
    )


def sizes(running: Stack) -> tuple[int, int, int, int]:
    """Events, their bytes with all indexes, ids of events that have left, and their bytes."""
    answer = running.cluster.psql(
        "SELECT (SELECT count(*) FROM pmp.event), pg_total_relation_size('pmp.event'),"
        " (SELECT count(*) FROM pmp.removed_event), pg_total_relation_size('pmp.removed_event')"
    )
    events, size, ids, other = map(int, answer.split("|"))
    return events, size, ids, other


def leave_all(running: Stack, last: int) -> None:
    """Portions until nothing is left to do up to an event."""
    statement = _LEAVE.format(policy=_POLICY, portion=_PORTION, last=last)
    running.cluster.psql(
        f"DO $$ BEGIN WHILE (({statement}) ->> 'more')::boolean LOOP COMMIT; END LOOP; END $$; VACUUM (ANALYZE)"
    )


def steady(running: Stack, record: Record, size: int) -> None:
    """As many events come as are looked at: print the size of the table after each round."""
    leave_all(running, size // 2 + 36_000)
    events, size_now, ids, others = sizes(running)
    say(f"{ids:,} ids of events that have left: {others / ids:.0f} bytes each; events: {size_now / events:.0f} each")
    say("round   events      MB of the table and its indexes   bytes an event")
    for number in range(1, _ROUNDS + 1):
        with step(f"round {number}"):
            for _ in record.fill(size + number * size // 20):
                pass
            leave_all(running, size // 2 + 36_000 + number * size // 20)
        events, size_now, _, _ = sizes(running)
        say(f"{number:>5}   {events:>9,}   {size_now / 1e6:>31.0f}   {size_now / events:>14.0f}")


def main() -> int:
    """Print the tables; 1 if a portion grows with the record."""
    parser = argparse.ArgumentParser(description="Cost of the retention.")
    parser.add_argument("--events", type=int, nargs=2, default=[300_000, 1_500_000], metavar="N")
    small, large = parser.parse_args().events
    found: dict[int, Portions] = {}
    for size in (small, large):
        # A server of its own each, so that users have as many events at both sizes.
        with stack(settings=_SERVER) as running:
            record = Record(running)
            with step(f"{size:,} events"):
                for _ in record.fill(size):
                    pass
            with step("all up to the middle"):
                leave_all(running, size // 2)
            found[size] = measure(running, size)
            if size == large:
                steady(running, record, size)
    say("events      blocks a portion   removed   blocks each   WAL each   ms a portion")
    for size, one in found.items():
        say(
            f"{size:>9,}   {one.blocks / _PORTIONS:>14,.0f}   {one.removed:>7,}   {one.blocks / one.removed:>11.1f}"
            f"   {one.wal / one.removed:>6,.0f} B   {one.milliseconds / _PORTIONS:>12.1f}"
        )
    growth = (found[large].blocks / found[small].blocks) / (math.log(large) / math.log(small))
    say(f"growth of a portion's blocks beside the logarithm: {growth:.2f}")
    if growth > _ALLOWANCE:
        say(f"failed: the blocks of a portion grow {growth:.2f} times as fast as the logarithm")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
