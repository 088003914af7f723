"""PMP's additions to MiniStack, tested in this process."""

import asyncio
import json
from typing import Any

import pytest
from ministack.services import apigateway

from local.ministack import gaps


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> str:
    """Path of a stage with route settings and an access log, in the patched emulator."""
    monkeypatch.setattr(apigateway, "handle_request", apigateway.handle_request)
    gaps.keep_stage_without_its_settings()
    api = _ask("POST", "/v2/apis", {"name": "trial", "protocolType": "HTTP"})["apiId"]
    settings = {
        "stageName": "$default",
        "routeSettings": {"POST /v1/exports": {"throttlingBurstLimit": 5}, "GET /v1/users": {}},
        "accessLogSettings": {"destinationArn": "arn", "format": "{}"},
    }
    _ask("POST", f"/v2/apis/{api}/stages", settings)
    return f"/v2/apis/{api}/stages/$default"


def _ask(method: str, path: str, body: Any = None) -> Any:
    status, _, answer = asyncio.run(apigateway.handle_request(method, path, {}, json.dumps(body or {}).encode(), {}))
    assert status < 300, answer
    return json.loads(answer or b"null")


def test_deleting_route_settings_keeps_the_stage(stage: str) -> None:
    _ask("DELETE", f"{stage}/routesettings/POST%20%2Fv1%2Fexports")
    assert list(_ask("GET", stage)["routeSettings"]) == ["GET /v1/users"]


def test_deleting_access_log_settings_keeps_the_stage(stage: str) -> None:
    _ask("DELETE", f"{stage}/accesslogsettings")
    assert "accessLogSettings" not in _ask("GET", stage)


def test_stage_can_be_deleted(stage: str) -> None:
    _ask("DELETE", stage)
    assert _ask("GET", stage.rpartition("/")[0])["items"] == []


@pytest.mark.parametrize(("metric", "expected"), [("", False), ("5xx", True)])
def test_only_an_alarm_on_a_metric_has_a_period_and_a_statistic(metric: str, expected: bool) -> None:
    alarm = {
        "AlarmName": "a",
        "MetricName": metric,
        "Period": 60,
        "Statistic": "Average",
        "StateUpdatedTimestamp": 0,
        "AlarmConfigurationUpdatedTimestamp": 0,
        "ActionsEnabled": True,
        "Dimensions": [],
    }
    text = gaps._alarm_xml(alarm)
    assert ("<Period>" in text) is expected
    assert ("<Statistic>" in text) is expected
