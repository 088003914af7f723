"""What the function tells CloudWatch and X-Ray beside its log: numbers without dimensions, and nothing in traces.

The values of a metric filter's dimensions come from the line, and a layer or a wrapper would add segments that PMP's
code does not know. ``tests/integration/seen`` sends marked personal data through the code itself.
"""

import re
from typing import Any

import pytest

from checks.inventory import resource_type
from checks.planning import Planner
from ops.settings import ENVIRONMENTS, ROOT

pytestmark = pytest.mark.slow


def of_type(plans: Planner, environment: str, kind: str) -> dict[str, dict[str, Any]]:
    resources = plans.plan("service", environment).resources
    return {address: values for address, values in resources.items() if resource_type(address) == kind}


def free_metrics(filters: dict[str, dict[str, Any]]) -> list[str]:
    """Return the filters whose metrics could carry a text of a line."""
    return [
        address
        for address, values in filters.items()
        for metric in values["metric_transformation"]
        if metric.get("dimensions") or not re.fullmatch(r"1|\$\.[a-z_]+", metric["value"])
    ]


def tracers(function: dict[str, Any]) -> list[str]:
    """Return what would add to the traces of a function: layers, and variables of wrappers and tracing libraries."""
    variables = [name for block in function.get("environment") or [] for name in block["variables"]]
    names = ("AWS_LAMBDA_EXEC_WRAPPER", "AWS_XRAY_", "OTEL_", "POWERTOOLS_")
    return [*(function.get("layers") or []), *(name for name in variables if name.startswith(names))]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_metrics_of_the_log_have_no_dimensions(plans: Planner, environment: str) -> None:
    filters = of_type(plans, environment, "aws_cloudwatch_log_metric_filter")
    assert len(filters) >= 9
    assert free_metrics(filters) == []
    (address, values), *_ = filters.items()
    (metric,) = values["metric_transformation"]
    for change in ({"dimensions": {"Client": "$.client"}}, {"value": '"$.client"'}):
        assert free_metrics({address: {"metric_transformation": [metric | change]}}) == [address]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_lambda_alone_writes_traces(plans: Planner, environment: str) -> None:
    (function,) = of_type(plans, environment, "aws_lambda_function").values()
    assert function["tracing_config"] == [{"mode": "Active"}]
    assert tracers(function) == []
    wrapped = {
        "layers": ["arn:aws:lambda:eu-west-1:901920570463:layer:aws-otel-python"],
        "environment": [{"variables": {"OTEL_SERVICE_NAME": "pmp"}}],
    }
    assert len(tracers(wrapped)) == 2


def test_function_cannot_put_metrics_of_its_own() -> None:
    """A plan does not know the policy, which names what is made with it."""
    text = "".join(file.read_text() for file in (ROOT / "modules/function").glob("*.tf"))
    assert '"logs:PutLogEvents"' in text
    assert set(re.findall(r'"((?:cloudwatch|xray):[\w*]+)"', text)) == {
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    }
