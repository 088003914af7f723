"""Identities of one environment try to reach another's resources in an account that both share; every one is denied.

pytest prints the attempts by identity and environment at the end of the run.
"""

import contextlib
import io
import json
import uuid
import zipfile
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from botocore.exceptions import ClientError
from ministack.core import iam_evaluator

from tests.infra.service.conftest import (
    ACCOUNT_ID,
    DEPLOYMENT_BUCKET,
    DOMAIN,
    READER,
    REGION,
    STATE_BUCKET,
    WRITER,
    Enforced,
    Planned,
)

DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}
TAGS = {"Project": "pmp", "Environment": "prod"}
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
EVERYTHING = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]})
FUNCTION_ROLE = f"arn:aws:iam::{ACCOUNT_ID}:role/pmp/pmp-prod-function"


def _listed(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


class Prod(NamedTuple):
    """Resources of prod that AWS names, by their ids and ARNs."""

    key: str
    pool: str
    client: str
    certificate: str
    api: str
    route: str
    zone: str
    master_secret: str
    topic: str
    queue: str


def _network(account: Enforced) -> list[str]:
    ec2 = account.client("admin", "ec2")
    vpc = ec2.create_vpc(CidrBlock="10.95.0.0/16")["Vpc"]["VpcId"]
    return [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.95.{number}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"][
            "SubnetId"
        ]
        for number, zone in enumerate("ab")
    ]


def _code() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("main.py", "def handler(event, context): return 1\n")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def prod(enforced: Enforced) -> Prod:
    """Create what prod has, as the administrator: an attempt must not fail because its target is missing."""
    admin = {
        name: enforced.client("admin", name)
        for name in (
            *("acm", "apigatewayv2", "autoscaling", "cloudwatch", "cognito-idp", "ec2", "kms", "lambda", "logs", "rds"),
            *("route53", "s3", "scheduler", "secretsmanager", "sns", "sqs", "ssm"),
        )
    }
    for name in ("database/pmp_app", "database/pmp_migrator", "clients/smoke"):
        with contextlib.suppress(ClientError):  # another test may have made it
            admin["secretsmanager"].create_secret(Name=f"pmp/prod/{name}", SecretString="{}")
    for name in ("/pmp/prod/foundation/database_host", "/pmp/account/prod/permissions_boundary_arn"):
        admin["ssm"].put_parameter(Name=name, Value="x", Type="String", Overwrite=True)
    bucket = f"pmp-prod-imports-{ACCOUNT_ID}-{REGION}"
    admin["s3"].create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
    admin["s3"].put_object(Bucket=bucket, Key="people.csv", Body=b"ada@example.com")
    admin["s3"].put_object(Bucket=DEPLOYMENT_BUCKET, Key=f"lambda/{'a' * 64}.zip", Body=b"code", IfNoneMatch="*")
    key = admin["kms"].create_key(Tags=[{"TagKey": k, "TagValue": v} for k, v in TAGS.items()])["KeyMetadata"]["KeyId"]
    admin["kms"].create_alias(AliasName="alias/pmp-prod", TargetKeyId=key)
    pool = admin["cognito-idp"].create_user_pool(PoolName="pmp-prod", UserPoolTags=TAGS)["UserPool"]["Id"]
    client = admin["cognito-idp"].create_user_pool_client(UserPoolId=pool, ClientName="x", GenerateSecret=True)
    certificate = admin["acm"].request_certificate(
        DomainName=f"api.{DOMAIN}", ValidationMethod="DNS", Tags=_listed(TAGS)
    )["CertificateArn"]
    api = admin["apigatewayv2"].create_api(Name="pmp-prod", ProtocolType="HTTP", Tags=TAGS)["ApiId"]
    route = admin["apigatewayv2"].create_route(ApiId=api, RouteKey="GET /v1/users")["RouteId"]
    # The policies name a zone, and the emulator makes up ids.
    admin["logs"].create_log_group(logGroupName="/aws/lambda/pmp-prod")
    admin["lambda"].create_function(
        FunctionName="pmp-prod",
        Runtime="python3.13",
        Handler="main.handler",
        Role=FUNCTION_ROLE,
        Code={"ZipFile": _code()},
        Tags=TAGS,
    )
    shape: dict[str, Any] = {"DBInstanceClass": "db.t3.micro", "Engine": "postgres", "MasterUsername": "pmp_admin"}
    made = admin["rds"].create_db_instance(
        DBInstanceIdentifier="pmp-prod", ManageMasterUserPassword=True, Tags=_listed(TAGS), **shape
    )["DBInstance"]
    [instance] = admin["rds"].describe_db_instances(DBInstanceIdentifier=made["DBInstanceIdentifier"])["DBInstances"]
    topic = admin["sns"].create_topic(Name="pmp-prod-critical", Tags=_listed(TAGS))["TopicArn"]
    queue = admin["sqs"].create_queue(QueueName="pmp-prod-failed-events", tags=TAGS)["QueueUrl"]
    return Prod(
        key=key,
        pool=pool,
        client=client["UserPoolClient"]["ClientId"],
        certificate=certificate,
        api=api,
        route=route,
        zone="Z0123456789ABCDEFGHIJ",
        master_secret=instance["MasterUserSecret"]["SecretArn"],
        topic=topic,
        queue=queue,
    )


class Attempt(NamedTuple):
    """A call that must be denied: service, operation, and the arguments for prod's resources."""

    service: str
    operation: str
    arguments: Callable[[Prod], dict[str, Any]]


def _call(service: str, operation: str, **arguments: Any) -> Attempt:
    return Attempt(service, operation, lambda _prod: arguments)


def _record(action: str, name: str) -> dict[str, Any]:
    record = {"Name": name, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "192.0.2.1"}]}
    return {"Changes": [{"Action": action, "ResourceRecordSet": record}]}


def _policy(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT_ID}:policy/pmp/{name}"


_STATE = {"Bucket": STATE_BUCKET, "Key": "service/prod/service.tfstate"}
_LOCK = {"Bucket": STATE_BUCKET, "Key": "service/prod/service.tfstate.tflock"}
_IMPORTS = f"pmp-prod-imports-{ACCOUNT_ID}-{REGION}"

READS: dict[str, Attempt] = {
    "read the service's state": _call("s3", "get_object", **_STATE),
    "read the foundation's state": _call(
        "s3", "get_object", Bucket=STATE_BUCKET, Key="foundation/prod/foundation.tfstate"
    ),
    "read the account layer's state": _call("s3", "get_object", Bucket=STATE_BUCKET, Key="account.tfstate"),
    "list states outside the layers": _call("s3", "list_objects_v2", Bucket=STATE_BUCKET, Prefix="account"),
    "read the application's password": _call(
        "secretsmanager", "get_secret_value", SecretId="pmp/prod/database/pmp_app"
    ),
    "read the migrator's password": _call(
        "secretsmanager", "get_secret_value", SecretId="pmp/prod/database/pmp_migrator"
    ),
    "read an OAuth client's secret": _call("secretsmanager", "get_secret_value", SecretId="pmp/prod/clients/smoke"),
    "describe a secret": _call("secretsmanager", "describe_secret", SecretId="pmp/prod/database/pmp_app"),
    "read the master's password": Attempt(
        "secretsmanager", "get_secret_value", lambda prod: {"SecretId": prod.master_secret}
    ),
    "read a parameter": _call("ssm", "get_parameter", Name="/pmp/prod/foundation/database_host"),
    "read its boundary's parameter": _call("ssm", "get_parameter", Name="/pmp/account/prod/permissions_boundary_arn"),
    "read the runner's token": _call("ssm", "get_parameters", Names=["/pmp/prod/runner/token"], WithDecryption=True),
    "read an uploaded list of people": _call("s3", "get_object", Bucket=_IMPORTS, Key="people.csv"),
    "list uploaded files": _call("s3", "list_objects_v2", Bucket=_IMPORTS),
    "read the imports bucket's policy": _call("s3", "get_bucket_policy", Bucket=_IMPORTS),
    "read a role": _call("iam", "get_role", RoleName="pmp-prod-function"),
    "read the function": _call("lambda", "get_function", FunctionName="pmp-prod"),
    "describe the key": Attempt("kms", "describe_key", lambda prod: {"KeyId": prod.key}),
    "read the key's policy": Attempt(
        "kms", "get_key_policy", lambda prod: {"KeyId": prod.key, "PolicyName": "default"}
    ),
    "describe the user pool": Attempt("cognito-idp", "describe_user_pool", lambda prod: {"UserPoolId": prod.pool}),
    "describe an OAuth client": Attempt(
        "cognito-idp", "describe_user_pool_client", lambda prod: {"UserPoolId": prod.pool, "ClientId": prod.client}
    ),
    "describe the certificate": Attempt(
        "acm", "describe_certificate", lambda prod: {"CertificateArn": prod.certificate}
    ),
    "read the API": Attempt("apigatewayv2", "get_api", lambda prod: {"ApiId": prod.api}),
    "become the function": _call("sts", "assume_role", RoleArn=FUNCTION_ROLE, RoleSessionName="other"),
}

WRITES: dict[str, Attempt] = {
    "write the service's state": _call("s3", "put_object", **_STATE, Body=b"{}", ServerSideEncryption="aws:kms"),
    "take the service's lock": _call("s3", "put_object", **_LOCK, Body=b"{}", ServerSideEncryption="aws:kms"),
    "release the service's lock": _call("s3", "delete_object", **_LOCK),
    "write a password": _call(
        "secretsmanager", "put_secret_value", SecretId="pmp/prod/database/pmp_app", SecretString="x"
    ),
    "delete a secret": _call("secretsmanager", "delete_secret", SecretId="pmp/prod/clients/smoke"),
    "make a secret": _call("secretsmanager", "create_secret", Name="pmp/prod/clients/intruder", SecretString="x"),
    "write a parameter": _call(
        "ssm", "put_parameter", Name="/pmp/prod/foundation/database_host", Value="x", Type="String", Overwrite=True
    ),
    "write its boundary's parameter": _call(
        "ssm",
        "put_parameter",
        Name="/pmp/account/prod/permissions_boundary_arn",
        Value="x",
        Type="String",
        Overwrite=True,
    ),
    "upload a list of people": _call("s3", "put_object", Bucket=_IMPORTS, Key="x.csv", Body=b"x"),
    "delete an uploaded file": _call("s3", "delete_object", Bucket=_IMPORTS, Key="people.csv"),
    "change the imports bucket's policy": _call("s3", "put_bucket_policy", Bucket=_IMPORTS, Policy=EVERYTHING),
    "make a role with its name": _call(
        "iam",
        "create_role",
        RoleName="pmp-prod-intruder",
        Path="/pmp/",
        AssumeRolePolicyDocument=TRUST,
        PermissionsBoundary=_policy("pmp-prod-boundary"),
    ),
    "make a role with its boundary": _call(
        "iam",
        "create_role",
        RoleName="pmp-dev-intruder",
        Path="/pmp/",
        AssumeRolePolicyDocument=TRUST,
        PermissionsBoundary=_policy("pmp-prod-boundary"),
    ),
    "put its boundary on an own role": _call(
        "iam",
        "put_role_permissions_boundary",
        RoleName="pmp-dev-function",
        PermissionsBoundary=_policy("pmp-prod-boundary"),
    ),
    "change a role's trust": _call(
        "iam", "update_assume_role_policy", RoleName="pmp-prod-function", PolicyDocument=TRUST
    ),
    "give a role a policy": _call(
        "iam", "put_role_policy", RoleName="pmp-prod-function", PolicyName="x", PolicyDocument=EVERYTHING
    ),
    "delete a role": _call("iam", "delete_role", RoleName="pmp-prod-function"),
    "put a version on its policy": _call(
        "iam",
        "create_policy_version",
        PolicyArn=_policy("pmp-prod-iam"),
        PolicyDocument=EVERYTHING,
        SetAsDefault=True,
    ),
    "put a version on its boundary": _call(
        "iam",
        "create_policy_version",
        PolicyArn=_policy("pmp-prod-boundary"),
        PolicyDocument=EVERYTHING,
        SetAsDefault=True,
    ),
    "attach its policy to itself": _call(
        "iam", "attach_user_policy", UserName="gitlab-dev", PolicyArn=_policy("pmp-prod-service")
    ),
    "make a key for its identity": _call("iam", "create_access_key", UserName="gitlab-prod"),
    "deploy other code": _call("lambda", "update_function_code", FunctionName="pmp-prod", ZipFile=_code()),
    "change the function": _call("lambda", "update_function_configuration", FunctionName="pmp-prod", Timeout=3),
    "invoke the function": _call("lambda", "invoke", FunctionName="pmp-prod"),
    "let others invoke the function": _call(
        "lambda",
        "add_permission",
        FunctionName="pmp-prod",
        StatementId="x",
        Action="lambda:InvokeFunction",
        Principal=ACCOUNT_ID,
    ),
    "delete the function": _call("lambda", "delete_function", FunctionName="pmp-prod"),
    "delete the database": _call("rds", "delete_db_instance", DBInstanceIdentifier="pmp-prod", SkipFinalSnapshot=True),
    "change the database": _call(
        "rds", "modify_db_instance", DBInstanceIdentifier="pmp-prod", MasterUserPassword="x" * 12
    ),
    "tag the database": _call(
        "rds",
        "add_tags_to_resource",
        ResourceName=f"arn:aws:rds:{REGION}:{ACCOUNT_ID}:db:pmp-prod",
        Tags=_listed({"Environment": "dev"}),
    ),
    "delete the log group": _call("logs", "delete_log_group", logGroupName="/aws/lambda/pmp-prod"),
    "delete an alarm": _call("cloudwatch", "delete_alarms", AlarmNames=["pmp-prod-api-5xx"]),
    "delete the dashboard": _call("cloudwatch", "delete_dashboards", DashboardNames=["pmp-prod"]),
    "delete the topic of critical alarms": Attempt("sns", "delete_topic", lambda prod: {"TopicArn": prod.topic}),
    "delete the queue of failed events": Attempt("sqs", "delete_queue", lambda prod: {"QueueUrl": prod.queue}),
    "delete a schedule": _call("scheduler", "delete_schedule", Name="pmp-prod-housekeeping"),
    "scale the runner": _call(
        "autoscaling", "update_auto_scaling_group", AutoScalingGroupName="pmp-prod-runner", MinSize=0, MaxSize=0
    ),
    "take over the key by its policy": Attempt(
        "kms", "put_key_policy", lambda prod: {"KeyId": prod.key, "PolicyName": "default", "Policy": EVERYTHING}
    ),
    "take over the key by a tag": Attempt(
        "kms",
        "tag_resource",
        lambda prod: {"KeyId": prod.key, "Tags": [{"TagKey": "Environment", "TagValue": "dev"}]},
    ),
    "delete the key": Attempt("kms", "schedule_key_deletion", lambda prod: {"KeyId": prod.key}),
    "rename the key": _call("kms", "delete_alias", AliasName="alias/pmp-prod"),
    "make a key with its tags": _call(
        "kms", "create_key", Tags=[{"TagKey": key, "TagValue": value} for key, value in TAGS.items()]
    ),
    "delete the user pool": Attempt("cognito-idp", "delete_user_pool", lambda prod: {"UserPoolId": prod.pool}),
    "make an OAuth client": Attempt(
        "cognito-idp", "create_user_pool_client", lambda prod: {"UserPoolId": prod.pool, "ClientName": "intruder"}
    ),
    "tag the user pool": Attempt(
        "cognito-idp",
        "tag_resource",
        lambda prod: {
            "ResourceArn": f"arn:aws:cognito-idp:{REGION}:{ACCOUNT_ID}:userpool/{prod.pool}",
            "Tags": TAGS | {"Environment": "dev"},
        },
    ),
    "delete the certificate": Attempt("acm", "delete_certificate", lambda prod: {"CertificateArn": prod.certificate}),
    "tag the certificate": Attempt(
        "acm",
        "add_tags_to_certificate",
        lambda prod: {"CertificateArn": prod.certificate, "Tags": _listed(TAGS | {"Environment": "dev"})},
    ),
    "delete the API": Attempt("apigatewayv2", "delete_api", lambda prod: {"ApiId": prod.api}),
    "open a route of the API": Attempt(
        "apigatewayv2",
        "update_route",
        lambda prod: {"ApiId": prod.api, "RouteId": prod.route, "AuthorizationType": "NONE"},
    ),
    "change the API's record": Attempt(
        "route53",
        "change_resource_record_sets",
        lambda prod: {"HostedZoneId": prod.zone, "ChangeBatch": _record("UPSERT", f"api.{DOMAIN}.")},
    ),
    "change its record beside an own one": Attempt(
        "route53",
        "change_resource_record_sets",
        lambda prod: {
            "HostedZoneId": prod.zone,
            "ChangeBatch": {
                "Changes": [
                    *_record("UPSERT", f"api.dev.{DOMAIN}")["Changes"],
                    *_record("DELETE", f"API.{DOMAIN}")["Changes"],
                ]
            },
        },
    ),
    "overwrite the code it runs": _call(
        "s3", "put_object", Bucket=DEPLOYMENT_BUCKET, Key=f"lambda/{'a' * 64}.zip", Body=b"other"
    ),
    "delete the code it runs": _call("s3", "delete_object", Bucket=DEPLOYMENT_BUCKET, Key=f"lambda/{'a' * 64}.zip"),
}

# Who deploys prod may do what it likes there, but not this to dev.
OF_PROD: dict[str, Attempt] = {
    "read the service's state": _call("s3", "get_object", Bucket=STATE_BUCKET, Key="service/dev/service.tfstate"),
    "write the service's state": _call(
        "s3", "put_object", Bucket=STATE_BUCKET, Key="service/dev/service.tfstate", Body=b"{}"
    ),
    "read a secret": _call("secretsmanager", "get_secret_value", SecretId="pmp/dev/database/pmp_app"),
    "change a role": _call(
        "iam", "put_role_policy", RoleName="pmp-dev-function", PolicyName="x", PolicyDocument=EVERYTHING
    ),
    "publish code": _call(
        "s3", "put_object", Bucket=DEPLOYMENT_BUCKET, Key=f"lambda/{'b' * 64}.zip", Body=b"x", IfNoneMatch="*"
    ),
}

ATTEMPTS: list[tuple[str, str, str, Attempt]] = [
    *(
        ("gitlab-dev", "prod", what, attempt)
        for what, attempt in (READS | WRITES).items()
        if what != "describe an OAuth client"
    ),
    *(("gitlab-plan-dev", "prod", what, attempt) for what, attempt in (READS | WRITES).items()),
    *(("gitlab-prod", "dev", what, attempt) for what, attempt in OF_PROD.items()),
]


@pytest.mark.parametrize(
    ("user", "environment", "what", "attempt"),
    [pytest.param(*one, id=f"{one[0]}: {one[2]}") for one in ATTEMPTS],
)
def test_identity_is_denied_another_environment(  # noqa: PLR0917 - one row of a table, and fixtures
    user: str,
    environment: str,
    what: str,
    attempt: Attempt,
    enforced: Enforced,
    prod: Prod,
    record_attempt: Callable[[str, str], None],
) -> None:
    client = enforced.client(user, attempt.service)
    with pytest.raises(ClientError) as raised:
        getattr(client, attempt.operation)(**attempt.arguments(prod))
    assert raised.value.response["Error"]["Code"] in DENIED, what
    record_attempt(user, environment)


ROLES = {
    "database-monitoring": "monitoring.rds",
    "database-proxy": "rds",
    "flow-log": "vpc-flow-logs",
    "function": "lambda",
    "runner": "ec2",
    "scheduler": "scheduler",
}


@pytest.mark.parametrize(("role", "service"), ROLES.items())
def test_role_of_another_environment_cannot_be_passed(
    role: str, service: str, planned: Planned, record_attempt: Callable[[str, str], None]
) -> None:
    """The emulator does not check iam:PassRole when a function is made, but its evaluator of policies does."""
    statements = [
        iam_evaluator.parse_policy_document(json.dumps(document))
        for document in planned.deliveries["dev"].policies.values()
    ]

    def decision(environment: str) -> str:
        context = iam_evaluator.EvalContext(
            principal_arn=f"arn:aws:iam::{ACCOUNT_ID}:user/pmp/gitlab-dev",
            principal_type="User",
            principal_account=ACCOUNT_ID,
            action="iam:PassRole",
            resource_arn=f"arn:aws:iam::{ACCOUNT_ID}:role/pmp/pmp-{environment}-{role}",
            region=REGION,
            service_context={"iam:passedtoservice": f"{service}.amazonaws.com"},
        )
        return str(iam_evaluator.evaluate(context, statements).decision)

    assert decision("dev") == "Allow"
    assert decision("prod") == "ImplicitDeny"
    record_attempt("gitlab-dev", "prod")


@pytest.mark.parametrize(("user", "role"), [("gitlab-dev", WRITER), ("gitlab-plan-dev", READER)])
def test_zone_of_another_account_is_reached_by_the_own_role_alone(user: str, role: str, enforced: Enforced) -> None:
    """Who plans reads records, who deploys changes them; the emulated account does not have the roles."""
    sts = enforced.client(user, "sts")
    refused_by_own_policies = {}
    for arn in (WRITER, READER):
        with pytest.raises(ClientError, match="AccessDenied") as raised:
            sts.assume_role(RoleArn=arn, RoleSessionName="records")
        refused_by_own_policies[arn] = "no identity-based policy allows" in str(raised.value)
    assert refused_by_own_policies == {WRITER: role != WRITER, READER: role != READER}


def _own_key(account: Enforced) -> Any:
    tags = [{"TagKey": "Project", "TagValue": "pmp"}, {"TagKey": "Environment", "TagValue": "dev"}]
    return account.client("gitlab-dev", "kms").create_key(Tags=tags)


def _own_pool(account: Enforced) -> Any:
    cognito = account.client("gitlab-dev", "cognito-idp")
    pool = cognito.create_user_pool(PoolName="pmp-dev", UserPoolTags=TAGS | {"Environment": "dev"})["UserPool"]["Id"]
    cognito.create_user_pool_client(UserPoolId=pool, ClientName="x", GenerateSecret=True)
    return cognito.delete_user_pool(UserPoolId=pool)


def _own_certificate(account: Enforced) -> Any:
    acm = account.client("gitlab-dev", "acm")
    made = acm.request_certificate(
        DomainName=f"api.dev.{DOMAIN}", ValidationMethod="DNS", Tags=_listed(TAGS | {"Environment": "dev"})
    )
    return acm.delete_certificate(CertificateArn=made["CertificateArn"])


def _own_api(account: Enforced) -> Any:
    gateway = account.client("gitlab-dev", "apigatewayv2")
    api = gateway.create_api(Name="pmp-dev", ProtocolType="HTTP", Tags=TAGS | {"Environment": "dev"})["ApiId"]
    gateway.create_route(ApiId=api, RouteKey="GET /v1/users")
    return gateway.delete_api(ApiId=api)


def _own_master_secret(account: Enforced) -> Any:
    rds = account.client("admin", "rds")
    rds.create_db_instance(
        DBInstanceIdentifier=f"pmp-dev-{uuid.uuid4().hex[:4]}",
        DBInstanceClass="db.t3.micro",
        Engine="postgres",
        MasterUsername="pmp_admin",
        ManageMasterUserPassword=True,
    )
    found = next(
        one["MasterUserSecret"]["SecretArn"]
        for one in rds.describe_db_instances()["DBInstances"]
        if one["DBInstanceIdentifier"].startswith("pmp-dev-")
    )
    return account.client("gitlab-dev", "secretsmanager").get_secret_value(SecretId=found)


def _own_code(account: Enforced) -> Any:
    key = f"lambda/{uuid.uuid4().hex * 2}.zip"
    return account.client("gitlab-dev", "s3").put_object(Bucket=DEPLOYMENT_BUCKET, Key=key, Body=b"x", IfNoneMatch="*")


def _code_of_all(account: Enforced) -> Any:
    return account.client("gitlab-prod", "s3").get_object(Bucket=DEPLOYMENT_BUCKET, Key=f"lambda/{'a' * 64}.zip")


def _own_record(account: Enforced) -> Any:
    """The emulated account has no zone of this id, so that only the permission is tested."""
    with pytest.raises(ClientError) as raised:
        account.client("gitlab-dev", "route53").change_resource_record_sets(
            HostedZoneId="Z0123456789ABCDEFGHIJ", ChangeBatch=_record("UPSERT", f"_a1.api.dev.{DOMAIN}")
        )
    assert raised.value.response["Error"]["Code"] == "NoSuchHostedZone"


@pytest.mark.parametrize(
    "action",
    [_own_key, _own_pool, _own_certificate, _own_api, _own_master_secret, _own_code, _code_of_all, _own_record],
)
def test_identity_is_allowed_the_same_in_its_own_environment(
    action: Callable[[Enforced], Any], enforced: Enforced, prod: Prod
) -> None:
    """The refusals above are meaningful, because the same identity succeeds with its own resources."""
    action(enforced)
