r"""Read the API beside many imports, and import one file through the whole platform: ``make bench-queue``.

With ``ARGS="--objects 10 --lines 20000"`` it is shorter; ``--without-platform`` needs no running platform.

Reads arrive at a fixed rate, whether or not the earlier ones have been answered, in three spans: alone; beside the
imports of objects that were all uploaded at once; and beside processes that burn as much processor time as the imports
took, without the database. It is done twice: with the function's code in processes of its own, which is what the
promise is about, and with a running platform, whose emulator is one Python process. The program fails if, without the
emulator, a read beside the imports was refused, if their 99th percentile is above three times the control's or a
second, or if an object was not imported. It writes docs/bench/queue.md.

Then it copies one file of events into a table of the platform's server (``psql \copy``), and imports the same events
through the platform: the end-to-end figure.
"""

import argparse
import gzip
import json
import os
import platform
import random
import sys
import textwrap
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from checks.bench.beside import burning, file_of_events
from checks.bench.queue import targets
from checks.bench.queue.reads import PER_SECOND, Reads, read_until
from ops.errors import UserError
from ops.output import say, step

ROOT = Path(__file__).parents[3]
REPORT = ROOT / "docs" / "bench" / "queue.md"
SPAN_SECONDS = 15
MOST_TIMES_SLOWER = 3
LONGEST_SECONDS = 1.0
FLOOR_LINES = 300_000


def control(target: targets.Target, busy: float) -> Reads:
    """Read beside as many processes as jobs have, the function's and PostgreSQL's, that together use as much time.

    Args:
        target: whose API is read.
        busy: processors that the jobs kept busy.
    """
    with burning(busy, 2 * targets.AT_ONCE):
        ends = time.monotonic() + SPAN_SECONDS
        return read_until(target.read, lambda: time.monotonic() > ends)


@dataclass
class Spans:
    """The reads of the three spans, what was imported in the second one, and the CPU seconds in it by part.

    Attributes:
        past: reads past the emulator in the second span.
    """

    alone: Reads
    beside: Reads
    past: Reads | None
    control: Reads
    objects: int
    succeeded: int
    accepted: int
    seconds: float
    cpu: dict[str, float]

    def failures(self) -> list[str]:
        """Return what was not met."""
        limit = min(LONGEST_SECONDS, MOST_TIMES_SLOWER * self.control.percentile(0.99))
        failures = []
        if self.beside.refused:
            failures.append(f"{self.beside.refused.total()} reads were refused: {dict(self.beside.refused)}")
        if self.beside.percentile(0.99) > limit:
            failures.append(f"99th percentile {self.beside.percentile(0.99):.3f} s is above {limit:.3f} s")
        if self.succeeded != self.objects:
            failures.append(f"{self.objects - self.succeeded} objects were not imported")
        return failures


def wait_for(target: targets.Target, done: threading.Event) -> None:
    """Set an event when all imports have ended."""
    while not target.is_done():
        time.sleep(0.5)
    done.set()


def measure(target: targets.Target, bodies: list[bytes]) -> Spans:
    """Measure the three spans, and print them."""
    ends = time.monotonic() + SPAN_SECONDS
    alone = read_until(target.read, lambda: time.monotonic() > ends)
    say(f"alone: {alone.summary()}")

    before, began = target.seconds(), time.monotonic()
    target.begin(bodies)
    # To ask whether all is done takes longer than the pause between two reads.
    done = threading.Event()
    watcher = threading.Thread(target=wait_for, args=(target, done), daemon=True)
    watcher.start()
    with ThreadPoolExecutor(1) as second:
        reading = second.submit(read_until, target.past, done.is_set) if target.past else None
        beside = read_until(target.read, done.is_set)
    past = reading.result() if reading else None
    seconds = time.monotonic() - began
    taken = {part: now - before[part] for part, now in target.seconds().items()}
    succeeded, accepted = target.counts()
    say(f"beside imports: {beside.summary()}")
    if past:
        say(f"… past the emulator: {past.summary()}")
    parts = ", ".join(f"{part} {used:.0f} s" for part, used in taken.items())
    say(
        f"imports: {succeeded} of {len(bodies)} succeeded, {accepted:,} lines accepted in {seconds:.0f} s; CPU: {parts}"
    )

    rest = control(target, sum(used for part, used in taken.items() if part != "emulator") / seconds)
    say(f"control: {rest.summary()}")
    return Spans(alone, beside, past, rest, len(bodies), succeeded, accepted, seconds, taken)


@dataclass
class Whole:
    r"""One file through the platform, beside ``\copy`` of the same events into the same server."""

    lines: int
    floor_seconds: float
    floor_cpu: float
    waiting_seconds: float
    working_seconds: float
    cpu: dict[str, float]

    @property
    def ratio(self) -> float:
        """Lines per second, as a fraction of the floor's."""
        return self.floor_seconds / (self.waiting_seconds + self.working_seconds)


_FLOOR_COLUMNS = "id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, versions, enabled"


def whole(target: targets.Platform, lines: int) -> Whole:
    """Measure the floor and one import of the same events of known users through the platform."""
    cluster, run_id = target.servers.cluster, uuid.uuid4().hex[:8]
    users, known = lines * 3 // 10, cluster.psql("SELECT min(source_key) FROM pmp.source")
    rows = cluster.psql(
        "WITH made AS (INSERT INTO pmp.subject (id, email, created_by)"
        f" SELECT gen_random_uuid(), 'floor-{run_id}-' || g || '@example.com', {known}"
        f" FROM generate_series(1, {users}) AS g"
        " RETURNING id, subject_key) SELECT id, subject_key FROM made"
    )
    people = [row.split("|") for row in rows.splitlines()]
    source, text, table = random.Random(run_id), list[str](), list[str]()
    for _ in range(lines):
        user, key = source.choice(people)
        event, at = str(uuid.UUID(int=source.getrandbits(128), version=4)), f"2025-03-1{source.randrange(10)}T10:00:00Z"
        yes = source.random() < 0.6
        consents = [{"id": "email_notifications", "enabled": yes}]
        text.append(json.dumps({"id": event, "user": {"id": user}, "consents": consents, "occurred_at": at}))
        table.append(f"{event}\t{key}\t{at}\t{at}\t{known}\tt\tf\t{{1}}\t{{{'t' if yes else 'f'}}}")
    cluster.psql(
        "DROP TABLE IF EXISTS public.pmp_floor; CREATE TABLE public.pmp_floor (LIKE pmp.event INCLUDING ALL);"
        "ALTER TABLE public.pmp_floor ADD FOREIGN KEY (subject_key) REFERENCES pmp.subject,"
        " ADD FOREIGN KEY (source_key) REFERENCES pmp.source; VACUUM ANALYZE pmp.subject; CHECKPOINT"
    )
    file = cluster.home.write("floor.tsv", "\n".join(table) + "\n")
    before, began = target.seconds(), time.monotonic()
    cluster.psql(f"\\copy public.pmp_floor ({_FLOOR_COLUMNS}) FROM '{file}'")
    floor_seconds = time.monotonic() - began
    floor_cpu = target.seconds()["PostgreSQL"] - before["PostgreSQL"]
    file.unlink()
    cluster.psql("DROP TABLE public.pmp_floor; CHECKPOINT")

    packed = gzip.compress("\n".join(text).encode() + b"\n", 1)
    before, uploaded = target.seconds(), time.time()
    target.begin([packed])
    while not target.is_done():
        time.sleep(0.05)
    started, ended = target.times()
    after = target.seconds()
    if target.counts() != (1, lines):
        raise UserError(f"the import of {lines:,} lines ended with {target.counts()[1]:,} accepted")
    found = Whole(
        lines,
        floor_seconds,
        floor_cpu,
        started - uploaded,
        ended - started,
        {part: after[part] - before[part] for part in after},
    )
    say(
        f"end to end: {lines / (found.waiting_seconds + found.working_seconds):,.0f} lines/s,"
        f" \\copy {lines / floor_seconds:,.0f} lines/s, ratio {found.ratio:.2f}"
    )
    return found


def table_of(spans: Spans) -> str:
    """Return a Markdown table of the reads."""
    past = [("beside them, past the emulator", spans.past)] if spans.past else []
    rows = [("alone", spans.alone), ("beside the imports", spans.beside), *past, ("control", spans.control)]
    return "\n".join(
        [
            "| reads | number | refused | p50 ms | p99 ms | longest ms |",
            "|---|--:|--:|--:|--:|--:|",
            *(f"| {name} | {' | '.join(reads.columns())} |" for name, reads in rows),
        ]
    )


def told(spans: Spans) -> str:
    """Return a paragraph about the imports of a run."""
    parts = ", ".join(f"{part} {used:.0f} s" for part, used in spans.cpu.items())
    refused = "".join(f"\n- {count}: {reason}" for reason, count in spans.beside.refused.most_common())
    return (
        f"{spans.succeeded} of {spans.objects} objects were imported, {spans.accepted:,} lines in"
        f" {spans.seconds:.0f} s. CPU time meanwhile, reads included: {parts}."
        + (f"\n\nRefused beside the imports:\n{refused}" if refused else "")
    )


def report(alone: Spans, emulated: Spans | None, through: Whole | None, load: float) -> str:
    """Return the report."""
    lines = f"{alone.accepted // max(1, alone.succeeded):,}"
    text = f"""# Reads beside imports

`make bench-queue`: {PER_SECOND} reads of a user per second, beside the imports of {alone.objects} objects of {lines}
lines that were all uploaded at once, with {targets.RESERVED} reserved executions and
{targets.AT_ONCE} of them for jobs. The control reads beside processes that burn as
much processor time as the imports took and leave the database alone. Each read
counts from the instant at which it was due.

## The function, without an emulator

The function's code in one process for each execution, PgBouncer with {targets.POOL} connections, PostgreSQL with fsync
on. No read may be refused; p99 beside the imports may be {MOST_TIMES_SLOWER} times the control's, and a second.

{table_of(alone)}

{told(alone)}
"""
    if emulated is not None:
        text += f"""
## The laptop platform

The same with a running platform. Its emulator is the gateway, S3, SQS and Lambda in one Python process. At the same
time, as many reads go past it, to processes like those above, but with the platform's database: what they meet is ours,
the rest is the emulator's.

{table_of(emulated)}

{told(emulated)}
"""
    if through is not None:
        total = through.waiting_seconds + through.working_seconds
        cpu = "\n".join(f"| CPU of {part} | {used:.1f} |" for part, used in through.cpu.items())
        text += f"""
## One file through the platform

{through.lines:,} events of known users, gzip, from the upload to the end of its import, beside `psql \\copy` of the
same events into a table with the same columns, keys, foreign keys and indexes of the same server.

| | seconds |
|---|--:|
| `psql \\copy` ({through.lines / through.floor_seconds:,.0f} lines/s) | {through.floor_seconds:.1f} |
| its CPU of PostgreSQL | {through.floor_cpu:.1f} |
| **through the platform** ({through.lines / total:,.0f} lines/s, {through.ratio:.2f} of the floor) | {total:.1f} |
| until the import began: upload, notification, queue, start | {through.waiting_seconds:.1f} |
| the import: read twice, parsed, merged | {through.working_seconds:.1f} |
{cpu}

The parts work at the same time, on {os.cpu_count()} cores. The floor neither reads S3, unpacks, validates nor
deduplicates, and keeps no current choices.
"""
    text += f"""
Machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}. Load before the run
{load:.1f}, after it {os.getloadavg()[0]:.1f}. A load above the number of cores means that other processes were using
them.
"""
    paragraphs = text.strip().split("\n\n")
    filled = (one if one.startswith(("|", "#", "-")) else textwrap.fill(one, 120) for one in paragraphs)
    return "\n\n".join(filled) + "\n"


def main() -> None:
    """Run and exit with 1 if something was not met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--environment", default="local")
    parser.add_argument("--objects", type=int, default=40)
    parser.add_argument("--lines", type=int, default=60_000)
    parser.add_argument("--without-platform", action="store_true", help="measure without the emulator only")
    arguments = parser.parse_args()
    load, run_id = os.getloadavg()[0], uuid.uuid4().hex[:8]
    with step(f"write {arguments.objects} objects of {arguments.lines:,} lines"):
        bodies = [file_of_events(f"{run_id}-{number}", arguments.lines) for number in range(arguments.objects)]
    with targets.bare() as target:
        say("the function, without an emulator", "bold")
        spans = measure(target, bodies)
    emulated = through = None
    if not arguments.without_platform:
        say("the laptop platform", "bold")
        with targets.platform(arguments.environment) as deployed:
            through = whole(deployed, FLOOR_LINES)
            emulated = measure(deployed, bodies)
    REPORT.write_text(report(spans, emulated, through, load))
    say(f"written: {REPORT}")
    for failure in spans.failures():
        say(f"not met: {failure}", "red")
    for failure in emulated.failures() if emulated else []:
        say(f"with the emulator: {failure}")
    sys.exit(1 if spans.failures() else 0)


if __name__ == "__main__":
    main()
