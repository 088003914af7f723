"""A PostgreSQL cluster that stands in for one RDS instance.

Like RDS, it has TLS, SCRAM passwords, a master user ``pmp_admin`` that is not a superuser, and a database ``pmp``.
Unlike RDS, it listens on 127.0.0.1 only, and the real superuser can connect through a Unix socket in a directory that
only the server's account can enter.
"""

import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from local.processes import end, live_pid, working_in
from local.servers.certificates import Authority, Certificate
from local.servers.home import Home

MASTER = "pmp_admin"
DATABASE = "pmp"
SUPERUSER = "postgres"

# Small settings: a laptop runs up to four clusters next to everything else.
_SETTINGS = {
    "max_connections": "112",
    "shared_buffers": "'64MB'",
    "maintenance_work_mem": "'32MB'",
    "max_wal_size": "'512MB'",
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    # For a standby, or a base backup of a running platform.
    "max_wal_senders": "4",
    # As on RDS. With "minimal", a killed server forgets how far it counted a sequence that was made and used in one
    # transaction, as migrations do, and gives the same keys again.
    "wal_level": "'replica'",
    # As modules/database has it: full pages in the WAL are most of what an event writes.
    "wal_compression": "'zstd'",
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "log_line_prefix": "'%m [%p] %q%u@%d '",
    "log_lock_waits": "on",
    "log_error_verbosity": "terse",
    "log_min_duration_statement": "'2s'",
    # Parameters are personal data.
    "log_parameter_max_length": "0",
}


def binaries() -> Path:
    """Return the directory of the programs of the newest installed PostgreSQL server.

    Raises:
        FileNotFoundError: no server is installed.
    """
    found = {path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")}
    if not found:
        raise FileNotFoundError("no PostgreSQL server under /usr/lib/postgresql: install the package postgresql")
    return max(found, key=lambda path: int(path.parent.name))


@dataclass(frozen=True)
class Cluster:
    """One PostgreSQL server.

    Attributes:
        directory: its state folder (as root the data are elsewhere, see ``local.servers.home``).
        port: on 127.0.0.1.
        certificate: the server's certificate, valid for the names and addresses that clients connect to.
        authority: the issuer of the certificate.
        log_path: where the server's output goes; default ``<directory>/postgres.log``.
        settings: more lines of postgresql.conf, values quoted as there.
        preload: a shared library that the server loads before all others (ld.so(8), LD_PRELOAD); None for none.
    """

    directory: Path
    port: int
    certificate: Certificate
    authority: Authority
    log_path: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    preload: bytes | None = None

    @cached_property
    def home(self) -> Home:
        """The directory of the server's files, and the account that it runs as."""
        return Home.of(self.directory)

    @property
    def data(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.home.directory / "data"

    @property
    def pid(self) -> int | None:
        """The server's process id, or None if it is not running."""
        pid = live_pid(self._pid_path, "postgres")
        # After a reboot, the server of another cluster may have this process id.
        return pid if pid in working_in(self.data) else None

    @property
    def is_running(self) -> bool:
        """Whether the server's process is running."""
        return self.pid is not None

    def create(self) -> None:
        """Create the cluster's files if there are none; otherwise change nothing."""
        if (self.data / "global" / "pg_control").exists():
            return
        # initdb refuses the incomplete directory of an interrupted run, so it works next to the final directory.
        unfinished = self.home.directory / "data.unfinished"
        self.home.run(["rm", "-rf", unfinished])
        self.home.run(
            [
                *(binaries() / "initdb", "--pgdata", unfinished, "--username", SUPERUSER, "--encoding", "UTF8"),
                *("--locale", "C.UTF-8", "--auth", "trust", "--data-checksums", "--no-sync"),
            ]
        )
        unfinished.rename(self.data)

    def start(self, timeout_seconds: float = 30) -> None:
        """Start the server and wait until it answers; create it first if needed. No-op if it is running.

        Raises:
            RuntimeError: it ended or did not answer in time; the message quotes the last line of its log.
        """
        if self.is_running:
            return
        self._clear_remains(time.monotonic() + timeout_seconds)
        self.create()
        self._configure()
        log_path = self.log_path or self.directory / "postgres.log"
        command: list[str | Path] = [binaries() / "postgres", "-D", self.data]
        if self.preload is not None:
            command = ["env", f"LD_PRELOAD={self.home.write('preload.so', self.preload)}", *command]
        server = self.home.spawn(command, log_path)
        deadline = time.monotonic() + timeout_seconds
        while not self._answers():
            if server.poll() is not None or time.monotonic() > deadline:
                last = ["", *log_path.read_text(errors="replace").splitlines()][-1]
                raise RuntimeError(f"PostgreSQL on port {self.port} did not start: {last} (see {log_path})")
            time.sleep(0.05)
        self._ensure_master()

    def stop(self, timeout_seconds: float = 30) -> None:
        """Stop the server, closing its clients' connections; no-op if it is not running."""
        if (pid := self.pid) is not None:
            end(pid, signal.SIGINT, timeout_seconds)

    def kill(self) -> None:
        """Kill the server as a power cut would; the next start recovers from the write-ahead log."""
        if (pid := self.pid) is not None:
            end(pid, signal.SIGQUIT, 30)

    def destroy(self) -> None:
        """Stop the server and remove its files."""
        self.stop()
        self.home.remove(self.directory)

    def psql(self, sql: str, *, database: str = DATABASE, role: str | None = None) -> str:
        """Run SQL as the superuser (or as ``role``) over the private socket, and return the rows as text.

        Args:
            sql: one or more statements; sent on standard input, so it may hold secrets.
            database: where to run it.
            role: role to ``SET ROLE`` to first; None stays the superuser.

        Returns:
            Rows as lines, columns separated by ``|``, no header.

        Raises:
            RuntimeError: a statement failed.
        """
        return self.home.run(
            [
                # The psql on PATH is Debian's script, which looks for a version first: four times the processor time.
                *(binaries() / "psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only"),
                *("--set", "ON_ERROR_STOP=1"),
                *("--host", self.home.directory, "--port", str(self.port), "--username", SUPERUSER),
                *("--dbname", database),
            ],
            stdin=f"SET ROLE {_identifier(role)};\n{sql}" if role else sql,
        ).strip()

    def set_password(self, role: str, password: str) -> None:
        """Give a role its password, as RDS does for the master with the secret that it manages."""
        # Keep the password out of the log even if the statement fails: more people read the log than the secrets.
        self.psql(
            "SET log_min_error_statement = panic; SET log_min_duration_statement = -1;\n"
            f"ALTER ROLE {_identifier(role)} PASSWORD {_literal(password)};"
        )

    def url(self, role: str, *, host: str = "127.0.0.1", database: str = DATABASE) -> str:
        """Return a libpq URL without a password that verifies the server's certificate."""
        return (
            f"postgresql://{role}@{host}:{self.port}/{database}"
            f"?sslmode=verify-full&sslrootcert={self.authority.bundle_path}"
        )

    @property
    def _pid_path(self) -> Path:
        return self.data / "postmaster.pid"

    def _clear_remains(self, deadline: float) -> None:
        """Wait for the children of a server that was killed, then remove its lock files.

        PostgreSQL takes any process whose id is in its lock files for a running server: another program, or the killed
        server itself until its parent, often init, reaps it.
        """
        while left := working_in(self.data):
            if time.monotonic() > deadline:
                raise RuntimeError(f"process {left[0]} of an earlier server still runs in {self.data}: end it")
            time.sleep(0.05)
        for lock in (self._pid_path, *self.home.directory.glob(".s.PGSQL.*")):
            lock.unlink(missing_ok=True)

    def _configure(self) -> None:
        home = self.home
        home.write("server.crt", self.certificate.cert_path.read_bytes())
        home.write("server.key", self.certificate.key_path.read_bytes())
        settings = _SETTINGS | {
            "listen_addresses": "'127.0.0.1'",
            "port": str(self.port),
            "unix_socket_directories": _literal(str(home.directory)),
            "ssl": "on",
            "ssl_cert_file": _literal(str(home.directory / "server.crt")),
            "ssl_key_file": _literal(str(home.directory / "server.key")),
            "ssl_min_protocol_version": "'TLSv1.2'",
            "password_encryption": "'scram-sha-256'",
            "hba_file": _literal(str(home.directory / "pg_hba.conf")),
        }
        lines = [f"{name} = {value}\n" for name, value in (settings | dict(self.settings)).items()]
        home.write(
            "pg_hba.conf",
            # Only the server's account can enter the socket's directory.
            f"local   all,replication {SUPERUSER} trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n",
        )
        home.write("postgresql.conf", "".join(lines))
        home.run(["cp", home.directory / "postgresql.conf", self.data / "postgresql.conf"])

    def _answers(self) -> bool:
        try:
            self.psql("SELECT 1", database="postgres")
        except RuntimeError:
            return False
        return True

    def _ensure_master(self) -> None:
        if self.psql("SELECT pg_is_in_recovery()", database="postgres") == "t":
            # A standby has what its primary has.
            return
        roles, databases = (
            self.psql(f"SELECT count(*) FROM {catalog} WHERE {column} = '{name}'", database="postgres")  # noqa: S608
            for catalog, column, name in (("pg_roles", "rolname", MASTER), ("pg_database", "datname", DATABASE))
        )
        if roles == "0":
            self.psql(f"CREATE ROLE {MASTER} LOGIN CREATEROLE CREATEDB", database="postgres")
        # As on RDS, where the master's role rds_superuser may: the runbook ends sessions, and reads their statements.
        self.psql(f"GRANT pg_signal_backend, pg_read_all_stats TO {MASTER}", database="postgres")
        if databases == "0":
            self.psql(f"CREATE DATABASE {DATABASE} OWNER {MASTER}", database="postgres")


def _identifier(name: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        raise ValueError(f"{name!r} is not a plain lower-case SQL name")
    return name


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
