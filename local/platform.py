"""Bring a whole instance up and down: its phases, their dependencies, and the summary at the end."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from local import phases, processes, services
from local.account import Account
from local.deployment import Deployment
from local.environments import Environment, write_account_variables
from local.instance import Instance
from local.phases import Phase, Report
from local.servers.certificates import Authority
from ops import http
from ops.api import Api
from ops.errors import UserError
from ops.output import shown
from ops.settings import ENVIRONMENTS, LAPTOP_ENVIRONMENT

MEMORY_LIMIT_BYTES = 2 * 1024**3


@contextlib.contextmanager
def alone(instance: Instance) -> Iterator[None]:
    """Hold the instance for this process: one 'make up' or 'make down' at a time.

    Removes the lock file if the instance is gone afterwards, and ``.pmp/`` if it was the last instance.

    Raises:
        UserError: another process holds it.
    """
    instance.state_root.mkdir(exist_ok=True)
    path = instance.state_root / f"{instance.name}.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"process {lock.read().strip() or '?'} is bringing instance {instance.name!r} up or down: wait for it "
                "or stop it with Ctrl-C there"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        try:
            yield
        finally:
            if not instance.directory.exists():
                path.unlink(missing_ok=True)
                if not any(instance.state_root.iterdir()):
                    instance.state_root.rmdir()


class Platform:
    """One instance with its account and environments."""

    def __init__(self, instance: Instance, console: Console) -> None:
        self.instance = instance
        self.console = console
        self.account = Account(instance)

    def environment(self, name: str) -> Environment:
        """Return the servers of one environment.

        Raises:
            UserError: there is no such environment.
        """
        if name not in ENVIRONMENTS:
            raise UserError(f"environment {name!r} does not exist: use {', '.join(ENVIRONMENTS)}")
        return Environment(self.instance, name)

    # -- up ------------------------------------------------------------------------------------------------------

    def up(self, environment_name: str) -> dict[str, float]:
        """Start, deploy and test everything that is not yet up to date; return seconds by phase."""
        environment = self.environment(environment_name)
        with alone(self.instance):
            self._require_free_ports([environment])
            self._begin()
            deployment = Deployment(self.instance, self.account, environment)
            return phases.run(self._phases(deployment), self.console, deployment.interrupt)

    def start_environments(self, names: list[str]) -> None:
        """Start the servers of ``names`` and write their variables, without deploying anything."""
        chosen = [self.environment(name) for name in names]
        with alone(self.instance):
            self._require_free_ports(chosen)
            self._begin()
            for environment in chosen:
                environment.up()

    def _require_free_ports(self, environments: Sequence[Environment]) -> None:
        """Check the ports before anything is created, because a conflict would fail halfway.

        Raises:
            UserError: the instance runs on other ports, or another program listens on one of the ports.
        """
        instance = self.instance
        if instance.recorded_port_base not in {None, instance.port_base} and self.running():
            raise UserError(
                f"instance {instance.name!r} runs on the ports from {instance.recorded_port_base}: unset PMP_PORT_BASE "
                "or run 'make down' first"
            )
        services.require_free_ports(instance)
        for environment in environments:
            environment.require_free_ports()

    def _begin(self) -> None:
        self.instance.directory.mkdir(parents=True, exist_ok=True)
        self.instance.record_port_base()
        # Created here, because the first phases, which run in parallel, would race to create them.
        Authority(self.instance.ca_file.parent)
        self.account.admin()
        write_account_variables(self.instance)

    def _phases(self, deployment: Deployment) -> list[Phase]:
        return [
            Phase("aws", lambda report: self._start_aws(deployment, report)),
            Phase("registry", lambda _: services.start_registry(self.instance)),
            Phase("third party", lambda _: services.start_vendor_list(self.instance)),
            Phase("database", lambda _: self._start_database(deployment.environment)),
            Phase("package", deployment.package),
            Phase("bootstrap", deployment.bootstrap, ["aws"]),
            Phase("account", self._account(deployment), ["bootstrap", "registry"]),
            Phase("publish", deployment.publish, ["account", "package"]),
            Phase(
                "foundation",
                lambda report: deployment.layer("foundation", "gitlab", report),
                ["account", "database"],
            ),
            Phase("migration", deployment.migrate, ["foundation"]),
            # The plan needs the values of the foundation, not the schema: the function is changed after the migration.
            Phase("service plan", deployment.plan_service, ["foundation", "publish"]),
            Phase("service", deployment.apply_service, ["migration", "service plan", "third party"]),
            Phase("smoke test", deployment.smoke, ["service"]),
        ]

    def _start_aws(self, deployment: Deployment, report: Report) -> str:
        started = self.account.start()
        # After a restart only Terraform can tell what the account holds; notes from before the restart cannot.
        deployment.trusted = not started
        recovered = deployment.recover(report)
        if recovered:
            deployment.trusted = False
        state = "started" if started else "running"
        return f"{state} on port {self.instance.aws_port}" + (f"; {recovered}" if recovered else "")

    def _start_database(self, environment: Environment) -> str:
        started = environment.up()
        return f"{'started' if started else 'running'} on ports {environment.cluster.port}, {environment.bouncer.port}"

    def _account(self, deployment: Deployment) -> phases.Run:
        def run(report: Report) -> str:
            done = deployment.layer("account", "admin", report)
            return f"{done}; {self.account.ensure_keys()}"

        return run

    # -- down ----------------------------------------------------------------------------------------------------

    def down(self) -> list[str]:
        """Stop all processes and remove all files of the instance, even after a crash; return what was stopped.

        Raises:
            UserError: a file belongs to another Unix account.
        """
        with alone(self.instance):
            stopped = []
            account_deployment = Deployment(self.instance, self.account, self.environment(LAPTOP_ENVIRONMENT))
            for journal in account_deployment.journals():
                record = processes.Record(journal.layer, journal.pid, journal.started, 0, "")
                if processes.session_is_alive(record):
                    processes.end_session(record)
                    stopped.append(f"terraform ({journal.layer})")
            stopped += services.stop_all(self.instance)
            # LookupError: without an account to run as, there cannot have been a database.
            with contextlib.suppress(LookupError):
                stopped += [f"database ({name})" for name in ENVIRONMENTS if self.environment(name).stop()]
            try:
                if self.instance.directory.exists():
                    shutil.rmtree(self.instance.directory)
            except OSError as error:
                raise UserError(f"{error.filename} cannot be removed: {error.strerror}") from error
        return stopped

    # -- queries -------------------------------------------------------------------------------------------------

    def running(self) -> list["Running"]:
        """Return every running process of the instance."""
        found = []
        for path in sorted(services.records(self.instance).glob("*.json")):
            record = processes.read(path.parent, path.stem)
            if record and record.process():
                found.append(Running(record.name, record.pid, record.port, processes.memory(record), Path(record.log)))
        for name in ENVIRONMENTS:
            environment = self.environment(name)
            if not environment.exists:
                continue
            for title, server in (("postgres", environment.cluster), ("pgbouncer", environment.bouncer)):
                if (pid := server.pid) is not None:
                    record = processes.of_pid(f"{title} {name}", pid, server.port, str(server.log_path))
                    log = Path(record.log)
                    found.append(Running(record.name, pid, server.port, processes.memory(record), log))
        return found

    def api_url(self, environment: str) -> str:
        """Return the base URL of the API in an environment on its custom domain, without a trailing slash."""
        self.environment(environment)
        return self.account.parameter(f"/pmp/{environment}/service/api_url")

    def door_url(self, environment: str) -> str:
        """Return the base URL on ``localhost`` of a deployed environment's API, without a trailing slash."""
        self.api_url(environment)  # refuses if it is not deployed
        return self.instance.door_url(environment)

    def token(self, environment: str, scope: str = "") -> str:
        """Fetch a bearer token for the smoke test's client; ``scope`` is space-separated, empty for all scopes."""
        self.environment(environment)
        secret = self.account.secret(f"pmp/{environment}/clients/smoke")
        token_url = self.account.parameter(f"/pmp/{environment}/foundation/token_url")
        return http.fetch_token(
            token_url, secret["client_id"], secret["client_secret"], scope=scope, authority=self.instance.ca_file
        )

    def api(self, environment: str) -> Api:
        """Return a client of an environment's API with a token for all scopes."""
        return Api(self.api_url(environment), self.token(environment), self.instance.ca_file)

    def summary(self, environment: str) -> str:
        """Return the text to print when the platform is up."""
        url = self.door_url(environment)
        bundle = shown(self.instance.ca_file)
        chosen = "" if environment == LAPTOP_ENVIRONMENT else f" ENVIRONMENT={environment}"
        prefix = "" if self.instance.name == "local" else f"PMP_INSTANCE={self.instance.name} "
        curl = f"curl --cacert {bundle}"
        bearer = f'-H "Authorization: Bearer $({prefix}make -s token{chosen})"'
        json_type = "-H 'Content-Type: application/json'"
        return "\n".join(
            [
                f"PMP answers on {url}",
                f"  and on {self.api_url(environment)}, its custom domain",
                "",
                f"  page    {url}/docs",
                f"  demo    {prefix}make demo{chosen}   (a person's preference centre)",
                f"  token   {prefix}make -s token{chosen}",
                f'  shell   eval "$({prefix}make -s env{chosen})"   (address, token, CA variables)',
                f"  logs    {prefix}make logs   ({shown(self.instance.logs)}/)",
                f"  stop    {prefix}make down",
                "",
                "Try:",
                f"  {curl} {url}/v1/health",
                f'  {curl} {bearer} {json_type} -d \'{{"email": "ada@example.com"}}\' {url}/v1/users',
                f"  {curl} {bearer} {url}/v1/vendors/1",
            ]
        )


@dataclass(frozen=True)
class Running:
    """A live process as `make status` shows it; ``memory`` in bytes, children included."""

    name: str
    pid: int
    port: int
    memory: int
    log: Path
