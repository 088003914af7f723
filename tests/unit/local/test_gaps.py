"""PMP's additions to MiniStack, tested in this process."""

import asyncio
import copy
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from ministack.services import apigateway, lambda_svc

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


FUNCTION = {
    "config": {"Version": "$LATEST"},
    "versions": {number: {"config": {"Version": number}} for number in ("1", "2")},
    "aliases": {"live": {"FunctionVersion": "1"}},
    "concurrency": 20,
}


@pytest.fixture
def weigh(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, float]], None]:
    """Give a function's alias weights, in the patched emulator."""
    monkeypatch.setattr(lambda_svc, "_effective_func_record_for_qualifier", _find)
    monkeypatch.setattr(lambda_svc, "_invoke", lambda_svc._invoke)
    gaps.split_aliases_by_weight()
    function = copy.deepcopy(FUNCTION)
    monkeypatch.setattr(lambda_svc, "_functions", {"pmp-dev": function})

    def give(weights: dict[str, float]) -> None:
        function["aliases"]["live"]["RoutingConfig"] = {"AdditionalVersionWeights": weights}  # type: ignore[index]

    return give


_find = lambda_svc._effective_func_record_for_qualifier


def _served(count: int = 2000) -> Counter[str]:
    found = (lambda_svc._get_func_record_for_ref("pmp-dev:live") for _ in range(count))
    return Counter(config["Version"] for _, config, _ in found)


def test_an_alias_splits_invocations_by_weight(weigh: Callable[[dict[str, float]], None]) -> None:
    assert _served() == {"1": 2000}
    weigh({"2": 0.1})
    assert 140 < _served()["2"] < 260, "200 with a standard deviation of 13"
    weigh({"2": 1})
    assert _served() == {"2": 2000}
    weigh({})
    assert _served() == {"1": 2000}


def test_versions_are_limited_by_the_functions_reserved_concurrency(
    weigh: Callable[[dict[str, float]], None],
) -> None:
    for weight in (0, 1):
        weigh({"2": weight})
        record, config, _ = lambda_svc._get_func_record_for_ref("pmp-dev:live")
        assert lambda_svc._reserved_concurrency(record, config) == 20
    assert "concurrency" not in lambda_svc._functions["pmp-dev"]["versions"]["1"], "the record itself is as before"


def test_an_unknown_qualifier_is_still_unknown(weigh: Callable[[dict[str, float]], None]) -> None:
    weigh({"2": 1})
    assert lambda_svc._get_func_record_for_ref("pmp-dev:other")[:2] == (None, None)
    assert lambda_svc._get_func_record_for_ref("other:live")[:2] == (None, None)
    assert lambda_svc._get_func_record_for_ref("pmp-dev:1")[1] == {"Version": "1"}
