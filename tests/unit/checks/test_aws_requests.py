"""The checker of AWS requests: one mutation per kind of rule, on requests that are right without it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import botocore.session
import pytest

from checks import aws_requests

# Every service that a deployment calls.
IN_USE = (
    *("acm", "apigatewayv2", "autoscaling", "cloudformation", "cloudwatch", "cognito-idp", "ec2", "iam", "kms"),
    *("lambda", "logs", "rds", "route53", "route53resolver", "s3", "scheduler", "secretsmanager", "sns", "sqs"),
    *("ssm", "sts"),
)
RULE = {"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443}
# Requests as PMP's deployments make them: by name, service, operation and parameters.
RIGHT: dict[str, tuple[str, str, dict[str, Any]]] = {
    "group": (
        "ec2",
        "CreateSecurityGroup",
        {"GroupName": "pmp-dev-function", "Description": "Lambda function of the API", "VpcId": "vpc-0"},
    ),
    "ingress": (
        "ec2",
        "AuthorizeSecurityGroupIngress",
        {
            "GroupId": "sg-0",
            "IpPermissions": [RULE | {"IpRanges": [{"CidrIp": "10.0.0.0/16", "Description": "function to proxy"}]}],
        },
    ),
    "nat": ("ec2", "CreateNatGateway", {"SubnetId": "subnet-0", "ClientToken": "a" * 64}),
    "role": (
        "iam",
        "CreateRole",
        {
            "RoleName": "pmp-dev-function",
            "Path": "/pmp/",
            "AssumeRolePolicyDocument": "{}",
            "Description": "The API's é",
        },
    ),
    "function": (
        "lambda",
        "CreateFunction",
        {
            "FunctionName": "pmp-dev",
            "Role": "arn:aws:iam::123456789012:role/pmp/pmp-dev-function",
            "Code": {"S3Bucket": "pmp-deployments", "S3Key": "lambda/0.zip"},
            "Runtime": "python3.13",
            "MemorySize": 1024,
            "Architectures": ["arm64"],
        },
    ),
    "log group": ("logs", "CreateLogGroup", {"logGroupName": "/aws/lambda/pmp-dev", "tags": {"Project": "pmp"}}),
    "alarm": (
        "cloudwatch",
        "PutMetricAlarm",
        {
            "AlarmName": "pmp-dev-x",
            "EvaluationPeriods": 1,
            "ComparisonOperator": "GreaterThanThreshold",
            "ActionsEnabled": True,
        },
    ),
    "pool": ("cognito-idp", "CreateUserPool", {"PoolName": "pmp-dev", "DeletionProtection": "ACTIVE"}),
    "proxy": (
        "rds",
        "CreateDBProxy",
        {
            "DBProxyName": "pmp-dev",
            "EngineFamily": "POSTGRESQL",
            "RoleArn": "arn:aws:iam::123456789012:role/pmp/pmp-dev-database-proxy",
            "VpcSubnetIds": ["subnet-0", "subnet-1"],
        },
    ),
    "scaling tag": (
        "autoscaling",
        "CreateOrUpdateTags",
        {"Tags": [{"ResourceId": "pmp-dev-runner", "Key": "Name", "Value": "𝄞"}]},
    ),
}


def changed(name: str, **parameters: Any) -> list[str]:
    """Return the violations of a right request with some parameters changed; None takes one out."""
    service, operation, given = RIGHT[name]
    merged = {key: value for key, value in (given | parameters).items() if value is not None}
    return [str(one) for one in aws_requests.violations(service, operation, merged)]


@pytest.mark.parametrize("name", RIGHT)
def test_right_requests_pass(name: str) -> None:
    assert changed(name) == []


@pytest.mark.parametrize(
    ("name", "parameters", "expected"),
    [
        pytest.param("group", {"Description": None}, "Description: is required", id="required member"),
        pytest.param("group", {"VpcID": "vpc-0"}, "VpcID: is not a member of", id="unknown member"),
        pytest.param("group", {"VpcId": 1}, "VpcId: must be a string, not 1", id="type of a text"),
        pytest.param("function", {"MemorySize": "1024"}, "MemorySize: must be a integer", id="type of a number"),
        pytest.param("function", {"MemorySize": True}, "MemorySize: must be a integer", id="true as a number"),
        pytest.param("alarm", {"ActionsEnabled": 1}, "ActionsEnabled: must be a boolean", id="type of a switch"),
        pytest.param("proxy", {"VpcSubnetIds": "subnet-0"}, "VpcSubnetIds: must be a list", id="type of a list"),
        pytest.param("function", {"Code": "x"}, "Code: must be a structure", id="type of a structure"),
        pytest.param("log group", {"tags": []}, "tags: must be a map", id="type of a map"),
        pytest.param("alarm", {"ComparisonOperator": "Above"}, "'Above' is not one of", id="enumeration"),
        pytest.param("pool", {"DeletionProtection": "ON"}, "'ON' is not one of ACTIVE, INACTIVE", id="enumeration 2"),
        pytest.param("function", {"Architectures": ["amd64"]}, "Architectures[0]: 'amd64' is not", id="in a list"),
        pytest.param("role", {"RoleName": "pmp dev"}, "RoleName: 'pmp dev' does not match", id="pattern"),
        pytest.param("role", {"Description": "→"}, "Description: '→' does not match", id="pattern of characters"),
        pytest.param("proxy", {"DBProxyName": "1pmp"}, "DBProxyName: '1pmp' does not match", id="pattern of a start"),
        pytest.param("scaling tag", {"Tags": [{"Key": "\x00"}]}, "Tags[0].Key: '\\x00' does not", id="surrogates"),
        pytest.param("role", {"RoleName": "p" * 65}, "65 characters is above the most of 64", id="longest text"),
        pytest.param("alarm", {"AlarmName": ""}, "0 characters is below the least of 1", id="shortest text"),
        pytest.param("function", {"MemorySize": 64}, "MemorySize: 64 is below the least of 128", id="least number"),
        pytest.param("function", {"MemorySize": 99_999}, "99,999 is above the most of", id="greatest number"),
        pytest.param(
            "function", {"Architectures": ["arm64", "arm64"]}, "2 items is above the most of 1", id="longest list"
        ),
        pytest.param("function", {"Architectures": []}, "0 items is below the least of 1", id="shortest list"),
        pytest.param("log group", {"tags": {}}, "tags: 0 entries is below the least of 1", id="shortest map"),
        pytest.param("log group", {"tags": {"<": "x"}}, "tags.< (key): '<' does not match", id="key of a map"),
        pytest.param("log group", {"tags": {"x": "<"}}, "tags.x: '<' does not match", id="value of a map"),
        pytest.param(
            "group", {"Description": "The API's"}, "has ', allowed are a-z, A-Z, 0-9, spaces and", id="documented signs"
        ),
        pytest.param(
            "ingress",
            {"IpPermissions": [RULE | {"IpRanges": [{"CidrIp": "10.0.0.0/16", "Description": 'a "b"'}]}]},
            'IpPermissions[0].IpRanges[0].Description: \'a "b"\' has "',
            id="documented signs of a rule",
        ),
        pytest.param("group", {"Description": "é"}, "has é, allowed are", id="documented signs are ASCII"),
        pytest.param("group", {"Description": "x" * 256}, "above the documented most of 255", id="documented length"),
        pytest.param("nat", {"ClientToken": "é"}, "ClientToken: 'é' must be ASCII", id="documented ASCII"),
        pytest.param("group", {"GroupName": "sg-x"}, "'sg-x' must not begin with sg-", id="documented start"),
    ],
)
def test_each_kind_of_rule_is_seen(name: str, parameters: dict[str, Any], expected: str) -> None:
    found = changed(name, **parameters)
    assert any(expected in one for one in found), found


def test_unknown_names_are_told() -> None:
    with pytest.raises(LookupError, match="no service ec3"):
        aws_requests.violations("ec3", "CreateVpc", {})
    with pytest.raises(LookupError, match="no operation CreateVPC of ec2"):
        aws_requests.violations("ec2", "CreateVPC", {})


def test_every_pattern_of_the_services_in_use_can_be_read() -> None:
    """A pattern that cannot be compiled would be a rule that nothing is held against."""
    session = botocore.session.Session()
    patterns = {
        pattern
        for service in IN_USE
        for model in [session.get_service_model(service)]
        for name in model.shape_names
        if (pattern := model.shape_for(name).metadata.get("pattern"))
    }
    assert len(patterns) > 300
    for pattern in patterns:
        aws_requests._compiled(pattern)


def test_a_record_names_each_violation_once_and_the_line_that_is_no_request() -> None:
    wrong = {"service": "ec2", "operation": "CreateSecurityGroup", "parameters": {"GroupName": "a", "Description": "'"}}
    lines = [json.dumps(wrong), json.dumps(wrong)]
    assert len(aws_requests.recorded_violations(lines)) == 1
    with pytest.raises(ValueError, match="line 3 is not a request"):
        aws_requests.recorded_violations([*lines, "{}"])


def test_withheld_secret_counts_as_given() -> None:
    secret = {"Name": "/pmp/dev/x", "Type": "SecureString", "Value": None}
    assert aws_requests.violations("ssm", "PutParameter", secret) == []
    assert aws_requests.violations("ssm", "PutParameter", {"Name": "x"})[0].reason == "is required"


def test_length_of_bytes_is_checked() -> None:
    def found(size: int) -> list[str]:
        request = {"KeyId": "alias/x", "CiphertextBlob": {"bytes": size}}
        return [one.reason for one in aws_requests.violations("kms", "Decrypt", request)]

    assert found(200) == []
    assert found(6145) == ["6,145 bytes is above the most of 6,144"]


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "checks.aws_requests", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_command_prints_a_line_for_each_violation_and_fails(tmp_path: Path) -> None:
    record = tmp_path / "requests.jsonl"
    right = {"service": "ec2", "operation": "CreateVpc", "parameters": {"CidrBlock": "10.0.0.0/16"}}
    record.write_text(json.dumps(right) + "\n")
    done = _run(str(record))
    assert (done.returncode, done.stdout) == (0, f"{record}: 1 distinct requests (ec2 1), 0 violations\n")
    wrong = {"service": "ec2", "operation": "CreateSecurityGroup", "parameters": {"GroupName": "a", "Description": "'"}}
    record.write_text(json.dumps(right) + "\n" + json.dumps(wrong) + "\n")
    done = _run(str(record))
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 2
    assert "ec2:CreateSecurityGroup Description: \"'\" has '" in done.stdout


def test_command_without_a_record_says_what_to_do(tmp_path: Path) -> None:
    done = _run(str(tmp_path / "none"))
    assert done.returncode == 1
    assert done.stderr == f"error: there is no record {tmp_path}/none: run 'make up' first\n"
