"""The faults. Each begins, lasts for a given time and is repaired."""

import json
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil

from checks.faults.deployment import Deployment
from checks.full_disk import FullDisk
from checks.load.fleet import Fleet
from checks.load.traffic import Call
from checks.stack import Stack
from local.processes import working_in
from local.servers.certificates import Authority
from ops import canary

RATE = 30
"""Requests of the mix a second, unless a fault has another rate."""

_READ_ONLY = "default_transaction_read_only"
_BETWEEN_KILLS = 0.1
"""Seconds, at most."""

_KEPT_SEGMENTS = 5
"""More than PostgreSQL has in reserve, of its write-ahead log."""

_START_SECONDS = 30
_DAY = timedelta(days=1)


def _as_it_is(call: Call) -> Call:
    return call


@dataclass
class Scene:
    """What a fault may damage.

    Attributes:
        stack: the servers.
        fleet: the function's environments.
        disk: PostgreSQL's.
        change: what a client's fault makes of each request that it sends.
        deployment: its API leads to the function, and the fleet is of clients; None for a fleet of environments.
    """

    stack: Stack
    fleet: Fleet
    disk: FullDisk
    change: Callable[[Call], Call] = _as_it_is
    deployment: Deployment | None = None


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: for people.
        how: it is made, a sentence without its full stop.
        happen: makes the fault, waits for so many seconds, and repairs it.
        feels: what requests must meet, lest the fault was none: a class of statuses (4 or 5), ``lost`` for no
            answer, or None if clients must not notice it.
        writers: requests that record events and are always open meanwhile, besides the mix.
        rate: requests of the mix a second.
        through_api: whether it needs the scene of a deployment.
    """

    name: str
    how: str
    happen: Callable[[Scene, float], None]
    feels: int | str | None = 5
    writers: int = 0
    rate: float = RATE
    through_api: bool = False


def _lasting(fault: Callable[[Scene], AbstractContextManager[None]]) -> Callable[[Scene, float], None]:
    def happen(scene: Scene, seconds: float) -> None:
        with fault(scene):
            time.sleep(seconds)

    return happen


def _cut(scene: Scene) -> None:
    """End all connections of the pooler to PostgreSQL."""
    scene.stack.cluster.psql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'pmp_app'")


@contextmanager
def server_killed(scene: Scene) -> Iterator[None]:
    """Kill PostgreSQL and its processes."""
    for pid in working_in(scene.stack.cluster.data):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    yield
    scene.stack.cluster.start()


@contextmanager
def read_only(scene: Scene) -> Iterator[None]:
    """Cut the connections; the next ones meet a server that only reads."""
    cluster = scene.stack.cluster
    cluster.psql(f"ALTER SYSTEM SET {_READ_ONLY} = on")
    cluster.psql("SELECT pg_reload_conf()")
    _cut(scene)
    try:
        yield
    finally:
        cluster.psql(f"ALTER SYSTEM RESET {_READ_ONLY}")
        cluster.psql("SELECT pg_reload_conf()")


@contextmanager
def pooler_killed(scene: Scene) -> Iterator[None]:
    """Kill PgBouncer."""
    _kill_pooler(scene)
    yield
    scene.stack.bouncer.start()


def _kill_pooler(scene: Scene) -> None:
    if (pid := scene.stack.bouncer.pid) is not None:
        process = psutil.Process(pid)
        process.kill()
        while scene.stack.bouncer.is_running:
            time.sleep(0.01)


@contextmanager
def log_full(scene: Scene) -> Iterator[None]:
    """Let no file grow, and the write-ahead log need new ones: PostgreSQL panics, and cannot recover meanwhile."""
    cluster = scene.stack.cluster
    with scene.disk.on():
        for _ in range(_KEPT_SEGMENTS):
            with suppress(RuntimeError):
                cluster.psql("SELECT pg_switch_wal()")
            time.sleep(0.1)
        yield
    end = time.monotonic() + _START_SECONDS
    while True:
        # It may be about to end after a recovery that found no space.
        try:
            cluster.start()
            cluster.psql("SELECT 1")
        except RuntimeError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


@contextmanager
def other_authority(scene: Scene) -> Iterator[None]:
    """Restart the pooler with a certificate that the function does not trust."""
    bouncer = scene.stack.bouncer
    stranger = Authority(bouncer.directory / "stranger").issue("database", ["localhost"], ["127.0.0.1"])
    bouncer.stop()
    replace(bouncer, certificate=stranger).start()
    try:
        yield
    finally:
        bouncer.stop()
        bouncer.start()


@contextmanager
def servers_authority(scene: Scene) -> Iterator[None]:
    """Restart PostgreSQL with a certificate that the pooler does not trust."""
    cluster = scene.stack.cluster
    stranger = Authority(cluster.directory / "stranger").issue("database", ["localhost"], ["127.0.0.1"])
    cluster.stop()
    replace(cluster, certificate=stranger).start()
    try:
        yield
    finally:
        cluster.stop()
        cluster.start()


@contextmanager
def password_rotated(scene: Scene) -> Iterator[None]:
    """Give the role a password that the pooler gets to know later only."""
    password = secrets.token_hex(16)
    scene.stack.cluster.set_password("pmp_app", password)
    _cut(scene)
    try:
        yield
    finally:
        scene.stack.bouncer.set_password(password)


def environments_killed(scene: Scene, seconds: float) -> None:
    """Kill one environment after the other, at any instant of a request."""
    chosen, end = random.Random(0), time.monotonic() + seconds
    while time.monotonic() < end:
        # The last ones are the writers', which are always at work, and those that began in the place of others.
        environment = chosen.choice(scene.fleet.environments[-4:])
        with suppress(ProcessLookupError):
            scene.fleet.kill(environment)
        time.sleep(_BETWEEN_KILLS * chosen.random())


def deployed(scene: Scene, seconds: float) -> None:
    """Migrate, then let all environments end after their request, as Lambda does with those of an earlier version."""
    former = list(scene.fleet.environments)
    add, drop = (f"ALTER TABLE pmp.subject {words}" for words in ("ADD COLUMN added integer", "DROP COLUMN added"))
    scene.stack.cluster.psql(f"SET lock_timeout = '2s'; {add}", role="pmp_migrator")
    for environment in former:
        environment.channel.shutdown(socket.SHUT_WR)
        scene.fleet.environments.remove(environment)
        time.sleep(seconds / len(former))
    scene.stack.cluster.psql(f"SET lock_timeout = '2s'; {drop}", role="pmp_migrator")


def alias_switched(scene: Scene, seconds: float) -> None:
    """Publish a version, give it a share of the requests, a larger one and all of them, then take them back."""
    assert scene.deployment is not None
    alias, stage = scene.deployment.alias, seconds / 4
    old, new = alias.serving(), scene.deployment.publish()
    for share in (canary.SHARE, 0.5):
        alias.split(new, share)
        scene.deployment.require_served({old, new}, stage)
    for version in (new, old):
        alias.give_all(version)
        scene.deployment.require_served({version}, stage)


def _changed(call: Call, *, claims: dict[str, str] | None = None, body: dict[str, Any] | None = None) -> Call:
    event = json.loads(call.event)
    event["requestContext"]["authorizer"]["jwt"]["claims"].update(claims or {})
    if body and call.event_id is not None:
        event["body"] = json.dumps(json.loads(event["body"]) | body)
    return replace(call, event=json.dumps(event).encode())


def _clock(offset: timedelta) -> Callable[[Scene], AbstractContextManager[None]]:
    def change(call: Call) -> Call:
        instant = (datetime.now(UTC) + offset).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return _changed(call, body={"occurred_at": instant})

    return lambda scene: _changing(scene, change)


@contextmanager
def _changing(scene: Scene, change: Callable[[Call], Call]) -> Iterator[None]:
    before, scene.change = scene.change, change
    try:
        yield
    finally:
        scene.change = before


def token_expired(scene: Scene) -> AbstractContextManager[None]:
    """Send tokens that have expired."""
    return _changing(scene, lambda call: _changed(call, claims={"exp": str(int(time.time()) - 1)}))


FAULTS = (
    Fault("none", "for comparison", _lasting(lambda _: nullcontext()), feels=None),
    Fault(
        "PostgreSQL killed",
        "SIGKILL to all its processes, then it is started and recovers",
        _lasting(server_killed),
        writers=4,
    ),
    Fault(
        "PostgreSQL fails over",
        "connections cut, then a server that only reads (SQLSTATE 25006), then one that writes",
        _lasting(read_only),
        writers=4,
    ),
    Fault("pooler killed", "SIGKILL to PgBouncer, then started", _lasting(pooler_killed), writers=4),
    Fault("wrong CA, seen by the function", "PgBouncer's certificate from another CA", _lasting(other_authority)),
    Fault("wrong CA, seen by the pooler", "PostgreSQL's certificate from another CA", _lasting(servers_authority)),
    Fault(
        "secret rotated",
        "the role gets a new password and its connections are cut; the pooler learns it later",
        _lasting(password_rotated),
    ),
    Fault(
        "disk full",
        "no file of PostgreSQL can grow (ENOSPC, SQLSTATE 53100)",
        _lasting(lambda scene: scene.disk.on()),
        writers=4,
    ),
    Fault(
        "disk full, no room for the log",
        "as before, and the write-ahead log needs a new file: PostgreSQL panics, and recovers once there is space",
        _lasting(log_full),
        writers=4,
    ),
    Fault("function killed", "SIGKILL to environments at random instants", environments_killed, "lost", writers=4),
    Fault(
        "deploy under load",
        "a migration adds a column, then new environments take the place of all former ones",
        deployed,
        feels=None,
        writers=4,
    ),
    Fault("client's clock a day ahead", "`occurred_at` tomorrow: refused", _lasting(_clock(_DAY)), feels=4),
    Fault("client's clock a day behind", "`occurred_at` yesterday: recorded", _lasting(_clock(-_DAY)), feels=None),
    Fault("token expired", "tokens whose `exp` has passed: 401", _lasting(token_expired), feels=4),
    Fault(
        "alias switched under load",
        "8 requests a second through the emulated gateway, alias and function's zip: a new version serves nobody, then "
        "a tenth of them, half, all, and none again",
        alias_switched,
        feels=None,
        writers=2,
        rate=8,
        through_api=True,
    ),
)
