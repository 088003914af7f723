r"""Measure imports: ``make bench-imports`` (``EVENTS=`` for fewer than a million, ``MEMORY_MB=`` for other sizes).

One run, on one cluster with durable settings, measures ``psql \copy`` of the same events into a table with the same
columns, keys, foreign keys and indexes (the floor); the function's whole import, on an empty and on a full database;
and the usual alternatives. It writes docs/bench/imports.md, imports.json, imports-speed.svg and imports-memory.svg.
"""

import datetime as dt
import gzip
import json
import os
import platform
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from checks.bench import cpu
from checks.bench.imports import forms
from checks.object_store import ObjectStore
from checks.stack import Stack, stack

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "docs" / "bench"
PEERS = Path(__file__).with_name("peers.lock")
EVENTS = int(os.environ.get("EVENTS", "1000000"))
USERS = EVENTS * 3 // 10
MEMORY_MB = [int(size) for size in os.environ.get("MEMORY_MB", "10,100,1000").split(",")]
DOLLARS_PER_GB_SECOND = 0.0000133334
"""AWS Lambda on arm64, list price in eu-west-1."""

FUNCTION_GB = 1769 / 1024
"""One whole vCPU."""

_DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "'512MB'",
    "max_wal_size": "'4GB'",
    "checkpoint_timeout": "'15min'",
}
_GOAL = 0.8
"""Goal for the import's events per second, as a fraction of the floor's."""

_MOST_WORK = 1.25
"""Goal for PostgreSQL's CPU time per event, as a multiple of the floor's."""

_MOST_MIB = 160
"""Goal for the peak memory of the function's process."""

_CONSENTS = ("email_notifications", "sms_notifications")
_FLOOR_COLUMNS = "id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, versions, enabled"


def generate(directory: Path, name: str, seed: int, users: list[str]) -> None:
    """Write ``<name>.ndjson.gz`` for the import, and ``<name>.tsv`` with the same events for the floor."""
    source = random.Random(seed)
    base = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    with gzip.open(directory / f"{name}.ndjson.gz", "wb", 1) as lines, (directory / f"{name}.tsv").open("w") as rows:
        for _ in range(EVENTS):
            key = source.randrange(len(users))
            event_id = str(uuid.UUID(int=source.getrandbits(128), version=4))
            at = (base + dt.timedelta(seconds=source.randrange(60_000_000))).isoformat()
            answers = [(c, source.random() < 0.6) for c in source.choice(((0,), (1,), (0, 1), (1, 0)))]
            event = {
                "id": event_id,
                "user": {"id": users[key]},
                "consents": [{"id": _CONSENTS[c], "enabled": yes} for c, yes in answers],
                "occurred_at": at,
            }
            lines.write(json.dumps(event, separators=(",", ":")).encode() + b"\n")
            versions = ",".join(str(c + 1) for c, _ in answers)
            enabled = ",".join("t" if yes else "f" for _, yes in answers)
            rows.write(f"{event_id}\t{key + 1}\t{at}\t{at}\t1\tt\tt\t{{{versions}}}\t{{{enabled}}}\n")


def server_seconds(running: Stack) -> float:
    """Return PostgreSQL's CPU seconds so far, with ended sessions. Other load on the machine hardly affects them."""
    assert running.cluster.pid is not None
    return cpu.with_children(running.cluster.pid)


def floor(running: Stack, file: Path) -> dict[str, Any]:
    r"""Measure ``\copy`` of a file into the floor's table: events, seconds and the server's CPU seconds."""
    # psql runs as the server's user, which may not be able to read the repository's folder.
    reachable = running.cluster.home.write("floor.tsv", file.read_bytes())
    before, began = server_seconds(running), time.perf_counter()
    running.cluster.psql(f"\\copy pmp_floor ({_FLOOR_COLUMNS}) FROM '{reachable}'")
    seconds = time.perf_counter() - began
    reachable.unlink()
    return {"events": EVENTS, "seconds": seconds, "server_seconds": server_seconds(running) - before}


def imported(running: Stack, file: Path) -> dict[str, Any]:
    """Measure PMP's import in a new process: events, seconds, CPU seconds and peak memory of that process in MiB.

    Raises:
        RuntimeError: the import failed or rejected lines.
    """
    store = ObjectStore()
    key = f"imports/{uuid.uuid4()}.ndjson.gz"
    notice = store.put(key, file.read_bytes())
    environment = os.environ | running.environment | {"AWS_ENDPOINT_URL": store.url, "AWS_DEFAULT_REGION": "eu-west-1"}
    before = server_seconds(running)
    done = subprocess.run(
        [sys.executable, "-m", "checks.bench.imports.function"],
        input=json.dumps(notice),
        env=environment | {"PYTHONPATH": f"{ROOT}:{ROOT / 'lambda'}"},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    store.shutdown()
    store.server_close()
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    measured["server_seconds"] = server_seconds(running) - before
    job = json.loads(running.cluster.psql(f"SELECT to_jsonb(j) FROM pmp.import_job AS j WHERE object_key = '{key}'"))
    if job["state"] != "succeeded" or job["rejected"]:
        raise RuntimeError(f"the import ended as {job}")
    return measured | {"events": job["lines"], "accepted": job["accepted"]}


def peer(running: Stack, python: Path, kind: str, file: Path) -> dict[str, Any]:
    """Measure an alternative of ``peers.py``: events, seconds and the server's CPU seconds.

    Raises:
        RuntimeError: it failed.
    """
    before = server_seconds(running)
    done = subprocess.run(
        [python, Path(__file__).with_name("peers.py"), kind, running.cluster.url("postgres"), file],
        env=os.environ | {"PGPASSWORD": "superuser"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{kind}: {done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result | {"server_seconds": server_seconds(running) - before}


def fresh(running: Stack) -> None:
    """Empty all tables of events. Only the superuser can, because triggers prevent it otherwise."""
    running.cluster.psql(
        "SET session_replication_role = replica; TRUNCATE pmp.event, pmp.current_choice, pmp_floor; CHECKPOINT;"
    )


def main() -> None:
    """Measure everything and write the report."""
    directory = ROOT / "build" / "bench-imports"
    directory.mkdir(parents=True, exist_ok=True)
    python = directory / "peers" / "bin" / "python"
    if not python.exists():
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "-q", directory / "peers"], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", PEERS], check=True)
    source = random.Random(0)
    users = [str(uuid.UUID(int=source.getrandbits(128), version=4)) for _ in range(USERS)]
    say(f"generating two files, each of {EVENTS:,} events of {USERS:,} users")
    generate(directory, "first", 1, users)
    generate(directory, "second", 2, users)
    some = directory / "some.ndjson.gz"
    with gzip.open(directory / "second.ndjson.gz", "rb") as lines, gzip.open(some, "wb", 1) as few:
        for _ in range(max(1, EVENTS // 100)):
            few.write(lines.readline())
    results: dict[str, Any] = {"events": EVENTS, "users": USERS, "load": os.getloadavg()[0]}
    with stack(settings=_DURABLE) as running:
        # The peers log in over TCP, with a password. The users come on standard input, since psql's user cannot read
        # the repository.
        running.cluster.set_password("postgres", "superuser")
        people = "".join(f"{user}\tuser{number}@example.com\t1\n" for number, user in enumerate(users))
        running.cluster.psql(f"COPY pmp.subject (id, email, created_by) FROM STDIN;\n{people}\\.\n")
        running.cluster.psql(
            "CREATE TABLE pmp_floor (LIKE pmp.event INCLUDING ALL);"
            "ALTER TABLE pmp_floor ADD FOREIGN KEY (subject_key) REFERENCES pmp.subject,"
            " ADD FOREIGN KEY (source_key) REFERENCES pmp.source;"
            "CREATE UNLOGGED TABLE pmp_peer_line (id uuid, user_id uuid, occurred_at timestamptz, versions integer[],"
            " enabled boolean[]); VACUUM ANALYZE pmp.subject;"
        )
        for state, name in (("empty", "first"), ("full", "second")):
            copied = results[f"floor_{state}"] = floor(running, directory / f"{name}.tsv")
            say(f"floor, {state} database: {EVENTS / copied['seconds']:,.0f} events/s")
            running.cluster.psql("CHECKPOINT")
            ours = results[f"import_{state}"] = imported(running, directory / f"{name}.ndjson.gz")
            say(f"import, {state} database: {EVENTS / ours['seconds']:,.0f} events/s, {ours['peak_mib']:.0f} MiB")
            running.cluster.psql("CHECKPOINT")
        for kind, file in (("psycopg", directory / "first.ndjson.gz"), ("sqlalchemy", some), ("calls", some)):
            fresh(running)
            measured = results[kind] = peer(running, python, kind, file)
            say(f"{kind}: {measured['events'] / measured['seconds']:,.0f} events/s")
        results["memory"] = []
        for title, form in forms.FORMS.items():
            for size in MEMORY_MB:
                fresh(running)
                big = directory / "sized"
                forms.write(directory / "first.ndjson.gz", big, form, size)
                measured = imported(running, big)
                results["memory"].append({"form": title, "megabytes": size, "peak_mib": measured["peak_mib"]})
                say(f"memory, {title}, {size} MB: {measured['peak_mib']:.0f} MiB, {measured['seconds']:.0f} s")
    results["load_after"] = os.getloadavg()[0]
    report(results)
    if missed := failures(results):
        for failure in missed:
            say(f"not met: {failure}")
        sys.exit(1)


def failures(results: dict[str, Any]) -> list[str]:
    """Return which goals were not met."""
    rate = {name: value["events"] / value["seconds"] for name, value in results.items() if isinstance(value, dict)}
    work = {
        name: value["server_seconds"] / value["events"] for name, value in results.items() if isinstance(value, dict)
    }
    missed = []
    for state in ("empty", "full"):
        ours, base = f"import_{state}", f"floor_{state}"
        if rate[ours] < _GOAL * rate[base]:
            missed.append(f"{rate[ours] / rate[base]:.2f} of the floor on the {state} database, at least {_GOAL}")
        if work[ours] > _MOST_WORK * work[base]:
            missed.append(f"{work[ours] / work[base]:.2f} times the floor's CPU of PostgreSQL, at most {_MOST_WORK}")
    missed += [f"{kind} is faster" for kind in ("psycopg", "sqlalchemy", "calls") if rate[kind] >= rate["import_empty"]]
    return missed + [
        f"{one['peak_mib']:.0f} MiB with {one['form']} of {one['megabytes']} MB, at most {_MOST_MIB}"
        for one in results["memory"]
        if one["peak_mib"] > _MOST_MIB
    ]


def report(results: dict[str, Any]) -> None:
    """Write the table, the plots and the measurements, and print the table."""
    work = {
        # The clock of /proc has a resolution of 10 ms.
        name: max(value["server_seconds"], 0.01) / value["events"] * 1e6
        for name, value in results.items()
        if isinstance(value, dict)
    }
    rates = {name: value["events"] / value["seconds"] for name, value in results.items() if isinstance(value, dict)}
    rows = [
        ("`psql \\copy`, the floor, empty database", "floor_empty", "floor_empty"),
        ("**PMP's import, empty database**", "import_empty", "floor_empty"),
        ("`psql \\copy`, the floor, full database", "floor_full", "floor_full"),
        ("**PMP's import, full database**", "import_full", "floor_full"),
        ("psycopg 3 `copy()` and the same merge, empty", "psycopg", "floor_empty"),
        ("SQLAlchemy, `INSERT … ON CONFLICT` of 1,000", "sqlalchemy", "floor_empty"),
        ("100 events per call, without HTTP", "calls", "floor_empty"),
    ]
    ours = results["import_empty"]
    cost = ours["seconds"] * FUNCTION_GB * DOLLARS_PER_GB_SECOND / ours["events"] * 1e6
    best = rates["import_empty"]
    table = "\n".join(
        f"| {title} | {rates[name]:,.0f} | {rates[name] / rates[base]:.2f} | {best / rates[name]:.1f}"
        f" | {work[name]:.1f} | {work[base] / work[name]:.2f} |"
        for title, name, base in rows
    )
    sizes = sorted({one["megabytes"] for one in results["memory"]})
    peaks = "\n".join(
        [
            f"| peak memory in MiB | {' | '.join(f'{size} MB' for size in sizes)} |",
            f"|---|{'--:|' * len(sizes)}",
            *(
                f"| {title} | "
                + " | ".join(f"{one['peak_mib']:.0f}" for one in results["memory"] if one["form"] == title)
                + " |"
                for title in forms.FORMS
            ),
        ]
    )
    highest = [
        {"megabytes": size, "peak_mib": max(o["peak_mib"] for o in results["memory"] if o["megabytes"] == size)}
        for size in sizes
    ]
    figures = f"""\
- CPU time of the function: {ours["cpu_seconds"]:.1f} s of {ours["seconds"]:.1f} s; the rest is PostgreSQL's.
- {ours["events"] / (ours["seconds"] * FUNCTION_GB):,.0f} events per GB-second; ${cost:.4f} per million events at one
  vCPU ({FUNCTION_GB * 1024:.0f} MB, arm64, ${DOLLARS_PER_GB_SECOND:.7f} per GB-second),
  with PostgreSQL on the same cores.

{peaks}"""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "imports.json").write_text(json.dumps(results, indent=2) + "\n")
    (RESULTS / "imports-memory.svg").write_text(memory_plot(highest))
    (RESULTS / "imports-speed.svg").write_text(
        speed_plot(
            {title.replace("*", "").replace("`", "").replace("\\\\", "\\"): rates[name] for title, name, _ in rows}
        )
    )
    (RESULTS / "imports.md").write_text(
        f"""# Import benchmark

`make bench-imports` with {results["events"]:,} events of {results["users"]:,} users, all in one run on one PostgreSQL
with fsync on. The import reads gzip from S3, validates, deduplicates, inserts and projects. The floor only copies rows
into a table with the same columns, keys, foreign keys and indexes.

| | events/s | ratio to the floor | PMP's speed-up | PostgreSQL CPU s per million | floor's CPU s ÷ its own |
|---|--:|--:|--:|--:|--:|
{table}

The first three columns depend on what else the machine was doing; the last two hardly do.

{figures}

Sizes are those before compression. From {forms.LONG_FROM_MB} MB on, lines are longer, so that a batch ends by its bytes
and not by its lines.

![events per second of the floor, the import and the peers](imports-speed.svg)

![peak memory by size of the input](imports-memory.svg)

Machine: {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL 15. Load
before the run {results["load"]:.1f}, after it {results["load_after"]:.1f}. A load above the number of cores means that
other processes were using them.
"""
    )
    say(f"{table}\n{figures}")
    say(f"written: {RESULTS / 'imports.md'}")


def memory_plot(memory: list[dict[str, float]]) -> str:
    """Return an SVG with bars of peak memory, and a line at the limit."""
    bars = "".join(
        f'<rect x="{70 + place * 110}" y="{220 - m["peak_mib"]:.0f}" width="60" height="{m["peak_mib"]:.0f}"'
        f' fill="#36c"/>'
        f'<text x="{100 + place * 110}" y="{212 - m["peak_mib"]:.0f}" text-anchor="middle">{m["peak_mib"]:.0f}</text>'
        f'<text x="{100 + place * 110}" y="238" text-anchor="middle">{m["megabytes"]:.0f} MB</text>'
        for place, m in enumerate(memory)
    )
    width = 90 + len(memory) * 110
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 260" font-family="sans-serif" font-size="13">'
        f'<rect width="{width}" height="260" fill="#fff"/>'
        f'<line x1="50" x2="{width - 10}" y1="60" y2="60" stroke="#c33" stroke-dasharray="4"/>'
        f'<text x="54" y="54" fill="#c33">limit: 160 MiB</text>'
        f'<line x1="50" x2="{width - 10}" y1="220" y2="220" stroke="#000"/>{bars}'
        f'<text x="10" y="20">peak memory in MiB by size, of the largest form</text></svg>\n'
    )


def speed_plot(rates: dict[str, float]) -> str:
    """Return an SVG with bars of events per second by title, and a line at the goal. The first title is the floor."""
    longest = max(rates.values())
    bars = "".join(
        f'<text x="330" y="{57 + place * 26}" text-anchor="end">{escape(title)}</text>'
        f'<rect x="340" y="{44 + place * 26}" width="{max(1, 380 * rate / longest):.0f}" height="18"'
        f' fill="{"#36c" if title.startswith("PMP") else "#999"}"/>'
        f'<text x="{346 + 380 * rate / longest:.0f}" y="{57 + place * 26}">{rate:,.0f}</text>'
        for place, (title, rate) in enumerate(rates.items())
    )
    goal, bottom = 340 + 380 * _GOAL * next(iter(rates.values())) / longest, 44 + len(rates) * 26
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {bottom + 10}" font-family="sans-serif"'
        f' font-size="13">'
        f'<rect width="800" height="{bottom + 10}" fill="#fff"/><text x="10" y="20">events per second</text>{bars}'
        f'<line x1="{goal:.0f}" x2="{goal:.0f}" y1="38" y2="{bottom}" stroke="#c33" stroke-dasharray="4"/>'
        f'<text x="{goal:.0f}" y="32" text-anchor="middle" fill="#c33">goal: {_GOAL} of the floor</text></svg>\n'
    )


def say(line: str) -> None:
    """Print a line at once, even into a pipe."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
