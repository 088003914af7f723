"""Measure PMP's function, the usual alternative and the floor in one run on one PostgreSQL.

    python -m checks.bench.api [--reads 2000] [--writes 1000] [--starts 15]

Writes ``docs/bench/api.md`` and ``docs/bench/api.svg``.
"""

import argparse
import compileall
import hashlib
import importlib.util
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks.bench.packages import install
from checks.gateway import Gateway, payload, token
from checks.stack import end_in_order, stack
from ops.settings import ROOT

HERE = Path(__file__).parent
REPORT = ROOT / "docs" / "bench"
EMAIL, SMS = "email_notifications", "sms_notifications"


@dataclass
class Candidate:
    """A function in an unpacked folder, as on Lambda, and its measurements: times in ms, in the order of the calls."""

    name: str
    folder: Path
    module: str
    zip_bytes: int | None
    starts: list[float] = field(default_factory=list)
    compiled_starts: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    memory_mib: float = 0


class Instance:
    """A running process of a candidate."""

    def __init__(self, candidate: Candidate, environment: dict[str, str]) -> None:
        # -B: Lambda's folder is read-only, so the interpreter compiles the sources at each start there.
        command = [sys.executable, "-I", "-B", str(HERE / "runner.py"), str(candidate.folder), candidate.module]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def ask(self, event: str, status: int) -> float:
        """Send an event, one JSON line; return the milliseconds until its answer.

        Raises:
            RuntimeError: the answer does not have ``status``.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        started = time.perf_counter()
        self.process.stdin.write(event)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        took = (time.perf_counter() - started) * 1000
        answer = json.loads(line or '{"statusCode": "the process ended"}')
        if answer["statusCode"] != status:
            raise RuntimeError(f"answered {answer}, not {status}")
        return took

    def peak_mib(self) -> float:
        """Peak resident memory so far in MiB, as the kernel counts it."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=10)


def _event(method: str, path: str, document: Any = None) -> str:
    body = None if document is None else json.dumps(document).encode()
    headers = {
        "Content-Type": "application/json",
        "Host": "api.local.pmp.localhost",
        "Authorization": f"Bearer {token()}",
    }
    return json.dumps(payload(method, path, headers, body)) + "\n"


def _unpack(bundle: Path, folder: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)


def _ours(directory: Path) -> Candidate:
    specification = importlib.util.spec_from_file_location("pmp_build", ROOT / "lambda" / "build.py")
    assert specification is not None
    assert specification.loader is not None
    builder = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(builder)
    bundle: Path = builder.build(directory / "zip")[1]
    _unpack(bundle, directory / "pmp")
    return Candidate("PMP", directory / "pmp", "pmp.handler", bundle.stat().st_size)


def _peer(directory: Path) -> Candidate:
    lock = HERE / "peers" / "requirements.lock"
    install(lock, directory / "peer")
    # The zip's size is for a deployment to the same architecture and runtime as PMP's.
    deployed = directory / "peer-deployed"
    install(
        lock,
        deployed,
        "--python-version",
        "3.13",
        "--python-platform",
        "aarch64-manylinux_2_28",
        "--only-binary",
        ":all:",
    )
    for folder in (directory / "peer", deployed):
        shutil.copy(HERE / "peers" / "peer_app.py", folder)
        shutil.rmtree(folder / "bin", ignore_errors=True)
    bundle = directory / "peer.zip"
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(deployed.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                archive.write(path, path.relative_to(deployed))
    return Candidate("FastAPI, SQLAlchemy, psycopg", directory / "peer", "peer_app", bundle.stat().st_size)


def _floor(directory: Path, ours: Candidate) -> Candidate:
    shutil.copytree(ours.folder, directory / "floor")
    shutil.copy(HERE / "floor_app.py", directory / "floor")
    return Candidate("floor: bare pg8000", directory / "floor", "floor_app", None)


@contextmanager
def _instances(candidates: list[Candidate], environment: dict[str, str]) -> Iterator[dict[str, Instance]]:
    running = {candidate.name: Instance(candidate, environment) for candidate in candidates}
    try:
        yield running
    finally:
        for instance in running.values():
            instance.close()


def _starts(
    candidates: list[Candidate], environment: dict[str, str], reads: list[str], amount: int
) -> Iterator[tuple[Candidate, float]]:
    """Yield each candidate's milliseconds from the start of a process to its first answer, ``amount`` times."""
    for number in range(amount):
        for candidate in candidates:
            started = time.perf_counter()
            instance = Instance(candidate, environment)
            instance.ask(reads[number % len(reads)], 200)
            yield candidate, (time.perf_counter() - started) * 1000
            instance.close()


def _measure(
    candidates: list[Candidate], environment: dict[str, str], users: list[str], amounts: argparse.Namespace
) -> None:
    reads = [_event("GET", f"/v1/users/{user}") for user in users]
    writes = [
        _event("POST", "/v1/events", {
            "user": {"id": user},
            "consents": [{"id": EMAIL, "enabled": bool(number % 2)}, {"id": SMS, "enabled": bool(number % 3)}],
        })
        for number, user in enumerate(users)
    ]  # fmt: skip
    for candidate, took in _starts(candidates, environment, reads, amounts.starts):
        candidate.starts.append(took)
    for candidate in candidates:
        compileall.compile_dir(candidate.folder, quiet=2)
    for candidate, took in _starts(candidates, environment, reads, amounts.starts):
        candidate.compiled_starts.append(took)
    with _instances(candidates, environment) as running:
        for instance in running.values():
            for number in range(100):
                instance.ask(reads[number % len(reads)], 200)
                instance.ask(writes[number % len(writes)], 201)
        # In turns, so that other load on the machine affects all candidates alike.
        for number in range(max(amounts.reads, amounts.writes)):
            for candidate in candidates:
                if number < amounts.reads:
                    candidate.reads.append(running[candidate.name].ask(reads[number % len(reads)], 200))
                if number < amounts.writes:
                    candidate.writes.append(running[candidate.name].ask(writes[number % len(writes)], 201))
        for candidate in candidates:
            candidate.memory_mib = running[candidate.name].peak_mib()


def _percentile(values: list[float], percent: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[int(percent * 10) - 1]


def _figures(candidate: Candidate) -> dict[str, float | None]:
    return {
        "cold start, ms": statistics.median(candidate.starts),
        "cold start with bytecode, ms": statistics.median(candidate.compiled_starts),
        "read p50, ms": _percentile(candidate.reads, 50),
        "read p99, ms": _percentile(candidate.reads, 99),
        "write p50, ms": _percentile(candidate.writes, 50),
        "write p99, ms": _percentile(candidate.writes, 99),
        "peak memory, MiB": candidate.memory_mib,
        "zip, kB": None if candidate.zip_bytes is None else candidate.zip_bytes / 1000,
    }


GOALS = {
    "cold start, ms": 0.15,
    "cold start with bytecode, ms": 0.15,
    "read p50, ms": 0.4,
    "write p50, ms": 1 / 2,
    "peak memory, MiB": 1 / 2,
    "zip, kB": 1 / 8,
}
FLOOR_GOAL = 1.5


def _machine(server: str) -> str:
    model = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin") or "pgbouncer"
    bouncer = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    return (
        f"{os.cpu_count()} cores of {model or platform.machine()}, Python {platform.python_version()}, "
        f"PostgreSQL {server}, PgBouncer {bouncer}"
    )


def _versions(lock: Path, *packages: str) -> str:
    pinned = (line.split(" ")[0] for line in lock.read_text().splitlines())
    return ", ".join(pin for pin in pinned if pin.partition("==")[0] in packages)


def _table(ours: Candidate, peer: Candidate, floor: Candidate) -> tuple[list[str], bool]:
    mine, theirs, bare = _figures(ours), _figures(peer), _figures(floor)
    lines = ["| | PMP | peer | ratio | goal | floor |", "|---|--:|--:|--:|--:|--:|"]
    reached = True
    for name, value in mine.items():
        other = theirs[name]
        assert value is not None
        assert other is not None
        ratio, goal = value / other, GOALS.get(name)
        reached = reached and (goal is None or ratio <= goal)
        shown = "" if goal is None else f"≤ {goal:.3f}{'' if ratio <= goal else ' missed'}"
        least = bare[name]
        bare_value = "" if least is None else f"{least:.2f}"
        lines.append(f"| {name} | {value:.2f} | {other:.2f} | {ratio:.3f} | {shown} | {bare_value} |")
    read, least = mine["read p50, ms"], bare["read p50, ms"]
    assert read is not None
    assert least is not None
    verdict = "" if read / least <= FLOOR_GOAL else ", missed"
    lines += ["", f"Median of a warm read: {read / least:.2f} of the floor's (goal ≤ {FLOOR_GOAL}{verdict})."]
    return lines, reached and not verdict


def _plot(candidates: list[Candidate], target: Path) -> None:
    """Draw bars for each figure, scaled to the largest of the row."""
    colors = ["#1f6f8b", "#c46b3b", "#8a8a8a"]
    figures = [_figures(candidate) for candidate in candidates]
    rows, parts, y = list(figures[0]), [], 70
    for number, candidate in enumerate(candidates):
        x = 20 + number * 235
        parts.append(f'<rect x="{x}" y="36" width="12" height="12" fill="{colors[number]}"/>')
        parts.append(f'<text x="{x + 18}" y="46">{candidate.name}</text>')
    for row in rows:
        largest = max(figure[row] or 0 for figure in figures)
        parts.append(f'<text x="20" y="{y + 12}" font-weight="bold">{row}</text>')
        for number, figure in enumerate(figures):
            value = figure[row]
            if value is None:
                continue
            width = 400 * value / largest
            parts.append(f'<rect x="230" y="{y}" width="{width:.1f}" height="14" fill="{colors[number]}"/>')
            parts.append(f'<text x="{236 + width:.1f}" y="{y + 11}">{value:,.1f}</text>')
            y += 17
        y += 12
    head = '<text x="20" y="22" font-size="15" font-weight="bold">Two routes on one PostgreSQL: lower is better</text>'
    target.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="740" height="{y}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{head}{"".join(parts)}</svg>\n'
    )


def main() -> None:
    """Measure all candidates and write the report."""
    parser = argparse.ArgumentParser(prog="python -m checks.bench.api", description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=2000)
    parser.add_argument("--writes", type=int, default=1000)
    parser.add_argument("--starts", type=int, default=15)
    amounts = parser.parse_args()
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="pmp-bench-") as temporary, stack() as running:
        directory = Path(temporary)
        ours, peer = _ours(directory), _peer(directory)
        candidates = [ours, peer, _floor(directory, ours)]
        environment = {"PATH": os.environ["PATH"], **running.environment}
        os.environ.update(running.environment)
        sys.path.insert(0, str(ROOT / "lambda"))
        api = Gateway()
        users = []
        with redirect_stdout(io.StringIO()):  # the function's log
            for number in range(200):
                address = f"{hashlib.sha256(str(number).encode()).hexdigest()[:16]}@example.com"
                users.append(api.post("/v1/users", {"email": address}).json["id"])
        _measure(candidates, environment, users, amounts)
        server = running.cluster.psql("SHOW server_version").split()[0]
    lines, reached = _table(*candidates)
    how = (
        f"Cold start is the time from the start of the process to its first answer, the median of {amounts.starts}: "
        "once from sources alone, as in Lambda's read-only code folder, and once with bytecode packed. "
        f"{amounts.reads} reads and {amounts.writes} writes alternate between the candidates, through one harness, "
        "PgBouncer and TLS. The peer calls the same SQL functions, but is spared the proxy's token, scopes, entity "
        "tags and logs. The floor is the same SQL in one transaction on a plain pg8000 connection, which sends "
        "several messages where the function sends one "
        "([ADR 0100](../adr/0100-each-sql-statement-takes-one-round-trip.md)). "
        "The floor can therefore be slower than PMP."
    )
    mine = _versions(ROOT / "lambda" / "requirements.lock", "pg8000", "email-validator")
    theirs = _versions(HERE / "peers" / "requirements.lock", "fastapi", "mangum", "sqlalchemy", "psycopg")
    machine = f"`make bench-api` on {_machine(server)}. PMP: {mine}. Peer: {theirs}."
    head = ["# API benchmark", "", machine, ""]
    report = [*head, *lines, "", how, "", "![bars](api.svg)", ""]
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "api.md").write_text("\n".join(report))
    _plot(candidates, REPORT / "api.svg")
    print("\n".join(lines))
    print("all goals reached" if reached else "goals were missed")


if __name__ == "__main__":
    main()
