"""What is measured: the function behind PgBouncer without an emulator, and a running platform with one."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from checks import gateway
from checks.bench import cpu
from checks.bench.queue.function import BusyError, FailedError, Function, Queue
from checks.stack import Stack, stack
from local import account, function, processes, services
from local.environments import Environment
from local.instance import current
from ops import aws, smoke
from ops.errors import UserError

RESERVED, AT_ONCE, POOL = 20, 2, 20
"""As in envs/local.tfvars: executions, those of jobs, and connections."""

_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_END_SECONDS = 600

Counts = tuple[int, int]
"""Imports that have succeeded, and the lines that they accepted."""


class Target(Protocol):
    """Something with the API and the imports."""

    @property
    def past(self) -> Callable[[], str] | None:
        """Reads the same user past an emulator, with the same database; None if there is no emulator."""

    def read(self) -> str:
        """Read a user; return why it was refused, or an empty text."""

    def begin(self, bodies: list[bytes]) -> None:
        """Upload objects, all at once."""

    def is_done(self) -> bool:
        """Whether all imports have ended, or the time is over."""

    def counts(self) -> Counts:
        """Count what was imported since ``begin``."""

    def seconds(self) -> dict[str, float]:
        """Return the CPU seconds so far, by part."""


_HEADERS = {"Authorization": f"Bearer {gateway.token()}", "Content-Type": "application/json"}


def _read(executions: Function, path: str) -> str:
    try:
        answer = executions.invoke(gateway.payload("GET", path, _HEADERS, None))
    except BusyError:
        return "no execution was free"
    except FailedError as error:
        return str(error)
    return "" if answer["statusCode"] == 200 else f"{answer['statusCode']} from the function"


class Bare:
    """The function's own code in processes of its own."""

    past = None

    def __init__(self, running: Stack, log: Path) -> None:
        self._stack = running
        self._function = Function(running.environment, RESERVED, log)
        self._queue = Queue(self._function, running.store, AT_ONCE)
        reader = json.dumps({"email": "bench-reader@example.com"}).encode()
        made = self._function.invoke(gateway.payload("POST", "/v1/users", _HEADERS, reader))
        self._path = f"/v1/users/{json.loads(made['body'])['id']}"
        self._function.warm(gateway.payload("GET", self._path, _HEADERS, None))
        self._deadline = 0.0

    def read(self) -> str:
        """See ``Target``."""
        return _read(self._function, self._path)

    def begin(self, bodies: list[bytes]) -> None:
        """See ``Target``."""
        self._deadline = time.monotonic() + _END_SECONDS
        for number, body in enumerate(bodies):
            self._queue.send(json.dumps(self._stack.store.put(f"imports/bench/part-{number:05}.ndjson.gz", body)))

    def is_done(self) -> bool:
        """See ``Target``."""
        return not self._queue.length() or time.monotonic() > self._deadline

    def counts(self) -> Counts:
        """See ``Target``."""
        row = self._stack.cluster.psql(
            "SELECT count(*) FILTER (WHERE state = 'succeeded'), coalesce(sum(accepted), 0) FROM pmp.import_job"
        )
        succeeded, accepted = row.split("|")
        return int(succeeded), int(accepted)

    def seconds(self) -> dict[str, float]:
        """See ``Target``."""
        return {
            "function": self._function.seconds(),
            "PostgreSQL": cpu.with_children(_pid(self._stack.cluster.pid)),
            "PgBouncer": cpu.alone(_pid(self._stack.bouncer.pid)),
        }

    def stop(self) -> None:
        """End the processes."""
        self._queue.stop()
        self._function.stop()


@contextmanager
def bare() -> Iterator[Bare]:
    """Start PostgreSQL as the laptop platform has it, PgBouncer, a small S3, and the function's processes."""
    with TemporaryDirectory() as directory, stack(pool_size=POOL, settings=_DURABLE) as running:
        target = Bare(running, Path(directory) / "function.log")
        try:
            yield target
        finally:
            target.stop()


class Platform:
    """A running platform: the emulator is the gateway, S3, SQS and Lambda in one process."""

    def __init__(self, environment: str, log: Path) -> None:
        self._api = smoke.connect(environment)
        self._bucket = aws.parameter(f"/pmp/{environment}/foundation/imports_bucket_name")
        self._store = aws.client("s3")
        address = f"bench-reader-{uuid.uuid4().hex[:12]}@example.com"
        self._path = f"/v1/users/{self._api.expect(201, 'POST', '/v1/users', {'email': address})['id']}"
        self.servers = Environment(current(), environment)
        record = processes.read(services.records(current()), account.NAME)
        if record is None:
            raise UserError("the platform does not run: start it with 'make up'")
        self._emulator = record.pid
        # Executions that start now do not start beside the imports.
        with ThreadPoolExecutor(RESERVED - AT_ONCE) as pool:
            for _ in range(3 * RESERVED):
                pool.submit(self.read)
        deployed = aws.client("lambda").get_function_configuration(FunctionName=function.name(environment))
        self._past = Function(deployed["Environment"]["Variables"], RESERVED - AT_ONCE, log)
        self._past.warm(gateway.payload("GET", self._path, _HEADERS, None))
        self.past = lambda: _read(self._past, self._path)
        self._deadline, self._prefix, self._objects = 0.0, "", 0
        self._uploads: list[Future[object]] = []

    def read(self) -> str:
        """See ``Target``."""
        try:
            answer = self._api.ask("GET", self._path)
        except UserError as error:
            return "no answer in time" if "timed out" in str(error) else "no connection"
        if answer.status == 200:
            return ""
        text = answer.body.decode(errors="replace")
        if "ReservedConcurrentExecutions" in text:
            return "no execution was free"
        of_function = answer.headers.get("content-type", "").startswith("application/problem+json")
        return f"{answer.status} from the {'function' if of_function else 'gateway'}: {text[:80]}"

    def begin(self, bodies: list[bytes]) -> None:
        """See ``Target``."""
        self._deadline = time.monotonic() + _END_SECONDS
        self._prefix, self._objects = f"imports/bench-{uuid.uuid4().hex[:8]}/", len(bodies)
        pool = ThreadPoolExecutor(max_workers=16)
        for number, body in enumerate(bodies):
            key = f"{self._prefix}part-{number:05}.ndjson.gz"
            self._uploads.append(pool.submit(self._store.put_object, Bucket=self._bucket, Key=key, Body=body))

    def stop(self) -> None:
        """End the processes that read past the emulator."""
        self._past.stop()

    def is_done(self) -> bool:
        """See ``Target``. It asks the database, so that the API answers reads only."""
        if time.monotonic() > self._deadline:
            return True
        ended = self._row("count(*) FILTER (WHERE finished_at IS NOT NULL)")
        return int(ended) == self._objects

    def counts(self) -> Counts:
        """See ``Target``."""
        row = self._row("count(*) FILTER (WHERE state = 'succeeded'), coalesce(sum(accepted), 0)")
        succeeded, accepted = row.split("|")
        return int(succeeded), int(accepted)

    def times(self) -> tuple[float, float]:
        """Return when the last imports began to work and ended, in seconds since the epoch."""
        began, ended = self._row("extract(epoch FROM min(started_at)), extract(epoch FROM max(finished_at))").split("|")
        return float(began), float(ended)

    def _row(self, columns: str) -> str:
        where = f"object_key LIKE '{self._prefix}%'"
        return self.servers.cluster.psql(f"SELECT {columns} FROM pmp.import_job WHERE {where}")

    def seconds(self) -> dict[str, float]:
        """See ``Target``."""
        emulator = cpu.alone(self._emulator)
        return {
            "function": cpu.with_children(self._emulator) - emulator,
            "PostgreSQL": cpu.with_children(_pid(self.servers.cluster.pid)),
            "PgBouncer": cpu.alone(_pid(self.servers.bouncer.pid)),
            "emulator": emulator,
        }


@contextmanager
def platform(environment: str) -> Iterator[Platform]:
    """Connect to the running platform.

    Raises:
        UserError: it does not run.
    """
    with TemporaryDirectory() as directory:
        target = Platform(environment, Path(directory) / "function.log")
        try:
            yield target
        finally:
            target.stop()


def _pid(pid: int | None) -> int:
    if pid is None:
        raise UserError("a server of the database does not run")
    return pid
