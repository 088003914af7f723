"""Requests on the wire, decoded and judged: the round trip of each protocol, and one mutation per kind of rule in each.

botocore writes the requests here; those of Terraform's provider are judged in tests/e2e.
"""

import json
import time
from typing import Any
from urllib.parse import urlencode

import botocore.session
import pytest
from botocore.serialize import create_serializer

from checks import aws_requests
from local.account import Account
from local.ministack.requests import RawRequest, Request, decode

SESSION = botocore.session.Session()
Parameters = dict[str, Any]
RULE = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432}
PERMISSION = RULE | {"IpRanges": [{"CidrIp": "10.0.0.0/16", "Description": "function to proxy"}]}
RECORD_SET = {
    "Name": "api.pmp.example.com",
    "Type": "A",
    "TTL": 60,
    "ResourceRecords": [{"Value": "192.0.2.1"}, {"Value": "192.0.2.2"}],
}
ALARM = {
    "AlarmName": "pmp-dev-x",
    "EvaluationPeriods": 1,
    "Threshold": 0.5,
    "ComparisonOperator": "GreaterThanThreshold",
    "ActionsEnabled": True,
    "Dimensions": [{"Name": "FunctionName", "Value": "pmp-dev"}],
}

# By name: protocol, service, operation and parameters that AWS accepts.
RIGHT: dict[str, tuple[str, str, str, Parameters]] = {
    "ec2 group": (
        "ec2",
        "ec2",
        "CreateSecurityGroup",
        {
            "GroupName": "pmp-dev-function",
            "Description": "Lambda function of the API",
            "VpcId": "vpc-0",
            "TagSpecifications": [
                {
                    "ResourceType": "security-group",
                    "Tags": [{"Key": "Project", "Value": "pmp"}, {"Key": "b", "Value": ""}],
                }
            ],
        },
    ),
    "ec2 rule": (
        "ec2",
        "ec2",
        "AuthorizeSecurityGroupIngress",
        {"GroupId": "sg-0", "IpPermissions": [PERMISSION, PERMISSION]},
    ),
    "ec2 list": (
        "ec2",
        "ec2",
        "DescribeVpcs",
        {"Filters": [{"Name": "vpc-id", "Values": ["vpc-0"]}], "MaxResults": 50},
    ),
    "query role": (
        "query",
        "iam",
        "CreateRole",
        {
            "RoleName": "pmp-dev-function",
            "AssumeRolePolicyDocument": '{"Statement": []}',
            "MaxSessionDuration": 3600,
            "Tags": [{"Key": "Project", "Value": "pmp é"}],
        },
    ),
    "query proxy": (
        "query",
        "rds",
        "CreateDBProxy",
        {
            "DBProxyName": "pmp-dev",
            "EngineFamily": "POSTGRESQL",
            "RoleArn": "arn:aws:iam::123456789012:role/pmp/pmp-dev-database-proxy",
            "VpcSubnetIds": ["subnet-0", "subnet-1"],
            "RequireTLS": True,
        },
    ),
    "query map": ("query", "sns", "CreateTopic", {"Name": "pmp-dev", "Attributes": {"KmsMasterKeyId": "k", "B": "c"}}),
    # PMP calls no service with flattened lists; the protocol has them.
    "query flat list": (
        "query",
        "sdb",
        "PutAttributes",
        {
            "DomainName": "abc",
            "ItemName": "i",
            "Attributes": [{"Name": "a", "Value": "b"}, {"Name": "c", "Value": "d"}],
        },
    ),
    "query alarm": ("query", "cloudwatch", "PutMetricAlarm", ALARM),
    "cbor alarm": ("smithy-rpc-v2-cbor", "cloudwatch", "PutMetricAlarm", ALARM),
    "json group": (
        "json",
        "logs",
        "CreateLogGroup",
        {"logGroupName": "/aws/lambda/pmp-dev", "tags": {"Project": "pmp"}},
    ),
    "json pool": ("json", "cognito-idp", "CreateUserPool", {"PoolName": "pmp-dev", "DeletionProtection": "ACTIVE"}),
    "json filter": (
        "json",
        "logs",
        "PutRetentionPolicy",
        {"logGroupName": "/aws/lambda/pmp-dev", "retentionInDays": 30},
    ),
    "json parameters": ("json", "ssm", "GetParametersByPath", {"Path": "/pmp", "MaxResults": 10}),
    "rest-json function": (
        "rest-json",
        "lambda",
        "CreateFunction",
        {
            "FunctionName": "pmp-dev",
            "Role": "arn:aws:iam::123456789012:role/pmp/pmp-dev-function",
            "Code": {"S3Bucket": "pmp-deployments", "S3Key": "lambda/0.zip"},
            "MemorySize": 1024,
            "Architectures": ["arm64"],
        },
    ),
    "rest-json tags": (
        "rest-json",
        "lambda",
        "UntagResource",
        {"Resource": "arn:aws:lambda:eu-west-1:123456789012:function:pmp-dev", "TagKeys": ["a", "b"]},
    ),
    "rest-json api": (
        "rest-json",
        "apigatewayv2",
        "CreateApi",
        {"Name": "pmp-dev", "ProtocolType": "HTTP", "CorsConfiguration": {"AllowOrigins": ["*"], "MaxAge": 60}},
    ),
    "rest-xml records": (
        "rest-xml",
        "route53",
        "ChangeResourceRecordSets",
        {"HostedZoneId": "Z0", "ChangeBatch": {"Changes": [{"Action": "UPSERT", "ResourceRecordSet": RECORD_SET}]}},
    ),
    "rest-xml bucket": (
        "rest-xml",
        "s3",
        "PutBucketVersioning",
        {"Bucket": "pmp-dev-imports", "VersioningConfiguration": {"Status": "Enabled"}},
    ),
    "rest-xml tags": (
        "rest-xml",
        "s3",
        "PutBucketTagging",
        {"Bucket": "pmp-dev-imports", "Tagging": {"TagSet": [{"Key": "a", "Value": "b"}, {"Key": "c", "Value": ""}]}},
    ),
    "rest-xml lifecycle": (
        "rest-xml",
        "s3",
        "PutBucketLifecycleConfiguration",
        {
            "Bucket": "pmp-dev-imports",
            "LifecycleConfiguration": {
                "Rules": [{"Status": "Enabled", "Filter": {"Prefix": "a"}, "Expiration": {"Days": 7}}]
            },
        },
    ),
    "rest-xml object": ("rest-xml", "s3", "HeadObject", {"Bucket": "pmp-dev-imports", "Key": "uploads/a b/ü.csv"}),
    "rest-xml part": (
        "rest-xml",
        "s3",
        "UploadPart",
        {"Bucket": "pmp-dev-imports", "Key": "exports/1", "PartNumber": 2, "UploadId": "u"},
    ),
    "rest-xml list": ("rest-xml", "s3", "ListObjectsV2", {"Bucket": "pmp-dev-imports", "Prefix": "a/", "MaxKeys": 5}),
    "rest-xml policy": ("rest-xml", "s3", "PutBucketPolicy", {"Bucket": "pmp-dev-imports", "Policy": '{"Id": "ü"}'}),
}


def sent(protocol: str, service: str, operation: str, parameters: Parameters) -> RawRequest:
    """Return a request as botocore puts it on the wire, without its signature's digest."""
    model = SESSION.get_service_model(service)
    request = create_serializer(protocol, include_validation=False).serialize_to_request(
        parameters, model.operation_model(operation)
    )
    body = request["body"] or b""
    if isinstance(body, dict):
        body = urlencode(body)
    scope = f"Credential=AKIA0/20260102/eu-west-1/{model.signing_name}/aws4_request"
    headers = {name.lower(): str(value) for name, value in request["headers"].items()}
    return RawRequest(
        request["method"],
        request["url_path"].partition("?")[0],
        "&".join(filter(None, [request["url_path"].partition("?")[2], urlencode(request["query_string"], doseq=True)])),
        headers | {"authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"},
        body if isinstance(body, bytes) else body.encode(),
    )


def recorded(name: str, **changes: Any) -> Request:
    """Return a right request after its way over the wire, with some parameters changed; None takes one out."""
    protocol, service, operation, given = RIGHT[name]
    parameters = {key: value for key, value in (given | changes).items() if value is not None}
    found = decode(sent(protocol, service, operation, parameters))
    assert found
    return found


@pytest.mark.parametrize("name", RIGHT)
def test_request_is_decoded_to_what_was_sent(name: str) -> None:
    _, service, operation, parameters = RIGHT[name]
    found = recorded(name)
    assert found == (service, operation, parameters)
    assert aws_requests.violations(*found) == []


def _change(**changes: Any) -> Parameters:
    change = {"Action": "UPSERT", "ResourceRecordSet": RECORD_SET} | changes
    return {"ChangeBatch": {"Changes": [change]}}


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        # In each protocol one mutation per kind of rule that models of its services have.
        ("ec2 group", {"Description": "The API's"}, "Description: \"The API's\" has ', allowed are"),
        ("ec2 rule", {"IpPermissions": [RULE | {"IpRanges": [{"Description": '"'}]}]}, "[0].Description: '\"' has"),
        ("ec2 group", {"Description": "x" * 256}, "above the documented most of 255"),
        ("ec2 group", {"GroupName": "sg-x"}, "must not begin with sg-"),
        ("ec2 group", {"Description": None}, "Description: is required"),
        ("ec2 group", {"TagSpecifications": [{"ResourceType": "group"}]}, "[0].ResourceType: 'group' is not one of"),
        ("ec2 rule", {"IpPermissions": [RULE | {"FromPort": "psql"}]}, "FromPort: must be a integer, not 'psql'"),
        ("ec2 list", {"MaxResults": 1}, "MaxResults: 1 is below the least of 5"),
        ("query role", {"RoleName": "pmp dev"}, "RoleName: 'pmp dev' does not match"),
        ("query role", {"RoleName": "p" * 65}, "65 characters is above the most of 64"),
        ("query role", {"MaxSessionDuration": 60}, "60 is below the least of 3,600"),
        ("query role", {"AssumeRolePolicyDocument": None}, "AssumeRolePolicyDocument: is required"),
        ("query role", {"Tags": [{"Key": "", "Value": "x"}]}, "Tags[0].Key: 0 characters is below the least of 1"),
        ("query proxy", {"EngineFamily": "POSTGRES"}, "'POSTGRES' is not one of MYSQL, POSTGRESQL"),
        ("query alarm", {"EvaluationPeriods": 0}, "EvaluationPeriods: 0 is below the least of 1"),
        ("query alarm", {"ActionsEnabled": None, "Dimensions": [{"Name": "x"}]}, "Dimensions[0].Value: is required"),
        ("cbor alarm", {"ComparisonOperator": "Above"}, "'Above' is not one of"),
        ("cbor alarm", {"AlarmName": ""}, "0 characters is below the least of 1"),
        ("cbor alarm", {"AlarmName": None}, "AlarmName: is required"),
        ("cbor alarm", {"Dimensions": [{"Name": ":x", "Value": ""}]}, "Value: 0 characters is below"),
        ("json pool", {"DeletionProtection": "ON"}, "'ON' is not one of"),
        ("json pool", {"PoolName": "pmp/dev"}, "'pmp/dev' does not match"),
        ("json pool", {"PoolName": None}, "PoolName: is required"),
        ("json group", {"logGroupName": "x" * 513}, "513 characters is above the most of 512"),
        ("json group", {"tags": {}}, "0 entries is below the least of 1"),
        ("json filter", {"retentionInDays": "x"}, "must be a integer"),
        ("json parameters", {"MaxResults": 11}, "11 is above the most of 10"),
        ("rest-json function", {"MemorySize": 64}, "64 is below the least of 128"),
        ("rest-json function", {"Architectures": ["amd64"]}, "'amd64' is not one of"),
        ("rest-json function", {"Architectures": []}, "0 items is below the least of 1"),
        ("rest-json function", {"FunctionName": "pmp dev"}, "'pmp dev' does not match"),
        ("rest-json function", {"Role": None}, "Role: is required"),
        ("rest-json function", {"Description": "x" * 257}, "257 characters is above the most of 256"),
        ("rest-json tags", {"Resource": "pmp-dev"}, "Resource: 'pmp-dev' does not match"),
        ("rest-json api", {"ProtocolType": "HTTPS"}, "'HTTPS' is not one of WEBSOCKET, HTTP"),
        ("rest-xml records", _change(Action="MAKE"), "Action: 'MAKE' is not one of CREATE, DELETE, UPSERT"),
        ("rest-xml records", _change(ResourceRecordSet=RECORD_SET | {"TTL": -1}), "TTL: -1 is below the least of 0"),
        ("rest-xml records", {"HostedZoneId": "Z" * 33}, "HostedZoneId: 33 characters is above the most of 32"),
        ("rest-xml records", {"ChangeBatch": {"Changes": []}}, "Changes: 0 items is below the least of 1"),
        ("rest-xml records", _change(ResourceRecordSet={"Type": "A"}), "ResourceRecordSet.Name: is required"),
        ("rest-xml records", _change(ResourceRecordSet=RECORD_SET | {"TTL": "x"}), "TTL: must be a long, not 'x'"),
        (
            "rest-xml records",
            _change(ResourceRecordSet=RECORD_SET | {"HealthCheckId": "h" * 65}),
            "above the most of 64",
        ),
        ("rest-xml bucket", {"VersioningConfiguration": {"Status": "On"}}, "'On' is not one of Enabled, Suspended"),
    ],
)
def test_each_kind_of_rule_is_seen_in_each_protocol(name: str, changes: Parameters, expected: str) -> None:
    found = [str(one) for one in aws_requests.violations(*recorded(name, **changes))]
    assert any(expected in one for one in found), found


SECRET = "correct horse battery staple"


@pytest.mark.parametrize(
    ("protocol", "service", "operation", "parameters"),
    [
        ("json", "secretsmanager", "PutSecretValue", {"SecretId": "x", "SecretString": SECRET}),
        ("json", "ssm", "PutParameter", {"Name": "x", "Value": SECRET}),
        (
            "json",
            "cognito-idp",
            "InitiateAuth",
            {"AuthFlow": "USER_AUTH", "ClientId": "a", "AuthParameters": {"P": SECRET}},
        ),
        ("query", "rds", "ModifyDBInstance", {"DBInstanceIdentifier": "x", "MasterUserPassword": SECRET}),
        ("query", "iam", "CreateLoginProfile", {"UserName": "x", "Password": SECRET}),
        ("ec2", "ec2", "RunInstances", {"MinCount": 1, "MaxCount": 1, "UserData": SECRET}),
        (
            "rest-json",
            "lambda",
            "UpdateFunctionConfiguration",
            {"FunctionName": "x", "Environment": {"Variables": {"P": SECRET}}},
        ),
        ("rest-json", "lambda", "Invoke", {"FunctionName": "x", "Payload": SECRET}),
        ("rest-xml", "s3", "PutObject", {"Bucket": "xyz", "Key": "k", "SSECustomerKey": SECRET}),
    ],
)
def test_secret_is_never_recorded(protocol: str, service: str, operation: str, parameters: Parameters) -> None:
    found = decode(sent(protocol, service, operation, parameters))
    assert found
    assert (found.service, found.operation) == (service, operation)
    assert SECRET not in found.line()
    assert aws_requests.violations(*found) == []


def test_unknown_operation_and_unreadable_body_are_findings() -> None:
    raw = sent(*RIGHT["json group"])
    unknown = decode(raw._replace(headers={**raw.headers, "x-amz-target": "Logs_20140328.MakeLogGroup"}))
    unreadable = decode(raw._replace(body=b"{"))
    elsewhere = decode(
        raw._replace(headers={"authorization": "Credential=A/20260102/eu-west-1/newservice/aws4_request"})
    )
    lines = [one.line() for one in (unknown, unreadable, elsewhere) if one]
    found = [str(one) for one in aws_requests.recorded_violations(lines)]
    assert len(found) == 3
    assert "MakeLogGroup" in found[0]
    assert "not JSON" in found[1]
    assert "no service newservice" in found[2]


def test_unknown_member_is_a_finding() -> None:
    raw = sent(*RIGHT["query role"])
    found = decode(raw._replace(body=raw.body + b"&Colour=red"))
    assert found
    assert [str(one) for one in aws_requests.violations(*found)] == [
        "iam:CreateRole Colour: is not a member of CreateRoleRequest"
    ]


def test_unsigned_request_is_not_decoded() -> None:
    assert decode(RawRequest("GET", "/v1/users", "", {"authorization": "Bearer x"}, b"")) is None


def test_launcher_records_each_distinct_request_once(account: Account) -> None:
    session = account.session("admin")
    for _ in range(2):
        session.client("ssm").put_parameter(Name="/x", Value=SECRET, Type="String", Overwrite=True)
        session.client("iam").list_roles(PathPrefix="/pmp/")
    s3 = session.client("s3")
    s3.create_bucket(Bucket="states", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="states", Key="a", Body=SECRET.encode())
    session.client("cloudwatch").put_metric_alarm(**{**ALARM, "Period": 60, "Statistic": "Sum"})
    deadline = time.monotonic() + 30
    while "PutMetricAlarm" not in account.instance.request_record.read_text():
        assert time.monotonic() < deadline, "the last request was not recorded"
        time.sleep(0.1)
    text = account.instance.request_record.read_text()
    found = [json.loads(line) for line in text.splitlines()]
    assert SECRET not in text
    assert [(one["service"], one["operation"]) for one in found] == [
        ("ssm", "PutParameter"),
        ("iam", "ListRoles"),
        ("s3", "CreateBucket"),
        ("s3", "PutObject"),
        ("cloudwatch", "PutMetricAlarm"),
    ]
    assert aws_requests.recorded_violations(text.splitlines()) == []
