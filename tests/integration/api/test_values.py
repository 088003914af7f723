"""Kinds of consent beyond yes and no: a grant chooses among values."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from checks.gateway import Answer, Gateway
from checks.stack import Stack
from tests.integration.api.test_contract import EMAIL

PLAIN: dict[str, Any] = {"description": "x", "channel": "web"}
FREQUENCIES = [{"id": name, "description": name} for name in ("daily", "weekly", "monthly")]


@pytest.fixture
def frequency(api: Gateway) -> str:
    name = f"f{uuid.uuid4().hex[:12]}"
    assert api.put(f"/v1/consents/{name}", PLAIN | {"values": FREQUENCIES, "expires_after_days": 400}).status == 201
    return name


@pytest.fixture
def topics(api: Gateway) -> str:
    name = f"t{uuid.uuid4().hex[:12]}"
    values = [{"id": name, "description": name} for name in ("arts", "news", "sports")]
    assert api.put(f"/v1/consents/{name}", PLAIN | {"values": values, "multiple": True}).status == 201
    return name


def told(api: Gateway, user: str, *choices: dict[str, Any], **fields: Any) -> Answer:
    return api.post("/v1/events", {"user": {"id": user}, "consents": list(choices), **fields})


def consents(api: Gateway, user: str, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.get(f"/v1/users/{user}{query}").json["consents"]
    return found


def test_value_of_the_choice_that_counts_is_shown_everywhere(
    api: Gateway, stack: Stack, frequency: str, topics: str, new_user: Callable[[], str]
) -> None:
    user = new_user()
    first = told(
        api,
        user,
        {"id": EMAIL, "enabled": True},
        {"id": frequency, "enabled": True, "value": "weekly"},
        {"id": topics, "enabled": True, "value": ["sports", "arts"]},
        occurred_at="2026-03-01T00:00:00.5Z",
    )
    assert first.status == 201, first.content
    answers = [
        {"id": EMAIL, "enabled": True, "version": 1},
        {"id": frequency, "enabled": True, "version": 1, "value": "weekly"},
        {"id": topics, "enabled": True, "version": 1, "value": ["arts", "sports"]},
    ]
    assert first.json["consents"] == answers
    event = first.json["id"]
    assert api.get(f"/v1/events/{event}").json["consents"] == answers
    assert api.get(f"/v1/users/{user}/events").json["items"][0]["consents"] == answers
    assert api.get(f"/v1/users/{user}/export").json["events"][0]["consents"] == answers
    shown = [{name: value for name, value in answer.items() if name != "version"} for answer in answers]
    assert consents(api, user) == shown
    assert consents(api, user, "?as_of=2026-03-02T00:00:00Z") == shown
    assert api.get(f"/v1/users?consent={frequency}&enabled=true").json["items"][0]["consents"] == shown
    key = f"(SELECT subject_key - 1 FROM pmp.subject WHERE id = '{user}')"
    users = json.loads(stack.cluster.psql(f"SELECT lines FROM pmp.export_page({key}, 1, NULL, NULL, now(), now())"))
    assert users["consents"] == shown
    lines = stack.cluster.psql(f"SELECT content FROM pmp.export_choices_page({key}, 1, now(), now())").splitlines()
    assert [json.loads(line)["consents"] for line in lines if line] == [[answer] for answer in answers]
    # An older choice changes nothing; a newer grant without a value has none, and a denial neither.
    told(api, user, {"id": frequency, "enabled": True, "value": "daily"}, occurred_at="2026-02-01T00:00:00.5Z")
    assert consents(api, user)[1] == shown[1]
    assert consents(api, user, "?as_of=2026-02-02T00:00:00Z")[0]["value"] == "daily"
    told(api, user, {"id": frequency, "enabled": True})
    told(api, user, {"id": topics, "enabled": False})
    assert consents(api, user)[1:] == [{"id": frequency, "enabled": True}, {"id": topics, "enabled": False}]


@pytest.mark.parametrize(
    ("which", "enabled", "value", "detail"),
    [
        ("frequency", True, "hourly", "must be one of daily, weekly, monthly"),
        ("frequency", True, ["daily"], "must be one of daily, weekly, monthly"),
        ("frequency", False, "daily", "is for a grant only; omit it from a denial"),
        ("topics", True, "news", "must be an array of some of arts, news, sports"),
        ("topics", True, ["news", "weather"], "must be an array of some of arts, news, sports"),
        ("topics", True, ["news", "news"], "has an item more than once"),
        ("topics", True, [], "must have at least 1 items"),
        ("topics", True, None, "must be a string or an array"),
        ("topics", True, {"id": "news"}, "must be a string or an array"),
        ("email", True, "daily", "is not for this consent, whose answer is yes or no only; omit it"),
    ],
)
def test_value_that_the_consent_does_not_have_is_refused(  # noqa: PLR0917
    api: Gateway,
    frequency: str,
    topics: str,
    new_user: Callable[[], str],
    which: str,
    enabled: bool,
    value: Any,
    detail: str,
) -> None:
    user = new_user()
    consent = {"frequency": frequency, "topics": topics, "email": EMAIL}[which]
    refused = told(api, user, {"id": consent, "enabled": enabled, "value": value})
    assert (refused.status, refused.json["errors"]) == (422, [{"pointer": "/consents/0/value", "detail": detail}])
    batch = api.post(
        "/v1/events:batch",
        {"events": [{"user": {"id": user}, "consents": [{"id": consent, "enabled": enabled, "value": value}]}]},
    ).json["results"][0]
    assert (batch["status"], batch["problem"]["errors"][0]["pointer"]) == (422, "/events/0/consents/0/value")
    assert consents(api, user) == []


def test_same_id_with_another_value_is_a_conflict(
    api: Gateway, frequency: str, topics: str, new_user: Callable[[], str]
) -> None:
    user, event = new_user(), str(uuid.uuid4())
    chosen: dict[str, Any] = {"id": topics, "enabled": True, "value": ["news", "arts"]}
    assert told(api, user, chosen, id=event).status == 201
    assert told(api, user, chosen | {"value": ["arts", "news"]}, id=event).status == 200, "in any order"
    assert told(api, user, chosen | {"value": ["arts"]}, id=event).status == 409
    assert told(api, user, {"id": topics, "enabled": True}, id=event).status == 409
    plain = str(uuid.uuid4())
    assert told(api, user, {"id": frequency, "enabled": True}, id=plain).status == 201
    assert told(api, user, {"id": frequency, "enabled": True, "value": "daily"}, id=plain).status == 409
    # The values are those of the version that is answered.
    api.put(f"/v1/consents/{topics}", PLAIN | {"values": [{"id": "arts", "description": "x"}], "multiple": True})
    assert told(api, user, chosen, id=event).status == 200, "a known event, although the catalogue has changed"
    assert told(api, user, chosen).json["errors"][0]["detail"] == "must be an array of some of arts"
    assert told(api, user, chosen | {"version": 1}).status == 201
