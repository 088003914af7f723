"""Apply each option that a module offers once, as the identity that deploys, on the running laptop platform.

What a module offers has to be granted, and an ordinary deployment uses few options. Each of them is applied here and
taken back, with the policies enforced, and the platform records the requests like those of a deployment: ``make
policies WRITE=1`` adds them to the committed record. The options are set in a copy of the tree, in
``envs/local.tfvars``, from which the account layer takes what the identity needs.

The emulator has no Route 53 Resolver, so the DNS firewall (``foundation.network.dns_allow_list``) is not among them.
"""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checks.tree import copied_tree
from local import instance as instances
from local.account import Account
from local.instance import Instance
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


_TFVARS = f"envs/{LAPTOP_ENVIRONMENT}.tfvars"
_SUBDOMAIN = f'subdomain = "api.{LAPTOP_ENVIRONMENT}"'
_OTHER_ZONE = f"""{_SUBDOMAIN}
    hosted_zone_role_arn        = "arn:aws:iam::{_ACCOUNT}:role/dns/pmp-options-writer"
    hosted_zone_reader_role_arn = "arn:aws:iam::{_ACCOUNT}:role/dns/pmp-options-reader\""""

OPTIONS = (
    Option("a NAT gateway for each zone, then one", "foundation", _TFVARS, '= "single"', ('= "per_zone"',)),
    Option(
        "all interface endpoints, then two",
        "foundation",
        _TFVARS,
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
        _TFVARS,
        "runner = { enable = true }",
        (
            'runner = { enable = true, instance_type = "t4g.medium" }',
            'runner = { enable = true, instance_type = "t4g.large" }',
        ),
    ),
    Option(
        "mutual TLS with a truststore, then without",
        "service",
        _TFVARS,
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
        _TFVARS,
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
        variables |= {"PMP_BUILD_DIRECTORY": str(build), "CI_COMMIT_SHA": self._commit} | self._account.credentials(
            identity
        ).environment()
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
    if not wanted or "snapshot" in wanted:
        _delete_protected_database(account)
        say("  ✓ a protected database deleted, with its last snapshot")
    if failed:
        raise UserError(f"{len(failed)} options cannot be applied: {', '.join(failed)}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
