"""parliament's findings on the delivery identity's policies; tests/e2e has it judge those of a whole deployment."""

import json
from typing import Any

from checks.judges import policies
from tests.infra.service.conftest import Delivery

# Two statements allow the action together, each one resource under its own condition, as in the list's first group. Not
# in the list itself, because a deployment without Aurora does not have them.
_OF_AURORA = {
    f"CreatePolicy pmp-<environment>-options: RESOURCE_MISMATCH: rds:CreateDBProxyEndpoint on arn:*:rds:*:*:{kind}:*"
    for kind in ("db-proxy", "db-proxy-endpoint")
}


def test_every_finding_on_the_delivery_policies_is_explained(delivery: Delivery) -> None:
    everything = delivery.policies | delivery.plan_policies | {"pmp-dev-boundary": delivery.boundary}
    found = policies.findings({f"CreatePolicy {name}": document for name, document in everything.items()})
    assert found, "the judge found nothing, not even what is explained"
    unexplained = sorted(found - set(policies.explained()) - _OF_AURORA)
    assert not unexplained


def _policy(**changes: Any) -> dict[str, Any]:
    statement = {"Sid": "A", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket/*"}
    return {"Version": "2012-10-17", "Statement": [statement | changes]}


# A policy's fault, and parliament's word for it.
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"Action": "s3:GetObjects"}, "UNKNOWN_ACTION"),
    ({"Resource": "arn:aws:s3:::bucket"}, "RESOURCE_MISMATCH"),
    ({"Resource": "*"}, "RESOURCE_STAR"),
    ({"Effect": "Permit"}, "MALFORMED"),
    ({"Condition": {"StringEqual": {"aws:PrincipalAccount": "1"}}}, "UNKNOWN_OPERATOR"),
    ({"Condition": {"StringEquals": {"ec2:LaunchTemplate": "x"}}}, "UNKNOWN_CONDITION_FOR_ACTION"),
    # The delivery identity's policy once had this fault.
    (
        {
            "Action": ["ec2:CreateTags", "ec2:RunInstances"],
            "Resource": "arn:aws:ec2:*:*:instance/*",
            "Condition": {"ArnLike": {"ec2:LaunchTemplate": "arn:aws:ec2:eu-west-1:1:launch-template/x"}},
        },
        "Unknown condition ec2:LaunchTemplate for action ec2:CreateTags",
    ),
]


def test_fault_of_each_kind_is_found_and_a_right_policy_passes() -> None:
    named = {f"CreatePolicy {number}": _policy(**changes) for number, (changes, _) in enumerate(FAULTS)}
    found = policies.findings({"CreatePolicy right": _policy()} | named)
    assert not [one for one in found if "right" in one]
    missed = [
        issue
        for number, (_, issue) in enumerate(FAULTS)
        if not any(one.startswith(f"CreatePolicy {number}: ") and issue in one for one in found)
    ]
    assert not missed


def test_findings_are_the_same_in_every_account_and_environment() -> None:
    names = [
        f"PutBucketPolicy pmp-{place}-eu-west-1" for place in ("dev-imports-111111111111", "prod-imports-222222222222")
    ]
    assert policies.findings({name: _policy(Resource="*") for name in names}) == {
        "PutBucketPolicy pmp-<environment>-imports-<account>-eu-west-1: RESOURCE_STAR: s3:GetObject"
    }


def test_policies_of_every_kind_are_taken_from_a_record() -> None:
    text = json.dumps(_policy())
    requests: list[tuple[str, dict[str, str]]] = [
        ("CreatePolicy", {"PolicyName": "p", "PolicyDocument": text}),
        ("CreatePolicyVersion", {"PolicyArn": "arn:aws:iam::1:policy/pmp/q", "PolicyDocument": text}),
        ("PutRolePolicy", {"RoleName": "r", "PolicyName": "p", "PolicyDocument": text}),
        ("CreateRole", {"RoleName": "r", "AssumeRolePolicyDocument": text}),
        ("PutBucketPolicy", {"Bucket": "b", "Policy": text}),
        ("CreateKey", {"Description": "d", "Policy": text}),
        ("CreateVpcEndpoint", {"ServiceName": "s", "PolicyDocument": text}),
        ("CreateVpcEndpoint", {"ServiceName": "open"}),
        (
            "SetTopicAttributes",
            {"TopicArn": "arn:aws:sns:eu-west-1:1:t", "AttributeName": "Policy", "AttributeValue": text},
        ),
        (
            "SetTopicAttributes",
            {"TopicArn": "arn:aws:sns:eu-west-1:1:t", "AttributeName": "Other", "AttributeValue": "x"},
        ),
        ("DescribeVpcs", {}),
    ]
    lines = [json.dumps({"service": "x", "operation": name, "parameters": given}) for name, given in requests]
    assert list(policies.documents(lines)) == [
        "CreatePolicy p",
        "CreatePolicy q",
        "PutRolePolicy r p",
        "CreateRole r",
        "PutBucketPolicy b",
        "CreateKey d",
        "CreateVpcEndpoint s",
        "SetTopicAttributes t",
    ]
