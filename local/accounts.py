"""``make accounts``: from empty accounts to prod, with an emulated AWS account of its own for each environment.

One MiniStack keeps the accounts apart: a request belongs to the account of its access key, and twelve digits as access
key id are an account's root. Everything runs as on AWS: an administrator bootstraps each account and applies its
account layer, then ``gitlab`` of that account deploys. dev's account holds the one deployment bucket, which the other
two read. The instance must not hold anything else: ``make accounts`` uses one of its own.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from botocore.exceptions import ClientError

from local import services
from local.account import Account, Credentials
from local.deployment import Deployment
from local.environments import Environment, write_account_variables
from local.instance import Instance
from local.phases import Report
from local.platform import Platform
from ops import http
from ops.errors import UserError
from ops.output import say
from ops.settings import PROMOTED_ENVIRONMENTS

IDS = {name: str(number) * 12 for number, name in enumerate(PROMOTED_ENVIRONMENTS, 1)}
"""The account of each environment."""
_PUBLISHER = PROMOTED_ENVIRONMENTS[0]


@dataclass(frozen=True)
class OneOfSeveral(Instance):
    """The instance as one of its accounts sees it: with that account's variables and access keys."""

    account_id: str = ""

    @property
    def _own(self) -> Path:
        return self.directory / "accounts" / self.account_id

    @property
    def platform_directory(self) -> Path:
        """The account's variables."""
        return self._own / "platform"

    @property
    def credentials(self) -> Path:
        """The account's access keys."""
        return self._own / "credentials"


class OwnAccount(Account):
    """The account of one environment, which GitLab's users have to themselves."""

    def __init__(self, shared: Account, account_id: str) -> None:
        instance = shared.instance
        super().__init__(OneOfSeveral(instance.name, instance.port_base, instance.state_root, account_id))
        self._root = Credentials(account_id, shared.admin().secret_access_key)

    def admin(self) -> Credentials:
        """Return the root key of this account."""
        return self._root

    def user_names(self) -> list[str]:
        """Return the IAM users of GitLab."""
        return ["gitlab", "gitlab-plan"]

    def user_name(self, identity: str, _environment: str) -> str:
        """Return the IAM user of an identity: there is one environment."""
        return "gitlab" if identity == "gitlab" else "gitlab-plan"


def run(platform: Platform) -> None:
    """Deploy every environment into its own empty account, and check that no account reaches another.

    Raises:
        UserError: the instance is in use, a step failed, or an account reaches what is another's.
    """
    name = platform.instance.name
    if platform.instance.directory.exists():
        raise UserError(f"instance {name!r} exists: remove it with 'PMP_INSTANCE={name} make down'")
    begun = time.monotonic()
    platform.start_environments(list(PROMOTED_ENVIRONMENTS))
    platform.account.start()
    services.start_registry(platform.instance)
    services.start_vendor_list(platform.instance)
    accounts = {name: OwnAccount(platform.account, account_id) for name, account_id in IDS.items()}
    deployments = {name: _deployment(account, name) for name, account in accounts.items()}
    for name, deployment in deployments.items():
        say(f"{name}, account {IDS[name]}", "bold")
        try:
            _doctor(deployment, "before")
            _set_up(deployment, deployments[_PUBLISHER])
            _deliver(deployment)
            _doctor(deployment, "after")
        except KeyboardInterrupt:
            # Ctrl-C does not reach the command, which saves its state before it ends.
            deployment.interrupt()
            raise
    _check_apart(accounts)
    say(f"accounts: {', '.join(IDS)} in {time.monotonic() - begun:.0f} s", "bold")


def _deployment(account: OwnAccount, name: str) -> Deployment:
    environment = Environment(account.instance, name)
    environment.up()  # it runs; this writes the account's own variables
    deployment = Deployment(account.instance, account, environment)
    # Its notes of what is done are for one account.
    deployment.trusted = False
    return deployment


def _step(name: str, do: Callable[[Report], str]) -> None:
    started = time.monotonic()
    done = do(lambda _: None)
    say(f"  ✓ {name:<14} {time.monotonic() - started:6.1f} s  {done}")


def _doctor(deployment: Deployment, when: str) -> None:
    def ask(report: Report) -> str:
        try:
            return deployment.run_ops("admin", ["doctor"], f"doctor-{deployment.environment.name}-{when}", report)
        except UserError as error:
            if when == "after":
                raise
            return str(error).partition(" (log: ")[0]

    _step(f"doctor {when}", ask)


def _set_up(deployment: Deployment, publisher: Deployment) -> None:
    """Do what an administrator does once in an account."""
    name, account = deployment.environment.name, deployment.account
    others = [account_id for environment, account_id in IDS.items() if environment != _PUBLISHER]
    if deployment is publisher:
        readers = [word for account_id in others for word in ("--reader-account", account_id)]
        variables: dict[str, object] = {"publishing_environments": [name], "code_reader_account_ids": others}
    else:
        readers = []
        bucket = publisher.account.parameter("/pmp/account/deployment_bucket_name")
        key = publisher.account.parameter("/pmp/bootstrap/kms_key_arn")
        variables = {"deployment_bucket": {"name": bucket, "kms_key_arn": key}}
    write_account_variables(deployment.instance, {"environments": [name], **variables})
    _step("bootstrap", lambda report: deployment.run_ops("admin", ["bootstrap", *readers], f"bootstrap-{name}", report))
    _step("account", lambda report: f"{deployment.layer('account', 'admin', report)}; {account.ensure_keys()}")


def _deliver(deployment: Deployment) -> None:
    """Do what the pipeline does with the keys of this account's ``gitlab``."""
    if deployment.environment.name == _PUBLISHER:
        _step("package", deployment.package)
        _step("publish", deployment.publish)
    _step("foundation", lambda report: deployment.layer("foundation", "gitlab", report))
    _step("migration", deployment.migrate)
    _step("service", deployment.service)
    _step("smoke test", deployment.smoke)


def _check_apart(accounts: dict[str, OwnAccount]) -> None:
    """Check that each account runs the same code, and that an account's ``gitlab`` reaches nothing of another's.

    Raises:
        UserError: it does.
    """
    publisher = accounts[_PUBLISHER]
    bucket = publisher.parameter("/pmp/account/deployment_bucket_name")
    digests = set()
    for name, account in accounts.items():
        url = account.parameter(f"/pmp/{name}/service/api_url")
        digests.add(http.request("GET", f"{url}/v1/health", authority=account.instance.ca_file).json()["code_sha256"])
        s3 = account.session("gitlab").client("s3")
        for other_name, other in accounts.items():
            if other is account:
                continue
            state = other.parameter("/pmp/bootstrap/state_bucket_name")
            key = f"service/{other_name}/service.tfstate"
            read = partial(s3.get_object, Bucket=state, Key=key)
            _require_denied(f"gitlab of {name} reads the state of {other_name}", read)
        if account is not publisher:
            code = f"lambda/{'0' * 64}.zip"
            publish = partial(s3.put_object, Bucket=bucket, Key=code, Body=b"", IfNoneMatch="*")
            _require_denied(f"gitlab of {name} publishes", publish)
    if len(digests) != 1:
        raise UserError(f"the accounts run different code: {', '.join(sorted(digests))}")
    say(f"  ✓ apart: all run lambda {digests.pop()[:12]} of s3://{bucket}, and no account reaches more of another")


def _require_denied(what: str, attempt: Callable[[], object]) -> None:
    try:
        attempt()
    except ClientError as error:
        if error.response["Error"]["Code"] in {"AccessDenied", "403"}:
            return
        raise
    raise UserError(f"{what}, although it belongs to another account")
