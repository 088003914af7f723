"""What one environment (local, dev, staging, prod) has on the laptop in place of its RDS instance and RDS Proxy."""

import json
import shlex
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from local import processes
from local.aws import Account
from local.certificates import Authority
from local.instance import ENVIRONMENTS, HOSTED_ZONE_NAME, ROOT, Instance, PlatformError
from local.pgbouncer import Bouncer
from local.postgres import MASTER, Cluster

_HOST = "localhost"


@dataclass(frozen=True)
class Environment:
    """PostgreSQL and PgBouncer of one environment, and the variables that lead Terraform to them."""

    instance: Instance
    name: str

    @cached_property
    def _authority(self) -> Authority:
        return Authority(self.instance.ca_file.parent)

    @cached_property
    def cluster(self) -> Cluster:
        """The PostgreSQL server."""
        return Cluster(
            self.instance.directory / "postgres" / self.name,
            self.instance.postgres_port(self.name),
            self._authority.issue("postgres", [_HOST], ["127.0.0.1"]),
            self._authority,
            self.instance.logs / f"postgres-{self.name}.log",
        )

    @cached_property
    def bouncer(self) -> Bouncer:
        """The PgBouncer before it."""
        return Bouncer(
            self.instance.directory / "pgbouncer" / self.name,
            self.instance.pgbouncer_port(self.name),
            self.cluster.port,
            self._authority.issue("pgbouncer", [_HOST], ["127.0.0.1"]),
            self._authority,
            log_path=self.instance.logs / f"pgbouncer-{self.name}.log",
        )

    def up(self) -> bool:
        """Start both servers unless they run, and write the variables; whether anything was started.

        Raises:
            PlatformError: a port is taken, or a server does not start.
        """
        self.require_free_ports()
        write_platform_variables(self.instance, self.name)
        started = False
        for server in (self.cluster, self.bouncer):
            if server.is_running:
                continue
            try:
                server.start()
            except (RuntimeError, LookupError, OSError) as error:
                raise PlatformError(str(error)) from error
            started = True
        return started

    def require_free_ports(self) -> None:
        """Refuse ports that another program listens on; makes nothing.

        Raises:
            PlatformError: one is taken.
        """
        running = (
            {server.port for server in (self.cluster, self.bouncer) if server.is_running} if self.exists else set()
        )
        for title, port in (
            ("PostgreSQL", self.instance.postgres_port(self.name)),
            ("PgBouncer", self.instance.pgbouncer_port(self.name)),
        ):
            if port not in running:
                processes.require_free_port(port, f"{title} of {self.name}")

    def attach(self, account: Account) -> None:
        """Give the servers the passwords that foundation's secrets hold, as RDS and RDS Proxy do by themselves.

        Raises:
            PlatformError: foundation is not deployed, or the servers do not run.
        """
        if not (self.cluster.is_running and self.bouncer.is_running):
            raise PlatformError(f"the servers of {self.name} do not run: 'python -m local environment up {self.name}'")
        prefix = f"/pmp/{self.name}/foundation"
        master = account.secret(account.parameter(f"{prefix}/database_master_secret_arn"))
        application = account.secret(account.parameter(f"{prefix}/database_app_secret_arn"))
        self.cluster.set_password(MASTER, master["password"])
        self.bouncer.set_password(application["password"])

    def stop(self) -> bool:
        """Stop both servers and remove their files; whether anything ran."""
        ran = self.bouncer.is_running or self.cluster.is_running
        self.bouncer.destroy()
        self.cluster.destroy()
        return ran

    @property
    def exists(self) -> bool:
        """Whether this environment was ever started in this instance."""
        return any((self.instance.directory / kind / self.name).exists() for kind in ("postgres", "pgbouncer"))


def write_platform_variables(instance: Instance, environment: str) -> None:
    """Write ``platform/<environment>.tfvars.json``: where the emulated platform's endpoints are."""
    trust = {"SSL_CERT_FILE": str(instance.ca_file), "AWS_CA_BUNDLE": str(instance.ca_file)}
    platform = {
        "s3_use_path_style": True,
        "database_host": _HOST,
        "database_port": instance.postgres_port(environment),
        "database_proxy_host": _HOST,
        "database_proxy_port": instance.pgbouncer_port(environment),
        "issuer": None,
        "token_url": f"{instance.aws_url}/oauth2/token",
        "vendor_list_url": instance.vendor_list_url,
        "api_port": instance.aws_port,
        "function_environment": trust | {"AWS_ENDPOINT_URL": instance.aws_url},
    }
    _write_json(instance.platform_directory / f"{environment}.tfvars.json", {"platform": platform})


def write_account_variables(instance: Instance) -> None:
    """Write what the account layer and ``ci`` need: variables, and the hook between foundation and migration."""
    variables = {
        "hosted_zone_name": HOSTED_ZONE_NAME,
        "environments": ENVIRONMENTS,
        "platform": {"s3_use_path_style": True},
    }
    _write_json(instance.platform_directory / "account.tfvars.json", variables)
    hook = instance.platform_directory / "after-foundation"
    text = (
        "#!/bin/sh\n# The database's servers take over the passwords that foundation's secrets hold.\n"
        f"cd {shlex.quote(str(ROOT))} && PMP_INSTANCE={instance.name} PMP_PORT_BASE={instance.port_base} "
        f'exec {shlex.quote(sys.executable)} -m local environment attach "$1"\n'
    )
    _write(hook, text)
    hook.chmod(0o755)


def _write_json(path: Path, content: object) -> None:
    _write(path, json.dumps(content, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text() == text:
        return
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)
