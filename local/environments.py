"""The servers that replace RDS and RDS Proxy of one environment (local, dev, staging, prod) on a laptop."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from local import processes
from local.instance import HOSTED_ZONE_NAME, Instance
from local.servers.certificates import Authority
from local.servers.pgbouncer import Bouncer
from local.servers.postgres import Cluster
from ops import files, plans
from ops.errors import UserError
from ops.settings import ENVIRONMENTS, LAPTOP_ENVIRONMENT, PROMOTED_ENVIRONMENTS, ROOT

_HOST = "localhost"
UNCHANGED_PLAN = ROOT / "local" / "ministack" / plans.UNCHANGED_PLAN
"""List of the differences that plans show on the emulator although nothing changes."""


@dataclass(frozen=True)
class Environment:
    """PostgreSQL and PgBouncer of one environment, and the variables that point Terraform at them."""

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
        """The PgBouncer in front of the PostgreSQL server."""
        return Bouncer(
            self.instance.directory / "pgbouncer" / self.name,
            self.instance.pgbouncer_port(self.name),
            self.cluster.port,
            self._authority.issue("pgbouncer", [_HOST], ["127.0.0.1"]),
            self._authority,
            log_path=self.instance.logs / f"pgbouncer-{self.name}.log",
        )

    def up(self) -> bool:
        """Start both servers unless they run, and write the variables; return whether anything was started.

        Raises:
            UserError: a port is taken, or a server does not start.
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
                raise UserError(str(error)) from error
            started = True
        return started

    def require_free_ports(self) -> None:
        """Check that no other program listens on the ports, without creating anything.

        Raises:
            UserError: a port is taken.
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

    def stop(self) -> bool:
        """Stop both servers and remove their files; return whether anything was running."""
        ran = self.bouncer.is_running or self.cluster.is_running
        self.bouncer.destroy()
        self.cluster.destroy()
        return ran

    @property
    def exists(self) -> bool:
        """Whether this environment was started before in this instance."""
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
        "loopback_receivers": environment == LAPTOP_ENVIRONMENT,
    }
    _write_json(instance.platform_directory / f"{environment}.tfvars.json", {"platform": platform})


def write_account_variables(instance: Instance, own: Mapping[str, object] | None = None) -> None:
    """Write the variables of the account layer and the emulator's accepted differences to ``platform/``.

    Args:
        instance: whose platform directory is written to.
        own: the variables of an account that does not hold all environments.
    """
    variables = own or {
        "environments": ENVIRONMENTS,
        # The jobs of the pipeline's first environment publish, and so does 'make up'.
        "publishing_environments": [PROMOTED_ENVIRONMENTS[0], LAPTOP_ENVIRONMENT],
    }
    common = {"hosted_zone_name": HOSTED_ZONE_NAME, "platform": {"s3_use_path_style": True}}
    _write_json(instance.platform_directory / "account.tfvars.json", common | dict(variables))
    files.replace(instance.platform_directory / plans.UNCHANGED_PLAN, UNCHANGED_PLAN.read_text())


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=2) + "\n"
    # An unchanged file is not written again, so that it keeps its modification time.
    if not path.exists() or path.read_text() != text:
        files.replace(path, text)
