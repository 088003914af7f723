"""Planned arguments against CloudFormation's resource schemas: a second source of AWS's rules."""

from typing import Any

import pytest

from checks import resource_schemas
from checks.inventory import resource_type
from checks.planning import LAYERS, Planner
from ops.settings import ENVIRONMENTS


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("layer", LAYERS)
def test_cloudformation_accepts_every_planned_argument(plans: Planner, layer: str, environment: str) -> None:
    found = [
        f"{address}: {one}"
        for address, values in plans.plan(layer, environment).resources.items()
        if resource_type(address) in resource_schemas.mapping()
        for one in resource_schemas.violations(resource_type(address), values)
    ]
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_every_mapped_type_is_planned(plans: Planner) -> None:
    planned = {resource_type(address) for layer in LAYERS for address in plans.plan(layer, "prod").resources}
    assert set(resource_schemas.mapping()) <= planned


def test_every_mapped_argument_has_a_rule() -> None:
    assert len(resource_schemas.mapping()) >= 15
    without = [
        f"{kind}.{argument}"
        for kind, entry in resource_schemas.mapping().items()
        for argument in entry["arguments"]
        if not set(resource_schemas.rules(kind, argument)) - {"type"}
    ]
    assert not without, "a mapped property without any rule checks nothing"


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        ("aws_security_group", {"description": "The API's Lambda function"}, "does not match"),
        ("aws_security_group", {"description": "x" * 256}, "256 is above the maxLength of 255"),
        ("aws_iam_role", {"name": "pmp dev"}, "does not match"),
        ("aws_iam_role", {"permissions_boundary": "arn"}, "3 is below the minLength of 20"),
        ("aws_iam_role", {"max_session_duration": 60}, "60 is below the minimum of 3,600"),
        ("aws_cloudwatch_log_group", {"retention_in_days": 31}, "31 is not one of 1, 3, 5"),
        ("aws_cloudwatch_metric_alarm", {"comparison_operator": "Above"}, "'Above' is not one of"),
        ("aws_cloudwatch_metric_alarm", {"treat_missing_data": "x" * 256}, "256 is above the maxLength of 255"),
        ("aws_db_instance", {"allocated_storage": "20 GiB"}, "does not match"),
        ("aws_db_instance", {"performance_insights_retention_period": 8}, "8 is not one of 7, 31"),
        ("aws_lambda_function", {"architectures": ["amd64"]}, "'amd64' is not one of"),
        ("aws_lambda_function", {"architectures": []}, "0 is below the minItems of 1"),
        ("aws_lambda_function", {"memory_size": 40000}, "40,000 is above the maximum of 32,768"),
        ("aws_s3_bucket", {"bucket": "PMP"}, "does not match"),
        ("aws_sqs_queue", {"visibility_timeout_seconds": 43201}, "above the maximum"),
        ("aws_ssm_parameter", {"type": "Text"}, "'Text' is not one of String, StringList"),
    ],
)
def test_wrong_argument_is_found(kind: str, values: dict[str, Any], reason: str) -> None:
    assert any(reason in one for one in resource_schemas.violations(kind, values))


def test_number_of_a_property_that_is_text_is_right() -> None:
    assert resource_schemas.violations("aws_db_instance", {"allocated_storage": 20, "port": 5432}) == []
