"""What the emulator is told about event sources and aliases of Lambda, so that it authorizes requests as AWS does."""

import pytest
from ministack.services import lambda_svc, rds

from local.ministack import authorization

MAPPINGS = "/2015-03-31/event-source-mappings"
FUNCTION = "arn:aws:lambda:eu-west-1:000000000000:function:pmp-dev"


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("POST", f"{MAPPINGS}/", "lambda:CreateEventSourceMapping"),
        ("GET", f"{MAPPINGS}/", "lambda:ListEventSourceMappings"),
        ("GET", f"{MAPPINGS}/x", "lambda:GetEventSourceMapping"),
        ("PUT", f"{MAPPINGS}/x", "lambda:UpdateEventSourceMapping"),
        ("DELETE", f"{MAPPINGS}/x", "lambda:DeleteEventSourceMapping"),
        ("GET", "/2015-03-31/functions/pmp-dev", None),
    ],
)
def test_request_on_an_event_source_has_its_own_action(method: str, path: str, action: str | None) -> None:
    assert authorization.event_source_action(method, path) == action


@pytest.mark.parametrize(
    ("method", "path", "action"),
    [
        ("POST", "/2015-03-31/functions/pmp-dev/aliases", "lambda:CreateAlias"),
        ("GET", "/2015-03-31/functions/pmp-dev/aliases", "lambda:ListAliases"),
        ("GET", "/2015-03-31/functions/pmp-dev/aliases/live", "lambda:GetAlias"),
        ("PUT", "/2015-03-31/functions/pmp-dev/aliases/live", "lambda:UpdateAlias"),
        ("DELETE", "/2015-03-31/functions/pmp-dev/aliases/live", "lambda:DeleteAlias"),
        ("GET", "/2015-03-31/functions/pmp-dev/versions", None),
    ],
)
def test_request_on_an_alias_has_its_own_action(method: str, path: str, action: str | None) -> None:
    assert authorization.alias_action(method, path) == action


@pytest.mark.parametrize("name", ["pmp-dev", FUNCTION])
def test_function_of_a_new_event_source_is_a_condition_key(name: str) -> None:
    keys = authorization.event_source_keys(f"{MAPPINGS}/", {"FunctionName": name}, "eu-west-1", "000000000000")
    assert keys == {"lambda:FunctionArn": FUNCTION}


def test_function_of_an_existing_event_source_is_a_condition_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lambda_svc, "_esms", {"x": {"FunctionArn": FUNCTION}})
    keys = authorization.event_source_keys(f"{MAPPINGS}/x", {}, "eu-west-1", "000000000000")
    assert keys == {"lambda:FunctionArn": FUNCTION}
    assert authorization.event_source_keys(f"{MAPPINGS}/unknown", {}, "eu-west-1", "000000000000") == {}


@pytest.mark.parametrize(
    ("parameters", "resource"),
    [
        ({"DBClusterIdentifier": "pmp-dev"}, "cluster:pmp-dev"),
        ({"DBInstanceIdentifier": "pmp-dev-1", "DBClusterIdentifier": "pmp-dev"}, "db:pmp-dev-1"),
        ({"DBClusterParameterGroupName": "pmp-dev-1"}, "cluster-pg:pmp-dev-1"),
        ({"DBProxyEndpointName": "pmp-dev-readers"}, "db-proxy-endpoint:*"),
    ],
)
def test_requests_on_clusters_name_their_resource(parameters: dict[str, str], resource: str) -> None:
    found = authorization.named_resource("rds", parameters, {})
    assert found == f"arn:aws:rds:${{Region}}:${{Account}}:{resource}"


def test_tags_of_a_proxy_endpoint_are_condition_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    arn = "arn:aws:rds:eu-west-1:000000000000:db-proxy-endpoint:prx-endpoint-1"
    monkeypatch.setattr(rds, "_db_proxy_endpoints", {"pmp-dev-readers": {"DBProxyEndpointArn": arn}})
    monkeypatch.setattr(rds, "_tags", {arn: [{"Key": "Environment", "Value": "dev"}]})
    for parameters in ({"DBProxyEndpointName": "pmp-dev-readers"}, {"ResourceName": arn}):
        assert authorization.rds_keys(parameters) == {"aws:ResourceTag/Environment": "dev"}
