"""What the emulator is told about event sources and aliases of Lambda, so that it authorizes requests as AWS does."""

import pytest
from ministack.services import lambda_svc

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
