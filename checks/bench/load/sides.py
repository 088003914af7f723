"""Who answers the mix: PMP's function, pgbench with the same SQL, and the usual alternative without a pooler."""

import itertools
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from checks.bench import cpu
from checks.bench.growth.record import Record
from checks.bench.packages import install
from checks.load.fleet import Fleet
from checks.load.mix import WEIGHTS, Mix, email, user_id
from checks.load.traffic import Outcome, Stream, percentile, run
from checks.stack import Stack
from ops.errors import UserError
from ops.output import step
from ops.settings import ROOT

CONNECTIONS = 40
"""Of the pooler to PostgreSQL, and requests that a closed loop keeps open."""

EVENTS, ENVIRONMENTS = 1_000_000, 400

SETTINGS = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "'2GB'",
    "max_wal_size": "'4GB'",
    # The peer has no pooler.
    "max_connections": "520",
}

_PEERS = ROOT / "checks" / "bench" / "api" / "peers"
_LEAST_SECONDS = 2
"""Of pgbench, which counts its log-ins as its time."""

_SCRIPTS = 25
"""Of pgbench for a kind of request, at most; it takes 128 in all."""

_STATEMENTS = 1000
"""Of a kind, at most. Few would always ask about the same users, whose rows are then in the processor's cache."""


@dataclass
class Result:
    """What a side did in a span.

    Attributes:
        throughput: answers per second, as expected.
        p50, p99: latency in ms, from the intended instant.
        answered: number of answers as expected.
        errors: the others, by what happened.
        longest: latency in ms.
        function_ms: CPU of the function's processes per answer; None for pgbench, and where it was not measured.
        server_ms: CPU of PostgreSQL per answer, background processes included; None where it was not measured.
        outcome: with each request; None for pgbench.
    """

    throughput: float
    p50: float
    p99: float
    answered: int
    errors: Counter[str]
    longest: float
    function_ms: float | None = None
    server_ms: float | None = None
    outcome: Outcome | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> "Result":
        """Return what became of a stream's requests, without the CPU that they took."""
        p50, p99, longest = (1000 * outcome.percentile(share) for share in (0.5, 0.99, 1))
        return cls(outcome.throughput, p50, p99, outcome.answered, outcome.errors, longest, outcome=outcome)

    def summary(self) -> str:
        """Return one line for people."""
        parts = [
            f"{self.throughput:,.0f} req/s",
            f"p50 {self.p50:,.1f} ms, p99 {self.p99:,.1f} ms, longest {self.longest:,.0f} ms",
            f"{self.errors.total()} errors",
        ]
        if self.server_ms is not None:
            parts.append(f"CPU of PostgreSQL {self.server_ms:.3f} ms a request")
        if self.function_ms is not None:
            parts.append(f"of the function {self.function_ms:.3f} ms")
        if self.errors:
            parts.append(str(dict(self.errors.most_common(3))))
        return ", ".join(parts)


class Side(Protocol):
    """Someone who answers the mix."""

    name: str

    def saturated(self, seconds: float) -> Result:
        """Keep ``CONNECTIONS`` requests open."""

    def offered(self, rate: float, seconds: float) -> Result:
        """Let requests arrive at a rate."""


class Function:
    """A fleet of environments.

    Args:
        name: in reports.
        running: the servers.
        fleet: the environments.
        mix: makes the requests.
    """

    def __init__(self, name: str, running: Stack, fleet: Fleet, mix: Mix) -> None:
        self.name, self.fleet, self.mix = name, fleet, mix
        self._running = running
        self.recorded: dict[str, int] = {}
        """Status of each event that was sent, by its id."""

    def saturated(self, seconds: float) -> Result:
        """See ``Side``."""
        at_once = min(CONNECTIONS, len(self.fleet.environments))
        return self._run(Stream(self.fleet.environments, iter(self.mix), at_once=at_once), seconds)

    def offered(self, rate: float, seconds: float) -> Result:
        """See ``Side``."""
        calls = self.mix.ready(int(rate * seconds * 1.2) + 100)
        return self._run(Stream(self.fleet.environments, calls, rate=rate), seconds)

    def _run(self, stream: Stream, seconds: float) -> Result:
        function, server = self.fleet.cpu(), server_seconds(self._running)
        run([stream], seconds)
        for environment in stream.stuck:
            self.fleet.kill(environment)
            self.fleet.add()
        outcome = stream.outcome
        self.recorded |= outcome.recorded
        result, count = Result.of(outcome), max(1, outcome.answered)
        result.function_ms = 1000 * (self.fleet.cpu() - function) / count
        result.server_ms = 1000 * (server_seconds(self._running) - server) / count
        return result


class Pgbench:
    """pgbench with the function's own statements, through the same pooler.

    Args:
        running: the servers.
        mix: makes the requests; its events have its client as their source.
        clients: that it keeps at work, at most.
        folder: for scripts and logs.
    """

    name = "pgbench, same SQL"

    def __init__(self, running: Stack, mix: Mix, clients: int, folder: Path) -> None:
        self._running, self._folder, self._clients = running, folder, clients
        self._files = [part for path, weight in _scripts(mix, folder) for part in ("-f", f"{path}@{weight}")]

    def saturated(self, seconds: float) -> Result:
        """See ``Side``."""
        return self._run(seconds)

    def offered(self, rate: float, seconds: float) -> Result:
        """See ``Side``. pgbench, too, counts from the intended instant if it has a rate."""
        return self._run(seconds, "--rate", f"{rate:.1f}")

    def _run(self, seconds: float, *options: str) -> Result:
        for old in self._folder.glob("log.*"):
            old.unlink()
        server = server_seconds(self._running)
        command = [
            *("pgbench", "--no-vacuum", "--protocol", "extended", "--client", str(self._clients), "--jobs", "2"),
            *("--time", str(max(_LEAST_SECONDS, round(seconds))), "--log", "--log-prefix", str(self._folder / "log")),
            *options,
            *self._files,
        ]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)
        used = server_seconds(self._running) - server
        rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
        if done.returncode or rate is None:
            raise UserError(f"pgbench failed ({done.returncode}): {done.stderr[-1000:] or done.stdout[-500:]}")
        # client, transaction, latency in us, script, second, us, lag (https://www.postgresql.org/docs/15/pgbench.html)
        rows = [line.split() for path in self._folder.glob("log.*") for line in path.read_text().splitlines()]
        latencies = [int(row[2]) / 1000 for row in rows if row[2].isdigit()]
        failed = Counter({"failed": len(rows) - len(latencies)})
        p50, p99, longest = (percentile(latencies, share) for share in (0.5, 0.99, 1))
        per_answer = 1000 * used / max(1, len(latencies))
        return Result(float(rate[1]), p50, p99, len(latencies), +failed, longest, server_ms=per_answer)

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self._running.bouncer.port),
            "PGDATABASE": "pmp",
            "PGUSER": "pmp_app",
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(self._running.authority.bundle_path),
        }


def built(running: Stack, events: int) -> Record:
    """Build a record on new servers, and make the function importable, with its variables, in this process."""
    os.environ.update(running.environment)
    sys.path.insert(0, str(ROOT / "lambda"))
    record = Record(running)
    with step(f"build a record of {events:,} events"):
        for _ in record.fill(events):
            pass
        running.cluster.psql("CHECKPOINT")
    return record


def places(running: Stack, record: Record) -> list[str]:
    """Return cursors of pages of users, spread over the record. The function must be importable."""
    from pmp.http.pages import cursor

    rows = running.cluster.psql(
        "SELECT s.transaction_number, s.subject_key FROM pmp.subject AS s"
        f" WHERE s.subject_key % {record.users // 50} = 1"
    )
    return [cursor(*map(int, row.split("|"))) for row in rows.splitlines()]


def _scripts(mix: Mix, folder: Path) -> Iterator[tuple[Path, int]]:
    """Write scripts with the statements that the function sends; yield each with its weight."""
    for kind, weight in WEIGHTS.items():
        statements = list(dict.fromkeys(_statement(mix, kind) for _ in range(_STATEMENTS)))
        number = min(_SCRIPTS, len(statements))
        for index in range(number):
            path = folder / f"{kind.replace(' ', '_')}.{index}.sql"
            path.write_text(_script(mix, statements[index::number]))
            yield path, weight * _SCRIPTS // number


def _script(mix: Mix, statements: list[str]) -> str:
    """Return a script that draws a user and sends one of some statements."""
    square = f"2 + ({mix.users} - 1) * :r * :r / 1000000000000"
    lines = [r"\set r random(0, 999999)", rf"\set n {square}"]
    if len(statements) == 1:
        return "\n".join([*lines, *statements, ""])
    lines.append(rf"\set s random(0, {len(statements) - 1})")
    for number, statement in enumerate(statements):
        lines += [rf"\{'elif' if number else 'if'} :s = {number}", statement]
    return "\n".join([*lines, r"\endif", ""])


def _statement(mix: Mix, kind: str) -> str:
    """Return what a request of a kind does; where the kind is about one user, it is the drawn one."""
    number = mix.user()
    call = mix.call(kind, number)
    statement, parameters = _recorded(call.event, call.expected)
    computed = {
        call.event_id: "gen_random_uuid()",
        user_id(number): "CAST(md5(CAST(:n AS text)) AS uuid)",
        email(number): "'user' || CAST(:n AS text) || '@example.com'",
    }

    def value(match: re.Match[str]) -> str:
        given = parameters[match[1]]
        if not isinstance(given, str):
            return "NULL" if given is None else str(given)
        return computed.get(given) or "'" + given.replace("'", "''") + "'"

    return re.sub(r"(?<!:):([a-z_]+)", value, statement) + ";"


def _recorded(event: bytes, expected: int) -> tuple[str, dict[str, Any]]:
    """Answer an event in this process; return the function's one statement with its parameters."""
    import json

    from pmp import database
    from pmp.handler import handler

    from checks.gateway import Context

    sent: list[tuple[str, dict[str, Any]]] = []
    genuine = database.Connection.run

    def record(self: Any, statement: str, **parameters: Any) -> Any:
        sent.append((statement, parameters))
        return genuine(self, statement, **parameters)

    database.Connection.run = record
    output, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: PTH123, SIM115 - the function's log
    try:
        answer = handler(json.loads(event), Context())
    finally:
        sys.stdout = output
        database.Connection.run = genuine
    if answer is None or answer["statusCode"] != expected or len(sent) != 1:
        raise UserError(f"the function answered {answer} with the statements {sent}: pgbench takes exactly one")
    return sent[0]


@contextmanager
def peer(running: Stack, mix: Mix, count: int, folder: Path) -> Iterator[Function]:
    """Start the usual alternative: FastAPI, SQLAlchemy and psycopg, each environment with a connection of its own."""
    packages = folder / "peer"
    install(_PEERS / "requirements.lock", packages)
    shutil.copy(_PEERS / "peer_app.py", packages)
    shutil.copy(Path(__file__).with_name("peer_app.py"), packages / "load_peer_app.py")
    password = secrets.token_hex(16)
    running.cluster.set_password("pmp_app", password)
    running.bouncer.set_password(password)
    variables = {
        **running.environment,
        "PMP_DATABASE_PORT": str(running.cluster.port),
        "PGPASSWORD": password,
    }
    with Fleet(variables, count, folder=packages, module="load_peer_app", preloaded=()) as fleet:
        fleet.warm(mix.read("", f"/v1/users/{user_id(2)}").event)
        yield Function("FastAPI, SQLAlchemy, psycopg", running, fleet, mix)


def in_turns(sides: list[Side], measure: Callable[[Side], Result], rounds: int) -> dict[str, list[Result]]:
    """Measure sides in turns, so that other work on the machine affects all alike."""
    found: dict[str, list[Result]] = {side.name: [] for side in sides}
    for _, side in itertools.product(range(rounds), sides):
        found[side.name].append(measure(side))
    return found


def merged(results: list[Result]) -> Result:
    """Return the whole of some results of the same length of time, with the latencies of the one that is the median."""
    count = sum(one.answered for one in results)

    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        if len(known) < len(results):
            return None
        return sum(value * one.answered for value, one in zip(known, results, strict=True)) / count

    middle = sorted(results, key=lambda one: one.p99)[len(results) // 2]
    return Result(
        sum(one.throughput for one in results) / len(results),
        middle.p50,
        middle.p99,
        count,
        sum((one.errors for one in results), Counter()),
        max(one.longest for one in results),
        mean([one.function_ms for one in results]),
        mean([one.server_ms for one in results]),
        middle.outcome,
    )


def server_seconds(running: Stack) -> float:
    """Return PostgreSQL's CPU seconds so far, with ended sessions."""
    assert running.cluster.pid is not None
    return cpu.with_children(running.cluster.pid)
