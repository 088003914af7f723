"""GitLab's identity tries forbidden actions on an account that enforces its policies, and every one is denied."""

import contextlib
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.infra.service.conftest import ACCOUNT_ID, DEPLOYMENT_BUCKET, REGION, STATE_BUCKET, Enforced

BOUNDARY = f"arn:aws:iam::{ACCOUNT_ID}:policy/pmp/pmp-dev-boundary"
ADMINISTRATOR = "arn:aws:iam::aws:policy/AdministratorAccess"
EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
PUBLIC = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{DEPLOYMENT_BUCKET}/*",
            }
        ],
    }
)

# The tags that Terraform's default tags give every resource.
OWN_TAGS = [{"Key": "Project", "Value": "pmp"}, {"Key": "Environment", "Value": "dev"}]

Attempt = Callable[[Enforced], Any]


def _iam(operation: str, **arguments: Any) -> Attempt:
    return lambda account: getattr(account.client("gitlab-dev", "iam"), operation)(**arguments)


def _s3(operation: str, **arguments: Any) -> Attempt:
    return lambda account: getattr(account.client("gitlab-dev", "s3"), operation)(**arguments)


def _kms(operation: str, key: str, **arguments: Any) -> Attempt:
    """Try ``operation`` on a key; ``key``: ``state`` or ``foreign``."""

    def attempt(account: Enforced) -> Any:
        key_id = account.key_arn if key == "state" else account.foreign_key_id
        return getattr(account.client("gitlab-dev", "kms"), operation)(KeyId=key_id, **arguments)

    return attempt


def _decrypt_foreign(account: Enforced) -> Any:
    blob = account.client("admin", "kms").encrypt(KeyId=account.foreign_key_id, Plaintext=b"x")["CiphertextBlob"]
    return account.client("gitlab-dev", "kms").decrypt(KeyId=account.foreign_key_id, CiphertextBlob=blob)


def _ec2(operation: str, what: str, tags: list[dict[str, str]] | None = None, **arguments: Any) -> Attempt:
    """Try ``operation`` on a resource that the administrator created in a new VPC; both carry ``tags``.

    Args:
        operation: boto3's name of it.
        what: the kind of resource, as ``_network`` takes it.
        tags: the owner's tags; none for a network without an owner.
        arguments: the operation's arguments; they may name a resource in braces, as in ``{vpc}``.
    """

    def attempt(account: Enforced) -> Any:
        found = _network(account, tags or [], what)
        filled = json.loads(re.sub(r"\{(\w+)\}", lambda match: found[match[1]], json.dumps(arguments)))
        return getattr(account.client("gitlab-dev", "ec2"), operation)(**filled)

    return attempt


def _network(account: Enforced, tags: list[dict[str, str]], what: str) -> dict[str, str]:
    """Create a VPC and one resource of kind ``what`` as administrator, and return their ids by name."""
    admin = account.client("admin", "ec2")
    vpc = admin.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    found = {"vpc": vpc}
    if what == "subnet":
        found["subnet"] = admin.create_subnet(VpcId=vpc, CidrBlock="10.99.0.0/24")["Subnet"]["SubnetId"]
    elif what == "table":
        found["table"] = admin.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        found["gateway"] = admin.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        admin.attach_internet_gateway(InternetGatewayId=found["gateway"], VpcId=vpc)
    elif what == "group":
        found["group"] = admin.create_security_group(GroupName="other", Description="other", VpcId=vpc)["GroupId"]
    elif what == "template":
        made = admin.create_launch_template(
            LaunchTemplateName=f"other-{uuid.uuid4().hex[:6]}", LaunchTemplateData={"InstanceType": "t4g.small"}
        )
        found["template"] = made["LaunchTemplate"]["LaunchTemplateId"]
    if tags:
        admin.create_tags(Resources=list(found.values()), Tags=tags)
    return found


def _proxy(operation: str, tags: list[dict[str, str]], **arguments: Any) -> Attempt:
    """Try ``operation`` on an RDS Proxy that the administrator created with ``tags``."""

    def attempt(account: Enforced) -> Any:
        ec2, rds = account.client("admin", "ec2"), account.client("admin", "rds")
        vpc = ec2.create_vpc(CidrBlock="10.96.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.96.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")
            for number, zone in enumerate("ab")
        ]
        name = f"other-{uuid.uuid4().hex[:6]}"
        made = rds.create_db_proxy(
            DBProxyName=name,
            EngineFamily="POSTGRESQL",
            Auth=[{"AuthScheme": "SECRETS", "SecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT_ID}:secret:other"}],
            RoleArn=f"arn:aws:iam::{ACCOUNT_ID}:role/outside-admin",
            VpcSubnetIds=[subnet["Subnet"]["SubnetId"] for subnet in subnets],
            Tags=tags,
        )
        named = {"name": name, "arn": made["DBProxy"]["DBProxyArn"]}
        filled = {key: value.format(**named) if isinstance(value, str) else value for key, value in arguments.items()}
        return getattr(account.client("gitlab-dev", "rds"), operation)(**filled)

    return attempt


def _create_role(name: str, path: str = "/pmp/", **arguments: Any) -> Attempt:
    return _iam("create_role", RoleName=name, Path=path, AssumeRolePolicyDocument=TRUST, **arguments)


# Changes of an existing network, by description: operation, kind of resource and arguments.
WORLD = [{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
NETWORK_CHANGES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "delete a VPC": ("delete_vpc", "vpc", {"VpcId": "{vpc}"}),
    "tag a VPC": ("create_tags", "vpc", {"Resources": ["{vpc}"], "Tags": OWN_TAGS}),
    "turn off the DNS of a VPC": (
        "modify_vpc_attribute",
        "vpc",
        {"VpcId": "{vpc}", "EnableDnsSupport": {"Value": False}},
    ),
    "make a subnet in a VPC": ("create_subnet", "vpc", {"VpcId": "{vpc}", "CidrBlock": "10.99.9.0/24"}),
    "make a group in a VPC": ("create_security_group", "vpc", {"VpcId": "{vpc}", "GroupName": "x", "Description": "x"}),
    "delete a subnet": ("delete_subnet", "subnet", {"SubnetId": "{subnet}"}),
    "tag a subnet": ("create_tags", "subnet", {"Resources": ["{subnet}"], "Tags": OWN_TAGS}),
    "open a security group": (
        "authorize_security_group_ingress",
        "group",
        {"GroupId": "{group}", "IpPermissions": WORLD},
    ),
    "tag a security group": ("create_tags", "group", {"Resources": ["{group}"], "Tags": OWN_TAGS}),
    "add a route": (
        "create_route",
        "table",
        {"RouteTableId": "{table}", "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "{gateway}"},
    ),
    "tag a route table": ("create_tags", "table", {"Resources": ["{table}"], "Tags": OWN_TAGS}),
    "change a launch template": (
        "create_launch_template_version",
        "template",
        {"LaunchTemplateId": "{template}", "LaunchTemplateData": {"InstanceType": "m7g.large"}},
    ),
    "tag a launch template": ("create_tags", "template", {"Resources": ["{template}"], "Tags": OWN_TAGS}),
}

PROXY_CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "delete a proxy": ("delete_db_proxy", {"DBProxyName": "{name}"}),
    "log the statements of a proxy": ("modify_db_proxy", {"DBProxyName": "{name}", "DebugLogging": True}),
    "tag a proxy": ("add_tags_to_resource", {"ResourceName": "{arn}", "Tags": OWN_TAGS}),
}
OTHER_OWNERS: dict[str, list[dict[str, str]]] = {
    "another product": [{"Key": "Project", "Value": "other"}, {"Key": "Environment", "Value": "dev"}],
    "another environment": [{"Key": "Project", "Value": "pmp"}, {"Key": "Environment", "Value": "prod"}],
}

ESCALATIONS: dict[str, Attempt] = {
    "create an administrator": _iam("create_user", UserName="root2"),
    "give itself AdministratorAccess": _iam("attach_user_policy", UserName="gitlab-dev", PolicyArn=ADMINISTRATOR),
    "give itself an inline policy": _iam(
        "put_user_policy", UserName="gitlab-dev", PolicyName="more", PolicyDocument=EVERYTHING
    ),
    "detach its guardrails": _iam(
        "detach_user_policy",
        UserName="gitlab-dev",
        PolicyArn=f"arn:aws:iam::{ACCOUNT_ID}:policy/pmp/pmp-dev-guardrails",
    ),
    "make itself another access key": _iam("create_access_key", UserName="gitlab-dev"),
    "make a key for the plan identity": _iam("create_access_key", UserName="gitlab-plan-dev"),
    "join a group": _iam("add_user_to_group", GroupName="admins", UserName="gitlab-dev"),
    "set itself a password": _iam("create_login_profile", UserName="gitlab-dev", Password="Correct-horse-1"),
    "widen the boundary": _iam(
        "create_policy_version", PolicyArn=BOUNDARY, PolicyDocument=EVERYTHING, SetAsDefault=True
    ),
    "widen its own policy": _iam(
        "create_policy_version",
        PolicyArn=f"arn:aws:iam::{ACCOUNT_ID}:policy/pmp/pmp-dev-iam",
        PolicyDocument=EVERYTHING,
        SetAsDefault=True,
    ),
    "go back to an older version of its policy": _iam(
        "set_default_policy_version",
        PolicyArn=f"arn:aws:iam::{ACCOUNT_ID}:policy/pmp/pmp-dev-iam",
        VersionId="v1",
    ),
    "delete the boundary": _iam("delete_policy", PolicyArn=BOUNDARY),
    "make a policy": _iam("create_policy", PolicyName="pmp-more", Path="/pmp/", PolicyDocument=EVERYTHING),
    "make a role without the boundary": _create_role("pmp-dev-free"),
    "make a role with another boundary": _create_role("pmp-dev-free", PermissionsBoundary=ADMINISTRATOR),
    "make a role outside the path": _create_role("pmp-dev-function2", "/", PermissionsBoundary=BOUNDARY),
    "make a role of another environment": _create_role("pmp-prod-function", PermissionsBoundary=BOUNDARY),
    "drop a role's boundary": _iam("delete_role_permissions_boundary", RoleName="pmp-dev-function"),
    "change a role's boundary": _iam(
        "put_role_permissions_boundary", RoleName="pmp-dev-function", PermissionsBoundary=ADMINISTRATOR
    ),
    "give a role AdministratorAccess": _iam("attach_role_policy", RoleName="pmp-dev-function", PolicyArn=ADMINISTRATOR),
    "change an outside role": _iam(
        "put_role_policy", RoleName="outside-admin", PolicyName="more", PolicyDocument=EVERYTHING
    ),
    "trust itself by an outside role": _iam(
        "update_assume_role_policy", RoleName="outside-admin", PolicyDocument=TRUST
    ),
    "trust another OIDC provider": _iam(
        "create_open_id_connect_provider", Url="https://evil.example.com", ClientIDList=["x"]
    ),
    "become an outside role": lambda account: account.client("gitlab-dev", "sts").assume_role(
        RoleArn=f"arn:aws:iam::{ACCOUNT_ID}:role/outside-admin", RoleSessionName="escalation"
    ),
    "read another environment's state": _s3("get_object", Bucket=STATE_BUCKET, Key="service/prod/service.tfstate"),
    "read the account layer's state": _s3("get_object", Bucket=STATE_BUCKET, Key="account.tfstate"),
    "delete a state": _s3("delete_object", Bucket=STATE_BUCKET, Key="service/dev/service.tfstate"),
    "change the state bucket's policy": _s3("put_bucket_policy", Bucket=STATE_BUCKET, Policy=PUBLIC),
    "stop versioning the state bucket": _s3(
        "put_bucket_versioning", Bucket=STATE_BUCKET, VersioningConfiguration={"Status": "Suspended"}
    ),
    "make the deployment bucket public": _s3("put_bucket_policy", Bucket=DEPLOYMENT_BUCKET, Policy=PUBLIC),
    "unblock public access": _s3("delete_public_access_block", Bucket=DEPLOYMENT_BUCKET),
    "delete deployed code": _s3("delete_object", Bucket=DEPLOYMENT_BUCKET, Key=f"lambda/{'0' * 64}.zip"),
    "make a bucket of its own": _s3(
        "create_bucket", Bucket="exfiltration", CreateBucketConfiguration={"LocationConstraint": REGION}
    ),
    "decrypt with a foreign key": _decrypt_foreign,
    "take over a foreign key by its policy": _kms("put_key_policy", "foreign", PolicyName="default", Policy=EVERYTHING),
    "take over a foreign key by a tag": _kms(
        "tag_resource", "foreign", Tags=[{"TagKey": "Project", "TagValue": "pmp"}]
    ),
    "change the state key's policy": _kms("put_key_policy", "state", PolicyName="default", Policy=EVERYTHING),
    "delete the state key": _kms("schedule_key_deletion", "state", PendingWindowInDays=7),
    "use the state key directly": _kms("encrypt", "state", Plaintext=b"x"),
    "read another product's secret": lambda account: account.client("gitlab-dev", "secretsmanager").get_secret_value(
        SecretId="other/product"
    ),
    "read another environment's secret": lambda account: account.client(
        "gitlab-dev", "secretsmanager"
    ).get_secret_value(SecretId="pmp/prod/database/pmp_app"),
    "change another product's function": lambda account: account.client(
        "gitlab-dev", "lambda"
    ).update_function_configuration(FunctionName="other", Timeout=3),
    **{
        f"{verb} of {owner}": _ec2(operation, what, tags, **arguments)
        for owner, tags in {"nobody": None, **OTHER_OWNERS}.items()
        for verb, (operation, what, arguments) in NETWORK_CHANGES.items()
    },
    **{
        f"{verb} of {owner}": _proxy(operation, tags, **arguments)
        for owner, tags in OTHER_OWNERS.items()
        for verb, (operation, arguments) in PROXY_CHANGES.items()
    },
    "delete another product's database": lambda account: account.client("gitlab-dev", "rds").delete_db_instance(
        DBInstanceIdentifier="other", SkipFinalSnapshot=True
    ),
    "write what the account layer hands over": lambda account: account.client("gitlab-dev", "ssm").put_parameter(
        Name="/pmp/account/dev/permissions_boundary_arn", Value=ADMINISTRATOR, Type="String", Overwrite=True
    ),
}

PERMITTED: dict[str, Attempt] = {
    "write its state": lambda account: account.client("gitlab-dev", "s3").put_object(
        Bucket=STATE_BUCKET,
        Key="service/dev/service.tfstate",
        Body=b"{}",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId=account.key_arn,
    ),
    "make a bounded role": _create_role("pmp-dev-scheduler", PermissionsBoundary=BOUNDARY),
    "give a bounded role a policy": _iam(
        "put_role_policy", RoleName="pmp-dev-function", PolicyName="function", PolicyDocument=EVERYTHING
    ),
    "make a network": lambda account: account.client("gitlab-dev", "ec2").create_vpc(CidrBlock="10.98.0.0/16"),
    **{
        f"{verb} of its own": _proxy(operation, OWN_TAGS, **arguments)
        for verb, (operation, arguments) in PROXY_CHANGES.items()
    },
    **{
        f"{verb} of its own": _ec2(operation, what, OWN_TAGS, **arguments)
        for verb, (operation, what, arguments) in NETWORK_CHANGES.items()
    },
}


def _secret(account: Enforced, name: str) -> str:
    """Create a secret if it is missing and return its name, so that a refusal cannot come from its absence."""
    admin = account.client("admin", "secretsmanager")
    with contextlib.suppress(admin.exceptions.ResourceExistsException):
        admin.create_secret(Name=name, SecretString="{}")
    return name


def _describe_client(account: Enforced) -> Any:
    admin = account.client("admin", "cognito-idp")
    pool = admin.create_user_pool(PoolName="pmp-dev")["UserPool"]["Id"]
    client = admin.create_user_pool_client(UserPoolId=pool, ClientName="x", GenerateSecret=True)["UserPoolClient"]
    return account.client("gitlab-plan-dev", "cognito-idp").describe_user_pool_client(
        UserPoolId=pool, ClientId=client["ClientId"]
    )


PLAN_REFUSED: dict[str, Attempt] = {
    "write a state": lambda account: account.client("gitlab-plan-dev", "s3").put_object(
        Bucket=STATE_BUCKET,
        Key="service/dev/service.tfstate",
        Body=b"{}",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId=account.key_arn,
    ),
    "publish code": lambda account: account.client("gitlab-plan-dev", "s3").put_object(
        Bucket=DEPLOYMENT_BUCKET, Key=f"lambda/{'0' * 64}.zip", Body=b"x"
    ),
    "make a role": lambda account: account.client("gitlab-plan-dev", "iam").create_role(
        RoleName="pmp-dev-scheduler2", Path="/pmp/", AssumeRolePolicyDocument=TRUST, PermissionsBoundary=BOUNDARY
    ),
    "make a network": lambda account: account.client("gitlab-plan-dev", "ec2").create_vpc(CidrBlock="10.97.0.0/16"),
    "change a function": lambda account: account.client("gitlab-plan-dev", "lambda").update_function_configuration(
        FunctionName="pmp-dev", Timeout=3
    ),
    "write a parameter": lambda account: account.client("gitlab-plan-dev", "ssm").put_parameter(
        Name="/pmp/dev/service/release", Value="x", Type="String"
    ),
    "make a password": lambda account: account.client("gitlab-plan-dev", "secretsmanager").create_secret(
        Name="pmp/dev/x", SecretString="x"
    ),
    "read a password": lambda account: account.client("gitlab-plan-dev", "secretsmanager").get_secret_value(
        SecretId=_secret(account, "pmp/dev/database/pmp_app")
    ),
    "read an OAuth client's secret": lambda account: account.client(
        "gitlab-plan-dev", "secretsmanager"
    ).get_secret_value(SecretId=_secret(account, "pmp/dev/clients/smoke")),
    "describe an OAuth client": _describe_client,
    "read a runner's token": lambda account: account.client("gitlab-plan-dev", "ssm").get_parameters(
        Names=["/pmp/dev/runner/token"], WithDecryption=True
    ),
    "read deployed code": lambda account: account.client("gitlab-plan-dev", "s3").get_object(
        Bucket=DEPLOYMENT_BUCKET, Key=f"lambda/{'0' * 64}.zip"
    ),
    "take a state's lock": lambda account: account.client("gitlab-plan-dev", "s3").put_object(
        Bucket=STATE_BUCKET, Key="service/dev/service.tfstate.tflock", Body=b"{}"
    ),
    "release a state's lock": lambda account: account.client("gitlab-plan-dev", "s3").delete_object(
        Bucket=STATE_BUCKET, Key="service/dev/service.tfstate.tflock"
    ),
    "read another environment's state": lambda account: account.client("gitlab-plan-dev", "s3").get_object(
        Bucket=STATE_BUCKET, Key="service/prod/service.tfstate"
    ),
    "decrypt with the state key directly": lambda account: account.client("gitlab-plan-dev", "kms").decrypt(
        KeyId=account.key_arn,
        CiphertextBlob=account.client("admin", "kms").encrypt(KeyId=account.key_arn, Plaintext=b"x")["CiphertextBlob"],
    ),
}

DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


def _refused(attempt: Attempt, account: Enforced) -> str:
    with pytest.raises(ClientError) as raised:
        attempt(account)
    return str(raised.value.response["Error"]["Code"])


@pytest.mark.parametrize("what", ESCALATIONS)
def test_gitlab_is_denied_every_escalation(
    what: str, enforced: Enforced, record_attempt: Callable[[str, str], None]
) -> None:
    assert _refused(ESCALATIONS[what], enforced) in DENIED
    record_attempt("gitlab-dev", "what others own, its own limits")


@pytest.mark.parametrize("what", PERMITTED)
def test_gitlab_is_allowed_its_own_actions(what: str, enforced: Enforced) -> None:
    """The refusals above are meaningful, because the same identity succeeds where it must."""
    PERMITTED[what](enforced)


@pytest.mark.parametrize("what", PLAN_REFUSED)
def test_plan_identity_is_denied_writes_and_secrets(
    what: str, enforced: Enforced, record_attempt: Callable[[str, str], None]
) -> None:
    assert _refused(PLAN_REFUSED[what], enforced) in DENIED
    record_attempt("gitlab-plan-dev", "dev: changes and secrets")


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [
        pytest.param({}, False, id="no headers"),
        pytest.param({"ServerSideEncryption": "AES256"}, False, id="wrong algorithm"),
        pytest.param({"ServerSideEncryption": "aws:kms"}, False, id="right algorithm, AWS's own key"),
        pytest.param({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "foreign"}, False, id="wrong key"),
        pytest.param(
            {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "own"}, False, id="right key, other algorithm"
        ),
        pytest.param({"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "own"}, True, id="right algorithm and key"),
    ],
)
def test_state_bucket_accepts_only_the_right_encryption(
    headers: dict[str, str], accepted: bool, enforced: Enforced
) -> None:
    keys = {"own": enforced.key_arn, "foreign": f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/{enforced.foreign_key_id}"}
    if "SSEKMSKeyId" in headers:
        headers = headers | {"SSEKMSKeyId": keys[headers["SSEKMSKeyId"]]}
    arguments: dict[str, Any] = {"Bucket": STATE_BUCKET, "Key": "foundation/dev/foundation.tfstate", "Body": b"{}"}

    def attempt(account: Enforced) -> Any:
        return account.client("gitlab-dev", "s3").put_object(**arguments, **headers)

    if accepted:
        attempt(enforced)
    else:
        assert _refused(attempt, enforced) in DENIED


def test_second_access_key_works_until_it_is_deactivated(enforced: Enforced) -> None:
    """Keys rotate without a gap: both work until one is deactivated."""
    iam = enforced.client("admin", "iam")
    second = iam.create_access_key(UserName="gitlab-plan-dev")["AccessKey"]
    try:
        for identity in (enforced.client("gitlab-plan-dev", "sts"), _client_of(enforced, second)):
            assert identity.get_caller_identity()["Arn"].endswith("user/pmp/gitlab-plan-dev")
        iam.update_access_key(UserName="gitlab-plan-dev", AccessKeyId=second["AccessKeyId"], Status="Inactive")
        with pytest.raises(ClientError):
            _client_of(enforced, second).get_caller_identity()
    finally:
        iam.delete_access_key(UserName="gitlab-plan-dev", AccessKeyId=second["AccessKeyId"])


def _client_of(enforced: Enforced, key: dict[str, Any]) -> Any:
    import boto3

    return boto3.client(
        "sts",
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        region_name=REGION,
        endpoint_url=enforced.instance.aws_url,
        verify=str(enforced.instance.ca_file),
    )
