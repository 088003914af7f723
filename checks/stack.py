"""PostgreSQL with PMP's schema, PgBouncer in front of it, and a small S3, for tests and benchmarks.

TLS, roles and pooling are as deployed.
"""

import atexit
import contextlib
import functools
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from checks.object_store import BUCKET, ERASURES, KEY_ARN, TOKEN_KEYS_ARN, ObjectStore
from local.servers.certificates import Authority
from local.servers.pgbouncer import Bouncer
from local.servers.postgres import SUPERUSER, Cluster, binaries
from ops import aws

ROOT = Path(__file__).resolve().parents[1]

POOL_SIZE = 10
"""Server connections of PgBouncer, unless a benchmark asks for others."""

CALM = {"autovacuum": "off"}
"""For PostgreSQL. An ANALYZE that nobody asked for is a transaction: until it ends, it holds back the feed, and with
it the exports of events, the deliveries and the retention. It also changes plans between two counts of the blocks that
they touch."""


def free_port(count: int = 1) -> int:
    """Return a loopback port that was free a moment ago, as were those after it.

    The ports are below the system's ephemeral range. A port in that range could become the local end of another
    program's connection before the caller uses it.

    Args:
        count: of the ports that the caller needs, the returned one included.
    """
    while True:
        first = random.randrange(10000, 20000 - count)
        with contextlib.suppress(OSError), contextlib.ExitStack() as servers:
            for port in range(first, first + count):
                servers.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


def missing() -> str | None:
    """Return a message that names the programs a stack needs and that are not installed, or None."""
    wanted = [
        name
        for name in ("sqitch", "psql", "pgbouncer")
        if not shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    ]
    return f"not installed: {', '.join(wanted)}" if wanted else None


@dataclass(frozen=True)
class Stack:
    """The running servers, and the environment variables with which the function reaches them."""

    cluster: Cluster
    bouncer: Bouncer
    authority: Authority
    store: ObjectStore
    app_password: str

    @property
    def environment(self) -> dict[str, str]:
        """The function's environment variables."""
        return {
            "PMP_ENVIRONMENT": "local",
            "PMP_RELEASE": "test",
            "PMP_CODE_SHA256": "0" * 64,
            "PMP_DATABASE_HOST": "127.0.0.1",
            "PMP_DATABASE_PORT": str(self.bouncer.port),
            "PMP_DATABASE_NAME": "pmp",
            "PMP_DATABASE_USER": "pmp_app",
            "PMP_IMPORTS_BUCKET": BUCKET,
            "PMP_JOBS_QUEUE_URL": f"{self.store.url}/000000000000/pmp-local-jobs",
            "PMP_DELIVERIES_QUEUE_URL": f"{self.store.url}/000000000000/pmp-local-deliveries",
            "PMP_LOOPBACK_RECEIVERS": "true",
            "PMP_ERASURES_BUCKET": ERASURES,
            "PMP_ERASURE_KEY_SECRET_ARN": KEY_ARN,
            "PMP_TOKEN_KEY_SECRET_ARN": TOKEN_KEYS_ARN,
            "PMP_BACKUP_RETENTION_DAYS": "7",
            "PMP_UPLOAD_RETENTION_DAYS": "30",
            "AWS_ENDPOINT_URL": self.store.url,
            "SSL_CERT_FILE": str(self.authority.bundle_path),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }

    def blocks(self, statement: str) -> int:
        """Return the number of 8 KiB blocks that a statement of the function touches once its plans are cached.

        The statement runs six times and stays committed: PL/pgSQL keeps a plan from the sixth call on.
        """
        output = self.cluster.psql(
            f"{statement};\n" * 5 + f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement};", role="pmp_app"
        )
        (plan,) = json.loads(output[output.rindex("\n[") :])
        return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


def migrate(cluster: Cluster, authority: Authority, app_password: str) -> None:
    """Create the roles as the master, then deploy the schema as the migrator, as the migration job does."""
    migrator_password = secrets.token_hex(16)
    cluster.set_password("pmp_admin", "master")
    environment = os.environ | {
        # Sqitch starts psql twice for every change, see Cluster.psql.
        "PATH": f"{binaries()}:{os.environ['PATH']}",
        "PGHOST": "127.0.0.1",
        "PGPORT": str(cluster.port),
        "PGDATABASE": "pmp",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(authority.bundle_path),
    }
    script = f"\\set app_password {app_password}\n\\set migrator_password {migrator_password}\n\\i db/roles.sql\n"
    _run(["psql", "-qX"], environment | {"PGUSER": "pmp_admin", "PGPASSWORD": "master"}, ROOT, script)
    migrator = environment | {"PGUSER": "pmp_migrator", "PGPASSWORD": migrator_password}
    _run(["sqitch", "deploy", "--no-verify", "--target", "db:pg:"], migrator, ROOT / "db")


def _run(command: list[str], environment: dict[str, str], directory: Path, text: str | None = None) -> None:
    done = subprocess.run(
        command, env=environment, cwd=directory, input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stdout}\n{done.stderr}")


# It does not survive a crash of the machine.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@functools.cache
def _migrated() -> Path:
    """Return the data directory of a stopped server with the schema, which the stacks of this process copy.

    To create a server and deploy the schema takes 3 s of processor time, and to copy its files a tenth of that.
    """
    directory = Path(tempfile.mkdtemp(prefix="pmp-template-"))
    authority = Authority(directory / "ca")
    certificate = authority.issue("database", ["localhost"], ["127.0.0.1"])
    cluster = Cluster(directory / "postgres", free_port(), certificate, authority, settings=_FAST)

    def remove() -> None:
        cluster.destroy()
        shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    cluster.start()
    migrate(cluster, authority, secrets.token_hex(16))
    cluster.stop()
    return cluster.data


@contextmanager
def stack(
    pool_size: int = POOL_SIZE, settings: dict[str, str] | None = None, preload: bytes | None = None
) -> Iterator[Stack]:
    """Start all servers in a temporary folder; stop them and remove the folder at the end.

    Args:
        pool_size: server connections of PgBouncer.
        settings: PostgreSQL settings that replace the defaults, ``_FAST``.
        preload: a shared library for PostgreSQL, see ``Cluster``.
    """
    directory = Path(tempfile.mkdtemp(prefix="pmp-stack-"))
    authority = Authority(directory / "ca")
    certificate = authority.issue("database", ["localhost"], ["127.0.0.1"])
    cluster = Cluster(
        directory / "postgres",
        free_port(),
        certificate,
        authority,
        settings=_FAST | (settings or {}),
        preload=preload,
    )
    bouncer = Bouncer(directory / "pgbouncer", free_port(), cluster.port, certificate, authority, pool_size=pool_size)
    store = ObjectStore()
    try:
        cluster.home.run(["cp", "--archive", _migrated(), cluster.data])
        cluster.start()
        app_password = secrets.token_hex(16)
        cluster.set_password("pmp_app", app_password)
        bouncer.set_password(app_password)
        bouncer.start()
        yield Stack(cluster, bouncer, authority, store, app_password)
    finally:
        store.shutdown()
        store.server_close()
        bouncer.destroy()
        cluster.destroy()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def standby(first: Cluster, app_password: str, preload: bytes | None = None) -> Iterator[tuple[Cluster, Bouncer]]:
    """Start a streaming standby of a running server, with a pooler in front of it.

    As a reader of Aurora behind the read-only endpoint of RDS Proxy, it repeats what the primary commits.

    Args:
        first: the primary.
        app_password: the password of ``pmp_app``, with which the pooler logs in.
        preload: a shared library for the standby, see ``Cluster``.
    """
    directory = Path(tempfile.mkdtemp(prefix="pmp-standby-"))
    source = f"host={first.home.directory} port={first.port} user={SUPERUSER}"
    server = Cluster(
        directory / "postgres",
        free_port(),
        first.certificate,
        first.authority,
        settings=dict(first.settings) | {"primary_conninfo": f"'{source}'", "hot_standby": "on"},
        preload=preload,
    )
    bouncer = Bouncer(directory / "pgbouncer", free_port(), server.port, first.certificate, first.authority)
    try:
        server.home.run([binaries() / "pg_basebackup", "-D", server.data, "-d", source, "-c", "fast", "-X", "stream"])
        server.home.run(["touch", server.data / "standby.signal"])
        server.start()
        bouncer.set_password(app_password)
        bouncer.start()
        yield server, bouncer
    finally:
        bouncer.destroy()
        server.destroy()
        shutil.rmtree(directory, ignore_errors=True)


def forget() -> None:
    """Have the function and ``ops`` in this process read environment, secrets and addresses again, as new ones do."""
    # Here, because lambda/ is on the path only of those who run the function.
    from pmp import configuration, database, erasures, objects, person_tokens, readers, tasks, vault
    from pmp.deliveries import chain

    kept = (configuration.configuration, database.tls, objects.client, erasures._client, erasures.key, vault._client)
    for cached in (*kept, tasks._queue, chain._queue, aws.client):
        cached.cache_clear()
    person_tokens.forget_keys()
    readers.forget()
    database.disconnect()


def end_in_order() -> None:
    """Make SIGTERM raise ``SystemExit``, so that the program stops and removes everything that it started."""

    def stop(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)


def main() -> None:
    """Run a command with the environment variables of a new stack: ``python -m checks.stack COMMAND …``."""
    end_in_order()
    with stack() as running:
        command = subprocess.Popen(sys.argv[1:], env=os.environ | running.environment)
        try:
            raise SystemExit(command.wait())
        finally:
            command.terminate()
            command.wait(timeout=10)


if __name__ == "__main__":
    main()
