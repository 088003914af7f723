"""Lose a table of a database in use, restore the instant before, and replay the erasures: ``make restore-drill``.

The way is that of RDS: a base backup, the write-ahead log archived in segments beside it, a second server that recovers
to an instant, and the function pointed to it. What RDS does by itself in between is done here by PostgreSQL's own
programs, so the times are those of this machine; what is lost and what comes back is the same.
https://www.postgresql.org/docs/16/continuous-archiving.html

The program fails if a write from before the instant is missing, if anybody erased is still there at the end, or if
nobody erased was back before the replay, because then it would have shown nothing. It writes docs/bench/restore.md.
``ARGS="--events 1500000"`` makes the record larger.
"""

import argparse
import contextlib
import io
import os
import platform
import secrets
import sys
import tempfile
import textwrap
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from checks.bench.growth.record import Record
from checks.gateway import Gateway
from checks.object_store import ERASURES
from checks.stack import Stack, end_in_order, forget, free_port, migrate, stack
from local.servers.home import Home
from local.servers.postgres import SUPERUSER, Cluster, binaries
from ops.errors import UserError
from ops.output import say
from ops.replay import read_journal, script

ROOT = Path(__file__).resolve().parents[1]
REPORT = ROOT / "docs" / "bench" / "restore.md"
ARCHIVE_SECONDS = 5
"""A segment of the log is archived at the latest after so long. RDS uploads it every five minutes:
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIT.html"""
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_UNFINISHED = ".part"
_WAIT_SECONDS = 600
_CONSENT = "email_notifications"
_UNAVAILABLE = 500


@dataclass
class Written:
    """What the API acknowledged in one span of the drill: ids of users and events, and addresses of erased people."""

    users: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    erased: list[str] = field(default_factory=list)
    refused: int = 0
    """Requests answered with 5xx."""

    @property
    def number(self) -> int:
        """Acknowledged writes."""
        return len(self.users) + len(self.events) + len(self.erased)


@dataclass
class Outcome:
    """What the drill found; times in seconds, sizes in MiB."""

    record: int
    """Events before the backup."""
    segment: str = ""
    """Segment of the write-ahead log in which the table is dropped: recovery needs the log up to there."""
    backup_mib: float = 0
    log_mib: float = 0
    before: Written = field(default_factory=Written)
    """Between the backup and the instant that is restored."""
    after: Written = field(default_factory=Written)
    """Between that instant and the end of writing."""
    lost_seconds: float = 0
    """From the instant to the last write that was acknowledged after it."""
    missing: int = 0
    """Writes from before the instant that the restored database does not have."""
    erased: int = 0
    """People erased, before the backup or later."""
    back: int = 0
    """Those whom the restored database had again before the replay, by address."""
    left: int = 0
    """The same after the replay."""
    replay: Counter[str] = field(default_factory=Counter)
    differing: int = 0
    """Current choices that differ from a replay of the events."""
    backup_seconds: float = 0
    steps: dict[str, float] = field(default_factory=dict)
    """Seconds of each step between the discovery and the first good answer."""

    @property
    def restored_seconds(self) -> float:
        """Seconds from the discovery to the first good answer: what RTO means."""
        return sum(self.steps.values())


class _Vault:
    """Where the base backup and the log go, in a directory that the servers' account may write to."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.home = Home.of(state)
        self.base = self.home.directory / "base"
        self.log = self.home.directory / "wal"
        self.home.run(["mkdir", "-p", self.log])

    @property
    def settings(self) -> dict[str, str]:
        """Settings of a server that archives here. A segment has its name only once all of it is there."""
        part = f"{self.log}/%f{_UNFINISHED}"
        return {
            "max_wal_senders": "2",
            "archive_mode": "on",
            "archive_command": f"'test ! -f {self.log}/%f && cp %p {part} && mv {part} {self.log}/%f'",
            "archive_timeout": str(ARCHIVE_SECONDS),
        }

    def back_up(self, cluster: Cluster) -> None:
        """Take a base backup of a running server."""
        self.home.run(
            [
                *(binaries() / "pg_basebackup", "--pgdata", self.base, "--wal-method", "none", "--checkpoint", "fast"),
                *("--host", cluster.home.directory, "--port", str(cluster.port), "--username", SUPERUSER),
                "--no-manifest",
            ]
        )

    def wait_for(self, segment: str) -> None:
        """Wait until a segment of the log is archived."""
        deadline = time.monotonic() + _WAIT_SECONDS
        while not (self.log / segment).exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{segment} of the write-ahead log was not archived within {_WAIT_SECONDS} s")
            time.sleep(0.05)

    def remove(self) -> None:
        """Remove everything."""
        self.home.remove(self._state)


def _mib(directory: Path) -> float:
    # What is being copied gets another name at any instant.
    files = (file for file in directory.rglob("*") if file.suffix != _UNFINISHED and file.is_file())
    return sum(file.stat().st_size for file in files) / 2**20


def _write(api: Gateway, written: Written, seconds: float) -> None:
    """Register people, record their choices and erase every third of them, for a while and at least six times."""
    end, number = time.monotonic() + seconds, 0
    while number < 6 or time.monotonic() < end:
        number += 1
        address = f"drill-{uuid.uuid4().hex}@example.com"
        made = api.post("/v1/users", {"email": address})
        if made.status >= _UNAVAILABLE:
            written.refused += 1
            continue
        user = made.json["id"]
        written.users.append(user)
        choice = {"user": {"id": user}, "consents": [{"id": _CONSENT, "enabled": True}]}
        answer = api.post("/v1/events", choice)
        if answer.status >= _UNAVAILABLE:
            written.refused += 1
        else:
            written.events.append(answer.json["id"])
        if number % 3 == 0:
            if api.delete(f"/v1/users/{user}").status >= _UNAVAILABLE:
                written.refused += 1
            else:
                written.erased.append(address)


def _register(api: Gateway, number: int) -> list[str]:
    """Register people and record a choice of each; return their addresses."""
    addresses = [f"drill-{uuid.uuid4().hex}@example.com" for _ in range(number)]
    for address in addresses:
        user = {"id": api.post("/v1/users", {"email": address}).json["id"]}
        api.post("/v1/events", {"user": user, "consents": [{"id": _CONSENT, "enabled": True}]})
    return addresses


def _erase(api: Gateway, cluster: Cluster, addresses: list[str], written: Written) -> None:
    for line in cluster.psql(f"SELECT id, email FROM pmp.subject WHERE email IN ({_list(addresses)})").splitlines():
        user, address = line.split("|")
        api.delete(f"/v1/users/{user}")
        written.erased.append(address)


def _list(values: list[str]) -> str:
    return ", ".join(f"'{value}'" for value in values) or "NULL"


def _count(cluster: Cluster, table: str, column: str, values: list[str]) -> int:
    return int(cluster.psql(f"SELECT count(*) FROM pmp.{table} WHERE {column} IN ({_list(values)})"))


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    seconds[name] = time.monotonic() - began
    say(f"{name}: {seconds[name]:.1f} s", "dim")


@contextmanager
def _function(running: Stack, port: int) -> Iterator[Gateway]:
    """Yield the function's API with the pooler on ``port``, as the proxy that leads to another instance."""
    before = dict(os.environ)
    os.environ.update(running.environment | {"PMP_DATABASE_PORT": str(port)})
    forget()
    try:
        # The function's log has a traceback for each request that the damage fails.
        with contextlib.redirect_stdout(io.StringIO()):
            yield Gateway()
    finally:
        forget()
        os.environ.clear()
        os.environ.update(before)


def _smoke(api: Gateway) -> None:
    address = f"drill-smoke-{uuid.uuid4().hex}@example.com"
    ready = api.get("/v1/ready").status
    user = api.post("/v1/users", {"email": address}).json["id"]
    made = api.post("/v1/events", {"user": {"id": user}, "consents": [{"id": _CONSENT, "enabled": True}]}).status
    choices = {one["id"]: one["enabled"] for one in api.get(f"/v1/users/{user}").json["consents"]}
    erased = api.delete(f"/v1/users/{user}").status
    if (ready, made, choices.get(_CONSENT), erased // 100) != (200, 201, True, 2):
        raise RuntimeError(f"the restored database does not serve: {ready}, {made}, {choices}, {erased}")


def _differing(cluster: Cluster, users: list[str]) -> int:
    """Count choices in which the projection differs from a replay of the events, for some users."""
    return int(
        cluster.psql(
            f"""
            WITH person AS (
              SELECT s.subject_key FROM pmp.subject AS s
              WHERE s.erased_at IS NULL AND (s.id IN ({_list(users)}) OR s.subject_key % 100 = 0)
            ), replayed AS (
              SELECT r.* FROM person AS p CROSS JOIN LATERAL pmp.replay(p.subject_key) AS r
            ), current AS (
              SELECT c.* FROM pmp.current_choice AS c JOIN person USING (subject_key)
            )
            SELECT count(*) FROM (
              (SELECT * FROM replayed EXCEPT SELECT * FROM current)
              UNION ALL (SELECT * FROM current EXCEPT SELECT * FROM replayed)
            ) AS difference
            """
        )
    )


def drill(directory: Path, events: int, seconds: float) -> Outcome:
    """Run the drill.

    Args:
        directory: for the backup and the second server; left empty.
        events: in the record before the backup.
        seconds: for which requests arrive before the damage; a fifth of it passes until the damage is found.
    """
    found = Outcome(events)
    vault = _Vault(directory / "vault")
    try:
        with stack(settings=_DURABLE | vault.settings) as running:
            instant, erased = _lose(running, vault, found, seconds)
            say(f"found that a table is gone; restoring {instant}")
            with _second_server(running, vault, directory / "restored", instant) as restored:
                _restore(running, vault, restored, found, erased)
    finally:
        vault.remove()
    return found


def _lose(running: Stack, vault: _Vault, found: Outcome, seconds: float) -> tuple[str, list[str]]:
    """Back up, write, drop a table, and write on; return the instant before, and the addresses of all erased people."""
    cluster = running.cluster
    for number in Record(running).fill(found.record):
        say(f"{number:,} events", "dim")
    with _function(running, running.bouncer.port) as api:
        # Erased before the backup, before the instant and after it.
        people = [_register(api, 5) for _ in range(3)]
        _erase(api, cluster, people[0], Written())
        began = time.monotonic()
        vault.back_up(cluster)
        found.backup_seconds, found.backup_mib = time.monotonic() - began, _mib(vault.base)
        _erase(api, cluster, people[1], found.before)
        _write(api, found.before, seconds)
        instant = cluster.psql("SELECT clock_timestamp()")
        counted = datetime.now(UTC)
        cluster.psql("SET client_min_messages = error; DROP TABLE pmp.event CASCADE")
        found.segment = cluster.psql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")
        _erase(api, cluster, people[2], found.after)
        _write(api, found.after, seconds / 5)
        found.lost_seconds = (datetime.now(UTC) - counted).total_seconds()
    return instant, people[0] + found.before.erased + found.after.erased


@contextmanager
def _second_server(running: Stack, vault: _Vault, directory: Path, instant: str) -> Iterator[Cluster]:
    """Yield a server that is not started and will recover to an instant; destroy it at the end."""
    recovery = {
        # Recovery needs as many as the server had that wrote the log.
        "max_wal_senders": vault.settings["max_wal_senders"],
        "restore_command": f"'cp {vault.log}/%f %p'",
        "recovery_target_time": f"'{instant}'",
        "recovery_target_action": "'promote'",
    }
    first = running.cluster
    server = Cluster(directory, free_port(), first.certificate, first.authority, settings=_DURABLE | recovery)
    try:
        yield server
    finally:
        server.destroy()


def _restore(running: Stack, vault: _Vault, restored: Cluster, found: Outcome, erased: list[str]) -> None:
    """Restore into the second server, and bring it to where it may serve."""
    with _timed(found.steps, "wait until the log is archived"):
        vault.wait_for(found.segment)
    with _timed(found.steps, "copy the base backup"):
        restored.home.run(["cp", "--archive", vault.base, restored.data])
        restored.home.run(["touch", restored.data / "recovery.signal"])
    with _timed(found.steps, "start the second server and replay the log"):
        restored.start(_WAIT_SECONDS)
        while restored.psql("SELECT pg_is_in_recovery()") == "t":
            time.sleep(0.05)
    found.log_mib = _mib(vault.log)
    found.missing = sum(
        len(values) - _count(restored, table, "id", values)
        for table, values in (("subject", found.before.users), ("event", found.before.events))
    )
    found.erased = len(erased)
    found.back = _count(restored, "subject", "email_key", erased)
    password = secrets.token_hex(16)
    with _timed(found.steps, "roles, passwords, schema"):
        migrate(restored, running.authority, password)
    with _timed(found.steps, "replay the journal of erasures"), _function(running, running.bouncer.port):
        known = restored.psql("SELECT user_id FROM pmp.erasure").split()
        lines = restored.psql(script(list(read_journal(ERASURES, known))), role="pmp_migrator").splitlines()
        found.replay = Counter({line.split("|")[0]: int(line.split("|")[1]) for line in lines})
    found.left = _count(restored, "subject", "email_key", erased)
    with _timed(found.steps, "point the function to it, smoke test"):
        pooler = replace(
            running.bouncer, directory=restored.directory / "pooler", port=free_port(), server_port=restored.port
        )
        try:
            pooler.set_password(password)
            pooler.start()
            with _function(running, pooler.port) as api:
                _smoke(api)
        finally:
            pooler.destroy()
    found.differing = _differing(restored, found.before.users)


def require(found: Outcome) -> None:
    """Refuse an outcome that a restore must not have.

    Raises:
        UserError: something is missing, somebody erased is there, or the drill showed nothing.
    """
    wrong = [
        sentence
        for is_wrong, sentence in (
            (found.missing, f"{found.missing} writes from before the restored instant are missing"),
            (found.left, f"{found.left} erased people are there after the replay of the erasures"),
            (found.differing, f"{found.differing} current choices differ from their events"),
            (not found.back, "nobody erased was back before the replay: the drill has shown nothing"),
        )
        if is_wrong
    ]
    if wrong:
        raise UserError("; ".join(wrong))


def report(found: Outcome, load: float) -> str:
    """Return the report."""
    steps = "\n".join(f"| {name} | {seconds:.1f} |" for name, seconds in found.steps.items())
    outcomes = ", ".join(f"{number} {outcome}" for outcome, number in sorted(found.replay.items()))
    text = f"""# A lost table, restored

`make restore-drill`: the real function writes to PostgreSQL. A base backup is taken, the write-ahead log is archived
at least every {ARCHIVE_SECONDS} seconds. People are erased before the backup, before the table is dropped and after it.
Then `DROP TABLE pmp.event CASCADE`; a while later somebody notices. A second server is restored to the instant before
the drop, the journal of erasures is replayed, and the function is pointed to it.

## What was lost

| | |
|---|--:|
| events in the record before the backup | {found.record:,} |
| writes acknowledged between the backup and the restored instant | {found.before.number:,} |
| **of them missing after the restore** | {found.missing} |
| writes acknowledged after the instant, which no restore to it has | {found.after.number:,} |
| **RPO: seconds between the instant and the end of writing** | {found.lost_seconds:.1f} |
| requests refused with 5xx meanwhile | {found.after.refused:,} |
| current choices that differ from their events | {found.differing} |

A restore to an instant loses what came after it, so the RPO of a dropped table is the time until somebody notices. If
the server itself is lost, it is the age of the newest archived segment: at most {ARCHIVE_SECONDS} seconds here, about
five minutes in RDS.

## Erased people

| | |
|---|--:|
| erased, in all | {found.erased} |
| back in the restored database | {found.back} |
| **still there after the replay** | {found.left} |

The replay's own words: {outcomes}.

## How long it took

| step | seconds |
|---|--:|
{steps}
| **RTO: from the discovery to the first good answer** | {found.restored_seconds:.1f} |

The base backup of {found.backup_mib:,.0f} MiB took {found.backup_seconds:.1f} s, the archived log has
{found.log_mib:,.0f} MiB. RDS makes the second server by itself, which takes it tens of minutes; the steps after it are
the same.

Machine: {platform.machine()}, {os.cpu_count()} cores, PostgreSQL {binaries().parent.name}. Load before the run
{load:.1f}, after it {os.getloadavg()[0]:.1f}.
"""
    paragraphs = text.strip().split("\n\n")
    filled = (one if one.startswith(("|", "#")) else textwrap.fill(one, 120) for one in paragraphs)
    return "\n\n".join(filled) + "\n"


def main() -> None:
    """Run the drill and write the report."""
    parser = argparse.ArgumentParser(prog="make restore-drill", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=500_000, help="in the record before the backup")
    parser.add_argument("--seconds", type=float, default=20, help="of requests before the damage")
    arguments = parser.parse_args()
    end_in_order()
    sys.path.insert(0, str(ROOT / "lambda"))
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="pmp-drill-") as directory:
        found = drill(Path(directory), arguments.events, arguments.seconds)
    require(found)
    REPORT.write_text(report(found, load))
    say(
        f"RPO {found.lost_seconds:.1f} s ({found.after.number} writes after the instant), "
        f"RTO {found.restored_seconds:.1f} s, {found.back} erased people back, {found.left} after the replay",
        "bold",
    )


if __name__ == "__main__":
    main()
