"""Apply each option that a module offers once, as the identity that deploys, on the running laptop platform.

What a module offers has to be granted, and an ordinary deployment uses few options. Each of them is applied here and
taken back, with the policies enforced, and the platform records the requests like those of a deployment: ``make
policies WRITE=1`` adds them to the committed record. The options are set in a copy of the tree, in
``envs/local.tfvars``, from which the account layer takes what the identity needs.

The emulator has no Route 53 Resolver, so the DNS firewall (``foundation.network.dns_allow_list``) is not among them. Of
Aurora it has the API alone: the laptop's PostgreSQL stays the writer and keeps its data, a streaming standby of it is
the reader, and nothing fails over or scales.
"""

import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from checks import stack
from checks.tree import copied_tree
from local import function
from local import instance as instances
from local.account import Account
from local.environments import Environment
from local.instance import Instance
from local.platform import Platform as Laptop
from local.servers.pgbouncer import USER, Bouncer
from ops.alias import Alias
from ops.api import Api
from ops.errors import UserError
from ops.output import say
from ops.settings import LAPTOP_ENVIRONMENT, release

_ACCOUNT = "000000000000"
_TRUSTSTORE = "pmp-options-truststore"
_ROLES = {"writer": "route53:*", "reader": ["route53:Get*", "route53:List*"]}


@dataclass(frozen=True)
class Option:
    """An option: the layer that it changes, and text to replace by file.

    ``steps`` are applied one after another; the first text of each pair is that of the committed file.
    """

    name: str
    layer: str
    file: str
    old: str
    steps: tuple[str, ...]


TFVARS = f"envs/{LAPTOP_ENVIRONMENT}.tfvars"
_SUBDOMAIN = f'subdomain = "api.{LAPTOP_ENVIRONMENT}"'
_OTHER_ZONE = f"""{_SUBDOMAIN}
    hosted_zone_role_arn        = "arn:aws:iam::{_ACCOUNT}:role/dns/pmp-options-writer"
    hosted_zone_reader_role_arn = "arn:aws:iam::{_ACCOUNT}:role/dns/pmp-options-reader\""""

# The database as the committed file has it.
DATABASE = """    storage_gib           = { initial = 20, max = 100 }"""
_APP_SECRET = f"pmp/{LAPTOP_ENVIRONMENT}/database/{USER}"

OPTIONS = (
    Option("a NAT gateway for each zone, then one", "foundation", TFVARS, '= "single"', ('= "per_zone"',)),
    Option(
        "all interface endpoints, then two",
        "foundation",
        TFVARS,
        '["secretsmanager", "sqs"]',
        ('["secretsmanager", "sqs", "ssm", "ssmmessages"]',),
    ),
    Option(
        "a database parameter taken out, then set",
        "foundation",
        "modules/database/main.tf",
        '    "log_temp_files"             = "10240"\n',
        ("",),
    ),
    Option(
        "two changes of the runner's launch template, the second during the first's instance refresh",
        "foundation",
        TFVARS,
        "runner  = { enable = true }",
        (
            'runner  = { enable = true, instance_type = "t4g.medium" }',
            'runner  = { enable = true, instance_type = "t4g.large" }',
        ),
    ),
    Option(
        "mutual TLS with a truststore, then without",
        "service",
        TFVARS,
        f"  api = {{\n    {_SUBDOMAIN}",
        (
            # The heartbeat has no client certificate.
            (
                f"  heartbeat = {{ enable = false }}\n\n  api = {{\n    {_SUBDOMAIN}\n"
                f'    truststore = {{ uri = "s3://{_TRUSTSTORE}/pmp/truststore.pem" }}'
            ),
        ),
    ),
    Option(
        "records of a hosted zone through another account's role, then without",
        "service",
        TFVARS,
        _SUBDOMAIN,
        (_OTHER_ZONE,),
    ),
)


class Platform:
    """The running platform, and a copy of the tree from which layers are applied to it."""

    def __init__(self, instance: Instance, account: Account, tree: Path) -> None:
        self._instance = instance
        self._account = account
        self.tree = tree
        # Git does not know the copy, and a plan is bound to a commit.
        self._commit = release()
        self.may_be_destroyed = ""
        """Address of a database that the next plans may destroy."""
        platform = tree / "build" / "platform"
        shutil.copytree(instance.platform_directory, platform)
        self.variables = platform / f"{LAPTOP_ENVIRONMENT}.tfvars.json"
        """Where the emulated platform's endpoints are: the copy's own."""

    def ops(self, identity: str, *arguments: str) -> None:
        """Run ``python -m ops`` of the copy as an identity.

        Raises:
            UserError: it failed; the message is its last line.
        """
        variables = instances.clean_environment() | self._instance.tool_environment(LAPTOP_ENVIRONMENT)
        # The copy's own working data; the zip that is deployed stays.
        build = self.tree / "build"
        build.mkdir(exist_ok=True)
        for file in (*self._instance.build.glob("lambda*"),):
            (build / file.name).unlink(missing_ok=True)
            (build / file.name).symlink_to(file)
        variables |= {
            "PMP_BUILD_DIRECTORY": str(build),
            "PMP_PLATFORM_DIRECTORY": str(self.variables.parent),
            "CI_COMMIT_SHA": self._commit,
            "PMP_ALLOW_DESTROY": self.may_be_destroyed,
        } | self._account.credentials(identity).environment()
        done = subprocess.run(
            [sys.executable, "-m", "ops", *arguments],
            cwd=self.tree,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines()
            raise UserError(f"{' '.join(arguments)} as {identity}: {lines[-1] if lines else 'no output'}")

    def apply(self, identity: str, layer: str) -> None:
        """Plan a layer and apply the plan.

        Raises:
            UserError: one of them failed.
        """
        out = self.tree / "build" / "plans" / f"{layer}-{uuid.uuid4().hex[:6]}"
        self.ops(identity, "plan", layer, "--out", str(out))
        self.ops(identity, "apply", layer, "--plan", str(out))

    def give_all(self) -> None:
        """Let the newest version of the function serve: an apply publishes it and leaves the alias alone."""
        client = self._account.session("gitlab").client("lambda")
        Alias(client, function.name(LAPTOP_ENVIRONMENT)).give_all()

    @contextmanager
    def reader(self, pooler: Bouncer) -> Iterator[None]:
        """Tell Terraform of a reader's pooler for a while. Its host is another than the proxy's, or there is none."""
        before = self.variables.read_text()
        variables = json.loads(before)
        variables["platform"]["database_reader_host"] = "127.0.0.1"
        variables["platform"]["function_environment"]["PMP_DATABASE_READER_PORT"] = str(pooler.port)
        self.variables.write_text(json.dumps(variables))
        try:
            yield
        finally:
            self.variables.write_text(before)

    @contextmanager
    def text(self, file: str, old: str, new: str) -> Iterator[None]:
        """Replace text in a file of the copy for a while.

        Raises:
            UserError: the file does not have the text exactly once.
        """
        path = self.tree / file
        before = path.read_text()
        if before.count(old) != 1:
            raise UserError(f"{file} has {before.count(old)} times {old.strip()!r}: correct checks/options.py")
        path.write_text(before.replace(old, new))
        try:
            yield
        finally:
            path.write_text(before)


def _prepare(account: Account) -> None:
    """Make what other accounts would have: a truststore, and the roles of a hosted zone."""
    admin = account.session("admin")
    s3, iam = admin.client("s3"), admin.client("iam")
    if _TRUSTSTORE not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket=_TRUSTSTORE, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket=_TRUSTSTORE, Key="pmp/truststore.pem", Body=account.instance.ca_file.read_bytes())
    for role, actions in _ROLES.items():
        name = f"pmp-options-{role}"
        if any(one["RoleName"] == name for one in iam.list_roles(PathPrefix="/dns/")["Roles"]):
            continue
        iam.create_role(RoleName=name, Path="/dns/", AssumeRolePolicyDocument=_document(Principal={"AWS": _ACCOUNT}))
        policy = _document(Action=actions, Resource="*")
        iam.put_role_policy(RoleName=name, PolicyName="records", PolicyDocument=policy)


def _document(**statement: Any) -> str:
    return json.dumps(
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"} | statement]}
    )


def _try(platform: Platform, option: Option) -> None:
    """Apply the steps of an option, then what the committed files say."""
    for step in (*option.steps, option.old):
        with platform.text(option.file, option.old, step):
            if option.layer == "service":
                platform.apply("admin", "account")
            platform.apply("gitlab", option.layer)
            if option.layer == "service":
                # A merge request's plan of the same, as the identity that only reads.
                platform.ops("plan", "plan", "service", "--read-only")


def _move_to_aurora(platform: Platform, instance: Instance, account: Account) -> None:
    """Move the database to Aurora by a snapshot, as the runbook says, read from the cluster's reader, and go back.

    Raises:
        UserError: a step failed, a plan after it was not empty, or a list did not come from where it should.
    """
    environment = Environment(instance, LAPTOP_ENVIRONMENT)
    client = account.session("gitlab").client("rds")
    snapshot = f"pmp-{LAPTOP_ENVIRONMENT}-to-aurora-{uuid.uuid4().hex[:6]}"
    client.create_db_snapshot(DBInstanceIdentifier=f"pmp-{LAPTOP_ENVIRONMENT}", DBSnapshotIdentifier=snapshot)
    move = f"""{DATABASE}
    aurora   = {{ min_acu = 0.5, max_acu = 8, readers = 1 }}
    restores = [{{ snapshot = "{snapshot}", engine = "aurora-postgresql" }}]"""
    try:
        with (
            platform.text(TFVARS, DATABASE, move),
            stack.standby(environment.cluster, account.secret(_APP_SECRET)["password"]) as (_, pooler),
            platform.reader(pooler),
        ):
            platform.apply("admin", "account")
            # Twice, see the runbook: the provider sends a part of a restored cluster's settings in a change after it.
            platform.apply("gitlab", "foundation")
            _promote(platform)
            _read_from(pooler, Laptop(instance, Console()).api(LAPTOP_ENVIRONMENT))
        platform.may_be_destroyed = 'module.database.aws_rds_cluster.this["r1"]'
        _promote(platform)
        # Last: it takes away what the identity needs to delete a cluster.
        platform.apply("admin", "account")
    finally:
        account.session("admin").client("rds").delete_db_snapshot(DBSnapshotIdentifier=snapshot)


def _promote(platform: Platform) -> None:
    """Do what a promotion does, then see that nothing is left to change."""
    platform.apply("gitlab", "foundation")
    platform.ops("gitlab", "migrate")
    platform.apply("gitlab", "service")
    platform.give_all()
    for layer in ("foundation", "service"):
        platform.ops("gitlab", "plan", layer, "--refuse-changes", "--out", str(platform.tree / "build/plans/unchanged"))
        platform.ops("plan", "plan", layer, "--read-only")
    platform.ops("gitlab", "smoke")


def _read_from(pooler: Bouncer, api: Api) -> None:
    """See that a list comes from the reader, which says so by its age, and from the writer when there is none."""

    def comes_from_a_reader() -> bool:
        # The first request after a while finds no recent mark.
        return any("age" in api.ask("GET", "/v1/users?limit=1").headers for _ in range(5))

    if not comes_from_a_reader():
        raise UserError("no list came from the reader: no answer had an Age")
    pooler.stop()
    if comes_from_a_reader():
        raise UserError("a list had an Age although the reader was stopped")


def _delete_protected_database(account: Account) -> None:
    """Delete an instance as one with protection is deleted: with a last snapshot, named as the module names it."""
    admin = account.session("admin").client("rds")
    name = f"pmp-{LAPTOP_ENVIRONMENT}-options-{uuid.uuid4().hex[:6]}"
    admin.create_db_instance(
        DBInstanceIdentifier=name,
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        MasterUsername="pmp_admin",
        MasterUserPassword=uuid.uuid4().hex,
    )
    deploying = account.session("gitlab").client("rds")
    deploying.delete_db_instance(DBInstanceIdentifier=name, FinalDBSnapshotIdentifier=f"final-{name}")


def main(wanted: Sequence[str]) -> None:
    """Apply the options whose names hold one of ``wanted``, or all.

    Raises:
        UserError: the platform is not running, or an option could not be applied.
    """
    instance = instances.current()
    account = Account(instance)
    account.require_running()
    _prepare(account)
    failed = []
    with copied_tree("options") as tree:
        platform = Platform(instance, account, tree)
        for option in OPTIONS:
            if wanted and not any(word in option.name for word in wanted):
                continue
            started = time.monotonic()
            try:
                _try(platform, option)
            except UserError as error:
                failed.append(option.name)
                say(f"  ✗ {option.name}: {error}", "red")
            else:
                say(f"  ✓ {option.name} ({time.monotonic() - started:.0f} s)")
        if not wanted or "aurora" in wanted:
            started = time.monotonic()
            try:
                _move_to_aurora(platform, instance, account)
            except UserError as error:
                failed.append("Aurora")
                say(f"  ✗ a move to Aurora: {error}", "red")
            else:
                say(f"  ✓ a move to Aurora with a reader, and back ({time.monotonic() - started:.0f} s)")
    if not wanted or "snapshot" in wanted:
        _delete_protected_database(account)
        say("  ✓ a protected database deleted, with its last snapshot")
    if failed:
        raise UserError(f"{len(failed)} options cannot be applied: {', '.join(failed)}")


if __name__ == "__main__":
    stack.end_in_order()
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
