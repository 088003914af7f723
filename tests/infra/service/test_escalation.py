"""What GitLab's identity must never be able to do, tried as that identity on an account that enforces its policies."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.infra.service.conftest import ACCOUNT_ID, DEPLOYMENT_BUCKET, REGION, STATE_BUCKET, Enforced

BOUNDARY = f"arn:aws:iam::{ACCOUNT_ID}:policy/pmp/pmp-boundary"
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

Attempt = Callable[[Enforced], Any]


def _iam(operation: str, **arguments: Any) -> Attempt:
    return lambda account: getattr(account.client("gitlab", "iam"), operation)(**arguments)


def _s3(operation: str, **arguments: Any) -> Attempt:
    return lambda account: getattr(account.client("gitlab", "s3"), operation)(**arguments)


def _kms(operation: str, key: str, **arguments: Any) -> Attempt:
    """``key``: ``state`` or ``foreign``."""

    def attempt(account: Enforced) -> Any:
        key_id = account.key_arn if key == "state" else account.foreign_key_id
        return getattr(account.client("gitlab", "kms"), operation)(KeyId=key_id, **arguments)

    return attempt


def _decrypt_foreign(account: Enforced) -> Any:
    blob = account.client("admin", "kms").encrypt(KeyId=account.foreign_key_id, Plaintext=b"x")["CiphertextBlob"]
    return account.client("gitlab", "kms").decrypt(KeyId=account.foreign_key_id, CiphertextBlob=blob)


def _create_role(name: str, path: str = "/pmp/", **arguments: Any) -> Attempt:
    return _iam("create_role", RoleName=name, Path=path, AssumeRolePolicyDocument=TRUST, **arguments)


ESCALATIONS: dict[str, Attempt] = {
    "create an administrator": _iam("create_user", UserName="root2"),
    "give itself AdministratorAccess": _iam("attach_user_policy", UserName="gitlab", PolicyArn=ADMINISTRATOR),
    "give itself an inline policy": _iam(
        "put_user_policy", UserName="gitlab", PolicyName="more", PolicyDocument=EVERYTHING
    ),
    "detach its guardrails": _iam(
        "detach_user_policy",
        UserName="gitlab",
        PolicyArn=f"arn:aws:iam::{ACCOUNT_ID}:policy/pmp/pmp-delivery-guardrails",
    ),
    "make itself another access key": _iam("create_access_key", UserName="gitlab"),
    "make a key for the plan identity": _iam("create_access_key", UserName="gitlab-plan"),
    "join a group": _iam("add_user_to_group", GroupName="admins", UserName="gitlab"),
    "set itself a password": _iam("create_login_profile", UserName="gitlab", Password="Correct-horse-1"),
    "widen the boundary": _iam(
        "create_policy_version", PolicyArn=BOUNDARY, PolicyDocument=EVERYTHING, SetAsDefault=True
    ),
    "widen its own policy": _iam(
        "create_policy_version",
        PolicyArn=f"arn:aws:iam::{ACCOUNT_ID}:policy/pmp/pmp-delivery-iam",
        PolicyDocument=EVERYTHING,
        SetAsDefault=True,
    ),
    "go back to an older version of its policy": _iam(
        "set_default_policy_version",
        PolicyArn=f"arn:aws:iam::{ACCOUNT_ID}:policy/pmp/pmp-delivery-iam",
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
    "become an outside role": lambda account: account.client("gitlab", "sts").assume_role(
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
    "read another product's secret": lambda account: account.client("gitlab", "secretsmanager").get_secret_value(
        SecretId="other/product"
    ),
    "read another environment's secret": lambda account: account.client("gitlab", "secretsmanager").get_secret_value(
        SecretId="pmp/prod/database/pmp_app"
    ),
    "change another product's function": lambda account: account.client(
        "gitlab", "lambda"
    ).update_function_configuration(FunctionName="other", Timeout=3),
    "delete an untagged network": lambda account: account.client("gitlab", "ec2").delete_vpc(
        VpcId=account.client("admin", "ec2").create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    ),
    "delete another product's database": lambda account: account.client("gitlab", "rds").delete_db_instance(
        DBInstanceIdentifier="other", SkipFinalSnapshot=True
    ),
    "write what the account layer hands over": lambda account: account.client("gitlab", "ssm").put_parameter(
        Name="/pmp/account/permissions_boundary_arn", Value=ADMINISTRATOR, Type="String", Overwrite=True
    ),
}

PERMITTED: dict[str, Attempt] = {
    "write its state": lambda account: account.client("gitlab", "s3").put_object(
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
    "make a network": lambda account: account.client("gitlab", "ec2").create_vpc(CidrBlock="10.98.0.0/16"),
}

PLAN_REFUSED: dict[str, Attempt] = {
    "write a state": lambda account: account.client("plan", "s3").put_object(
        Bucket=STATE_BUCKET,
        Key="service/dev/service.tfstate",
        Body=b"{}",
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId=account.key_arn,
    ),
    "publish code": lambda account: account.client("plan", "s3").put_object(
        Bucket=DEPLOYMENT_BUCKET, Key=f"lambda/{'0' * 64}.zip", Body=b"x"
    ),
    "make a role": lambda account: account.client("plan", "iam").create_role(
        RoleName="pmp-dev-scheduler2", Path="/pmp/", AssumeRolePolicyDocument=TRUST, PermissionsBoundary=BOUNDARY
    ),
    "make a network": lambda account: account.client("plan", "ec2").create_vpc(CidrBlock="10.97.0.0/16"),
    "change a function": lambda account: account.client("plan", "lambda").update_function_configuration(
        FunctionName="pmp-dev", Timeout=3
    ),
    "write a parameter": lambda account: account.client("plan", "ssm").put_parameter(
        Name="/pmp/dev/service/release", Value="x", Type="String"
    ),
    "make a password": lambda account: account.client("plan", "secretsmanager").create_secret(
        Name="pmp/dev/x", SecretString="x"
    ),
}

DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


def _refused(attempt: Attempt, account: Enforced) -> str:
    with pytest.raises(ClientError) as raised:
        attempt(account)
    return str(raised.value.response["Error"]["Code"])


@pytest.mark.parametrize("what", ESCALATIONS)
def test_gitlab_cannot(what: str, enforced: Enforced) -> None:
    assert _refused(ESCALATIONS[what], enforced) in DENIED


@pytest.mark.parametrize("what", PERMITTED)
def test_gitlab_can(what: str, enforced: Enforced) -> None:
    """The refusals mean something: the same identity gets through where it must."""
    PERMITTED[what](enforced)


@pytest.mark.parametrize("what", PLAN_REFUSED)
def test_plan_identity_cannot(what: str, enforced: Enforced) -> None:
    assert _refused(PLAN_REFUSED[what], enforced) in DENIED


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
def test_state_bucket_takes_only_the_right_key(headers: dict[str, str], accepted: bool, enforced: Enforced) -> None:
    keys = {"own": enforced.key_arn, "foreign": f"arn:aws:kms:{REGION}:{ACCOUNT_ID}:key/{enforced.foreign_key_id}"}
    if "SSEKMSKeyId" in headers:
        headers = headers | {"SSEKMSKeyId": keys[headers["SSEKMSKeyId"]]}
    arguments: dict[str, Any] = {"Bucket": STATE_BUCKET, "Key": "foundation/dev/foundation.tfstate", "Body": b"{}"}

    def attempt(account: Enforced) -> Any:
        return account.client("gitlab", "s3").put_object(**arguments, **headers)

    if accepted:
        attempt(enforced)
    else:
        assert _refused(attempt, enforced) in DENIED


def test_a_second_key_works_beside_the_first(enforced: Enforced) -> None:
    """Keys rotate without a gap: both work until the first is made inactive."""
    iam = enforced.client("admin", "iam")
    second = iam.create_access_key(UserName="gitlab-plan")["AccessKey"]
    try:
        for identity in (enforced.client("plan", "sts"), _client_of(enforced, second)):
            assert identity.get_caller_identity()["Arn"].endswith("user/pmp/gitlab-plan")
        iam.update_access_key(UserName="gitlab-plan", AccessKeyId=second["AccessKeyId"], Status="Inactive")
        with pytest.raises(ClientError):
            _client_of(enforced, second).get_caller_identity()
    finally:
        iam.delete_access_key(UserName="gitlab-plan", AccessKeyId=second["AccessKeyId"])


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
