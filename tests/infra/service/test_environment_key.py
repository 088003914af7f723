"""An environment's key allows its deploying identity by name: IAM allows use by tag, and tags take minutes to apply."""

import fnmatch
import json
from typing import Any

import pytest

from checks.planning import Planner

pytestmark = pytest.mark.slow

ACCOUNT = "000000000000"
# Actions that Terraform, and the services it calls, need on a key within seconds of its creation.
SETTING_UP = {
    "kms:CreateAlias",
    "kms:DescribeKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListResourceTags",
}
THROUGH_SERVICES = {"kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"}


def _statements(plans: Planner) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(plans.plan("foundation", "dev").resources["aws_kms_key.this"]["policy"])[
        "Statement"
    ]
    return found


def _met(statement: dict[str, Any], request: dict[str, str]) -> bool:
    """Return whether a request meets a statement's conditions."""
    for operator, wanted in statement.get("Condition", {}).items():
        for key, values in wanted.items():
            patterns = [values] if isinstance(values, str) else values
            matches = fnmatch.fnmatchcase if operator in {"ArnLike", "StringLike"} else str.__eq__
            if not any(matches(request.get(key, ""), pattern) for pattern in patterns):
                return False
    return True


def allowed(statements: list[dict[str, Any]], **request: str) -> set[str]:
    """Return the actions that the key's policy itself allows, without any IAM policy."""
    context = {"kms:CallerAccount": ACCOUNT, **{key.replace("__", ":"): value for key, value in request.items()}}
    return {
        action
        for statement in statements
        if statement["Principal"] == {"AWS": "*"} and _met(statement, context)
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }


@pytest.mark.parametrize("name", ["user/pmp/gitlab", "user/pmp/gitlab-dev", "role/pmp/gitlab", "role/pmp/gitlab-dev"])
def test_deploying_identity_can_use_the_key_without_a_tag(plans: Planner, name: str) -> None:
    who = {"aws__PrincipalArn": f"arn:aws:iam::{ACCOUNT}:{name}"}
    assert allowed(_statements(plans), **who) >= SETTING_UP
    for service in ("rds", "secretsmanager"):
        through = allowed(_statements(plans), **who, kms__ViaService=f"{service}.eu-west-1.amazonaws.com")
        assert through >= THROUGH_SERVICES
    assert "kms:CreateGrant" in allowed(_statements(plans), **who, kms__GrantIsForAWSResource="true")


@pytest.mark.parametrize(
    "name", ["user/pmp/gitlab-plan", "user/pmp/gitlab-prod", "role/pmp/pmp-dev-function", "user/gitlab", "role/other"]
)
def test_key_policy_alone_allows_no_other_identity(plans: Planner, name: str) -> None:
    """The policy has one exception, not tested here: AWS's own role, which encrypts the disks of instances."""
    who = {"aws__PrincipalArn": f"arn:aws:iam::{ACCOUNT}:{name}", "kms__GrantIsForAWSResource": "true"}
    for service in ("rds", "secretsmanager", "s3"):
        assert not allowed(_statements(plans), **who, kms__ViaService=f"{service}.eu-west-1.amazonaws.com")


def test_deploying_identity_cannot_decrypt_directly(plans: Planner) -> None:
    who = {"aws__PrincipalArn": f"arn:aws:iam::{ACCOUNT}:user/pmp/gitlab"}
    assert not allowed(_statements(plans), **who) & {"kms:Decrypt", "kms:GenerateDataKey", "kms:CreateGrant"}
