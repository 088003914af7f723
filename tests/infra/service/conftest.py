"""The delivery identity as planned, and an emulated account that enforces its policies."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from checks.stack import free_port
from checks.tree import copied_tree, registry
from local.account import Account
from local.instance import Instance
from ops import bootstrap

REGION = "eu-west-1"
ACCOUNT_ID = "000000000000"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/11111111-2222-3333-4444-555555555555"
STATE_BUCKET = f"pmp-terraform-state-{ACCOUNT_ID}-{REGION}"
DEPLOYMENT_BUCKET = f"pmp-deployments-{ACCOUNT_ID}-{REGION}"
ZONE_ROLE = "arn:aws:iam::111111111111:role/dns/pmp-records"

ROOT = f"""
module "delivery" {{
  source = "../modules/delivery"

  account_id        = "{ACCOUNT_ID}"
  region            = "{REGION}"
  environments      = ["dev"]
  state_bucket_name = "{STATE_BUCKET}"
  kms_key_arn       = "{KEY}"
  hosted_zone_id    = "Z0123456789ABCDEFGHIJ"

  # Every option is set, so that the statements of each are tested too.
  hosted_zone_role_arns = ["{ZONE_ROLE}"]
  truststore_arns       = ["arn:aws:s3:::certificates/pmp/truststore.pem"]
}}

provider "aws" {{
  skip_credentials_validation = true
  skip_requesting_account_id  = true
}}
"""


@dataclass(frozen=True)
class Delivery:
    """Planned policy documents: by policy name, for the user ``gitlab``, the user ``gitlab-plan``, and the boundary."""

    policies: dict[str, dict[str, Any]]
    plan_policies: dict[str, dict[str, Any]]
    boundary: dict[str, Any]

    def under(self, key: str) -> "Delivery":
        """Return the same documents with ``key`` in place of the planned key."""
        text = json.dumps([self.policies, self.plan_policies, self.boundary]).replace(KEY, key)
        return Delivery(*json.loads(text))


@pytest.fixture(scope="session")
def delivery() -> Delivery:
    """Return the policies of an account where only dev may be deployed."""
    with registry() as environment, copied_tree("delivery") as tree:
        root = tree / "root"
        root.mkdir()
        (root / "main.tf").write_text(ROOT)
        for command in (["init", "-input=false"], ["plan", "-input=false", "-out=plan"]):
            subprocess.run(["terraform", f"-chdir={root}", *command], env=environment, check=True, capture_output=True)
        shown = subprocess.run(
            ["terraform", f"-chdir={root}", "show", "-json", "plan"], env=environment, check=True, capture_output=True
        ).stdout
    module = json.loads(shown)["planned_values"]["root_module"]["child_modules"][0]
    documents: dict[str, dict[str, dict[str, Any]]] = {"delivery": {}, "plan": {}, "boundary": {}}
    for resource in module["resources"]:
        if resource["type"] == "aws_iam_policy":
            values = resource["values"]
            documents[resource["name"]][values["name"]] = json.loads(values["policy"])
    return Delivery(documents["delivery"], documents["plan"], documents["boundary"]["pmp-boundary"])


@dataclass(frozen=True)
class Enforced:
    """An account that enforces policies, and its sessions by identity: ``admin``, ``gitlab``, ``plan``."""

    instance: Instance
    sessions: dict[str, boto3.Session]
    key_arn: str
    foreign_key_id: str

    def client(self, identity: str, service: str) -> Any:
        """Return a client of one identity."""
        return self.sessions[identity].client(service)  # type: ignore[call-overload]


@pytest.fixture(scope="session")
def enforced(delivery: Delivery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enforced]:
    """Yield an account after bootstrap and account layer, without Terraform's waits; it enforces IAM and uses TLS."""
    instance = Instance(f"iam-{uuid.uuid4().hex[:6]}", free_port(), tmp_path_factory.mktemp("platform"))
    account = Account(instance)
    account.start()
    try:
        yield _prepare(account, instance, delivery)
    finally:
        account.stop()


def _prepare(account: Account, instance: Instance, delivery: Delivery) -> Enforced:
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
    own = delivery.under(key_arn)
    iam = admin.client("iam")
    boundary = iam.create_policy(PolicyName="pmp-boundary", Path="/pmp/", PolicyDocument=json.dumps(own.boundary))
    for user, policies in (("gitlab", own.policies), ("gitlab-plan", own.plan_policies)):
        iam.create_user(UserName=user, Path="/pmp/")
        for name, document in policies.items():
            made = iam.create_policy(PolicyName=name, Path="/pmp/", PolicyDocument=json.dumps(document))
            iam.attach_user_policy(UserName=user, PolicyArn=made["Policy"]["Arn"])
    account.ensure_keys()
    # Resources that the identity must not reach.
    principal = {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"}
    trust = {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}]}
    iam.create_role(RoleName="outside-admin", AssumeRolePolicyDocument=json.dumps(trust))
    iam.create_role(
        RoleName="pmp-dev-function",
        Path="/pmp/",
        AssumeRolePolicyDocument=json.dumps(trust),
        PermissionsBoundary=boundary["Policy"]["Arn"],
    )
    s3 = admin.client("s3")
    s3.create_bucket(Bucket=DEPLOYMENT_BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(
        Bucket=STATE_BUCKET,
        Key="service/prod/service.tfstate",
        Body=b"{}",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId=key_arn,
    )
    foreign = admin.client("kms").create_key()["KeyMetadata"]["KeyId"]
    admin.client("kms").create_alias(AliasName="alias/other-product", TargetKeyId=foreign)
    return Enforced(instance, {name: account.session(name) for name in ("admin", "gitlab", "plan")}, key_arn, foreign)


@pytest.fixture(scope="session")
def templates() -> Path:
    """Return the folder of the bootstrap's templates."""
    return Path(__file__).parents[3] / "bootstrap"
