"""PgBouncer as the stand-in for RDS Proxy: transaction pooling, TLS both ways, the proxy's pool size.

The one thing it cannot do is verify an IAM token. Instead, a rule lets ``pmp_app`` and no other role log in over TLS
from loopback without a password. The login to PostgreSQL uses the password in the application secret, as RDS Proxy
does.
"""

import os
import signal
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from local.processes import end, live_pid, port_is_open
from local.servers.certificates import Authority, Certificate
from local.servers.home import Home
from local.servers.postgres import DATABASE

USER = "pmp_app"


@dataclass(frozen=True)
class Bouncer:
    """One PgBouncer in front of one PostgreSQL server.

    Attributes:
        directory: its state folder (as root its files are elsewhere, see ``local.servers.home``).
        port: on 127.0.0.1.
        server_port: PostgreSQL's, on 127.0.0.1.
        certificate: the certificate shown to clients.
        authority: the issuer of PostgreSQL's certificate.
        pool_size: maximum number of server connections, derived from RDS Proxy's ``max_connections_percent``.
        borrow_timeout_seconds: how long a client waits for a connection (``connection_borrow_timeout``).
        log_path: where its output goes; default ``<directory>/pgbouncer.log``.
    """

    directory: Path
    port: int
    server_port: int
    certificate: Certificate
    authority: Authority
    pool_size: int = 20
    borrow_timeout_seconds: int = 4
    log_path: Path | None = None

    @cached_property
    def home(self) -> Home:
        """The directory of its files, and the account that it runs as."""
        return Home.of(self.directory)

    @property
    def pid(self) -> int | None:
        """Its process id, or None if it is not running."""
        return live_pid(self.home.directory / "pgbouncer.pid", "pgbouncer")

    @property
    def is_running(self) -> bool:
        """Whether its process is running."""
        return self.pid is not None

    def set_password(self, password: str) -> None:
        """Store the password with which ``pmp_app`` logs in to PostgreSQL; takes effect at once if running."""
        quoted = password.replace('"', '""')
        self.home.write("users.txt", f'"{USER}" "{quoted}"\n')
        self.reload()

    def start(self, timeout_seconds: float = 10) -> None:
        """Start it and wait until its port accepts connections; no-op if it is running.

        Raises:
            RuntimeError: it ended or did not listen in time; the message quotes the last line of its log.
        """
        if self.is_running:
            return
        self._configure()
        (self.home.directory / "pgbouncer.pid").unlink(missing_ok=True)
        log_path = self.log_path or self.directory / "pgbouncer.log"
        server = self.home.spawn(["pgbouncer", self.home.directory / "pgbouncer.ini"], log_path)
        deadline = time.monotonic() + timeout_seconds
        while not (self.is_running and port_is_open(self.port)):
            if server.poll() is not None or time.monotonic() > deadline:
                last = ["", *log_path.read_text(errors="replace").splitlines()][-1]
                raise RuntimeError(f"PgBouncer on port {self.port} did not start: {last} (see {log_path})")
            time.sleep(0.02)

    def reload(self) -> None:
        """Let it read its files again; no-op if it is not running."""
        if (pid := self.pid) is not None:
            os.kill(pid, signal.SIGHUP)

    def stop(self, timeout_seconds: float = 10) -> None:
        """Stop it at once, closing clients' connections; no-op if it is not running."""
        if (pid := self.pid) is not None:
            end(pid, signal.SIGTERM, timeout_seconds)

    def destroy(self) -> None:
        """Stop it and remove its files."""
        self.stop()
        self.home.remove(self.directory)

    def _configure(self) -> None:
        home = self.home
        home.write("client.crt", self.certificate.cert_path.read_bytes())
        home.write("client.key", self.certificate.key_path.read_bytes())
        home.write("authority.pem", self.authority.bundle_path.read_bytes())
        home.write("hba.conf", f"hostssl {DATABASE} {USER} 127.0.0.1/32 trust\n")
        if not (home.directory / "users.txt").exists():
            home.write("users.txt", "")
        home.write(
            "pgbouncer.ini",
            f"""[databases]
{DATABASE} = host=127.0.0.1 port={self.server_port} dbname={DATABASE}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
pidfile = {home.directory}/pgbouncer.pid
pool_mode = transaction
default_pool_size = {self.pool_size}
max_db_connections = {self.pool_size}
max_client_conn = 500
query_wait_timeout = {self.borrow_timeout_seconds}
server_login_retry = 1
server_connect_timeout = {self.borrow_timeout_seconds}
auth_type = hba
auth_hba_file = {home.directory}/hba.conf
auth_file = {home.directory}/users.txt
client_tls_sslmode = require
client_tls_cert_file = {home.directory}/client.crt
client_tls_key_file = {home.directory}/client.key
server_tls_sslmode = verify-full
server_tls_ca_file = {home.directory}/authority.pem
log_connections = 0
log_disconnections = 0
""",
        )
