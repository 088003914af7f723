"""The identities of GitLab as planned, and an emulated account of dev and prod that enforces their policies."""

import json
import shutil
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import boto3
import pytest

from checks.stack import free_port
from checks.tree import copied_tree, registry
from local.account import Account, Credentials
from local.instance import PORTS_PER_INSTANCE, Instance
from ops import bootstrap

REGION = "eu-west-1"
ACCOUNT_ID = "000000000000"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/11111111-2222-3333-4444-555555555555"
STATE_BUCKET = f"pmp-terraform-state-{ACCOUNT_ID}-{REGION}"
DEPLOYMENT_BUCKET = f"pmp-deployments-{ACCOUNT_ID}-{REGION}"
ZONE = "Z0123456789ABCDEFGHIJ"
WRITER = "arn:aws:iam::111111111111:role/dns/pmp-writer"
READER = "arn:aws:iam::111111111111:role/dns/pmp-reader"
DOMAIN = "pmp.example.com"

ROOT = f"""
module "delivery" {{
  source   = "../modules/delivery"
  for_each = toset(["dev", "prod"])

  environment       = each.key
  account_id        = "{ACCOUNT_ID}"
  region            = "{REGION}"
  state_bucket_name = "{STATE_BUCKET}"
  kms_key_arn       = "{KEY}"
  hosted_zone_id    = "{ZONE}"
  domain_name       = each.key == "prod" ? "api.{DOMAIN}" : "api.dev.{DOMAIN}"
  deployment_bucket = {{ name = "{DEPLOYMENT_BUCKET}", kms_key_arn = "{KEY}", may_publish = each.key == "dev" }}

  # Every option is set, so that the statements of each are tested too.
  hosted_zone_roles = {{ writer_arn = "{WRITER}", reader_arn = "{READER}" }}
  truststore_uri    = "s3://certificates/pmp/truststore.pem"
  uses_aurora       = true
}}

module "artifacts" {{
  source = "../modules/artifacts"

  account_id  = "{ACCOUNT_ID}"
  region      = "{REGION}"
  kms_key_arn = "{KEY}"
}}

# For envs/account/drift.tf.
locals {{
  account_id        = "{ACCOUNT_ID}"
  region            = "{REGION}"
  state             = "{STATE_BUCKET}"
  kms_key_arn       = "{KEY}"
  hosted_zone_id    = "{ZONE}"
  deployment_bucket = {{ name = "{DEPLOYMENT_BUCKET}" }}
  is_shared         = true
  oidc_host         = ""

  backups_by_environment = {{ prod = {{ retention_days = 90 }} }}
  copy_regions           = ["eu-central-1"]
}}

variable "gitlab_oidc" {{
  default = null
}}

resource "aws_iam_openid_connect_provider" "gitlab" {{
  count = 0
  url            = "https://gitlab.com"
  client_id_list = []
}}

provider "aws" {{
  skip_credentials_validation = true
  skip_requesting_account_id  = true
}}
"""


@dataclass(frozen=True)
class Delivery:
    """Planned policy documents of one environment: by policy name, for who deploys and who plans, and the boundary."""

    policies: dict[str, dict[str, Any]]
    plan_policies: dict[str, dict[str, Any]]
    boundary: dict[str, Any]

    def under(self, key: str) -> "Delivery":
        """Return the same documents with ``key`` in place of the planned key."""
        text = json.dumps([self.policies, self.plan_policies, self.boundary]).replace(KEY, key)
        return Delivery(*json.loads(text))


@dataclass(frozen=True)
class Planned:
    """What the account layer plans: policies by environment, of the deployment bucket, and to plan this layer."""

    deliveries: dict[str, Delivery]
    bucket_policy: str
    account_policy: dict[str, Any]


@pytest.fixture(scope="session")
def planned() -> Planned:
    """Return the policies of an account that dev and prod share."""
    with registry() as environment, copied_tree("delivery") as tree:
        root = tree / "root"
        root.mkdir()
        (root / "main.tf").write_text(ROOT)
        shutil.copy(tree / "envs" / "account" / "drift.tf", root)
        for command in (["init", "-input=false"], ["plan", "-input=false", "-out=plan"]):
            subprocess.run(["terraform", f"-chdir={root}", *command], env=environment, check=True, capture_output=True)
        shown = subprocess.run(
            ["terraform", f"-chdir={root}", "show", "-json", "plan"], env=environment, check=True, capture_output=True
        ).stdout
    root_module = json.loads(shown)["planned_values"]["root_module"]
    modules = {one["address"]: one["resources"] for one in root_module["child_modules"]}
    [account_policy] = [
        json.loads(one["values"]["policy"]) for one in root_module["resources"] if one["type"] == "aws_iam_policy"
    ]
    [bucket_policy] = [
        one["values"]["policy"] for one in modules.pop("module.artifacts") if one["type"] == "aws_s3_bucket_policy"
    ]
    deliveries = {}
    for address, found in modules.items():
        documents: dict[str, dict[str, dict[str, Any]]] = {"delivery": {}, "plan": {}, "boundary": {}}
        for resource in found:
            if resource["type"] == "aws_iam_policy":
                values = resource["values"]
                documents[resource["name"]][values["name"]] = json.loads(values["policy"])
        [boundary] = documents["boundary"].values()
        deliveries[address.split('"')[1]] = Delivery(documents["delivery"], documents["plan"], boundary)
    return Planned(deliveries, bucket_policy, account_policy)


@pytest.fixture(scope="session")
def delivery(planned: Planned) -> Delivery:
    """Return the policies of dev; who plans has the account layer's as well, as in an account of its own."""
    found = planned.deliveries["dev"]
    return replace(found, plan_policies=found.plan_policies | {"pmp-plan-account": planned.account_policy})


@dataclass(frozen=True)
class Enforced:
    """An account that enforces policies, and its sessions: ``admin``, and of dev and prod by the IAM user's name."""

    instance: Instance
    sessions: dict[str, boto3.Session]
    key_arn: str
    foreign_key_id: str

    def client(self, identity: str, service: str) -> Any:
        """Return a client of one identity."""
        return self.sessions[identity].client(service)  # type: ignore[call-overload]


@pytest.fixture(scope="session")
def enforced(planned: Planned, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enforced]:
    """Yield an account after bootstrap and account layer, without Terraform's waits; it enforces IAM and uses TLS."""
    instance = Instance(
        f"iam-{uuid.uuid4().hex[:6]}", free_port(PORTS_PER_INSTANCE), tmp_path_factory.mktemp("platform")
    )
    account = Account(instance)
    account.start()
    try:
        yield _prepare(account, instance, planned)
    finally:
        account.stop()


def _prepare(account: Account, instance: Instance, planned: Planned) -> Enforced:
    admin = account.session("admin")
    admin_keys = account.admin().environment() | {
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": instance.aws_url,
        "AWS_CA_BUNDLE": str(instance.ca_file),
        "PMP_PLATFORM_DIRECTORY": str(instance.directory),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in admin_keys.items():
            patch.setenv(name, value)
        bootstrap.bootstrap()
    key_arn = str(admin.client("ssm").get_parameter(Name="/pmp/bootstrap/kms_key_arn")["Parameter"]["Value"])
    iam = admin.client("iam")
    sessions = {"admin": admin}
    for environment, planned_delivery in planned.deliveries.items():
        own = planned_delivery.under(key_arn)
        iam.create_policy(
            PolicyName=f"pmp-{environment}-boundary", Path="/pmp/", PolicyDocument=json.dumps(own.boundary)
        )
        for user, policies in (
            (f"gitlab-{environment}", own.policies),
            (f"gitlab-plan-{environment}", own.plan_policies),
        ):
            iam.create_user(UserName=user, Path="/pmp/")
            for name, document in policies.items():
                made = iam.create_policy(PolicyName=name, Path="/pmp/", PolicyDocument=json.dumps(document))
                iam.attach_user_policy(UserName=user, PolicyArn=made["Policy"]["Arn"])
            key = iam.create_access_key(UserName=user)["AccessKey"]
            sessions[user] = account._session(Credentials(key["AccessKeyId"], key["SecretAccessKey"]))
    # Resources that the identity must not reach.
    principal = {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"}
    trust = {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]}
    iam.create_role(RoleName="outside-admin", AssumeRolePolicyDocument=json.dumps(trust))
    for environment in planned.deliveries:
        iam.create_role(
            RoleName=f"pmp-{environment}-function",
            Path="/pmp/",
            AssumeRolePolicyDocument=json.dumps(trust),
            PermissionsBoundary=f"arn:aws:iam::{ACCOUNT_ID}:policy/pmp/pmp-{environment}-boundary",
        )
    s3 = admin.client("s3")
    s3.create_bucket(Bucket=DEPLOYMENT_BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_policy(Bucket=DEPLOYMENT_BUCKET, Policy=planned.bucket_policy)
    for key in ("service/prod/service.tfstate", "foundation/prod/foundation.tfstate"):
        s3.put_object(Bucket=STATE_BUCKET, Key=key, Body=b"{}", ServerSideEncryption="aws:kms", SSEKMSKeyId=key_arn)
    foreign = admin.client("kms").create_key()["KeyMetadata"]["KeyId"]
    admin.client("kms").create_alias(AliasName="alias/other-product", TargetKeyId=foreign)
    return Enforced(instance, sessions, key_arn, foreign)


_attempts: Counter[tuple[str, str]] = Counter()


@pytest.fixture(scope="session")
def record_attempt() -> Callable[[str, str], None]:
    """Return a function that counts a denied attempt of an IAM user on an environment, or on something else."""

    def count(user: str, target: str) -> None:
        _attempts[user, target] += 1

    return count


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the denied attempts by identity and environment."""
    if _attempts:
        terminalreporter.write_sep("-", "attempts, all denied")
        for (user, target), number in sorted(_attempts.items()):
            terminalreporter.write_line(f"{user:<18} on {target:<34}{number:>4}")


@pytest.fixture(scope="session")
def templates() -> Path:
    """Return the folder of the bootstrap's templates."""
    return Path(__file__).parents[3] / "bootstrap"
