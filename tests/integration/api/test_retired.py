"""Consents that are retired, their versions, and the grounds of a user's choices."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from checks.gateway import Gateway
from tests.integration.api.test_contract import choose
from tests.integration.api.test_terms import checked

BASIC: dict[str, Any] = {"description": "one", "channel": "web"}


@pytest.fixture
def consent(api: Gateway) -> str:
    name = f"r{uuid.uuid4().hex[:12]}"
    assert api.put(f"/v1/consents/{name}", BASIC).status == 201
    return name


def listed(api: Gateway, query: str) -> list[str]:
    return [entry["id"] for entry in api.get(f"/v1/consents?limit=500{query}").json["items"]]


def test_retired_consent_can_be_denied_but_not_granted(api: Gateway, consent: str, new_user: Callable[[], str]) -> None:
    path, user, other = f"/v1/consents/{consent}", new_user(), new_user()
    given = {"id": str(uuid.uuid4()), "user": {"id": user}, "consents": [{"id": consent, "enabled": True}]}
    assert api.post("/v1/events", given).status == 201
    before = datetime.now(UTC).isoformat()
    retired = api.delete(path)
    assert (retired.status, retired.json["version"]) == (200, 1)
    assert retired.json["retired_at"] is not None
    assert api.delete(path).json == retired.json == api.get(path).json, "again changes nothing"
    assert consent not in listed(api, "")
    assert consent in listed(api, "&retired=true")
    assert checked(api, user, consent) == (False, "retired", "opt_in")
    assert checked(api, user, consent, before) == (True, "given", "opt_in")
    assert api.get(f"/v1/users/{user}").json["consents"] == [{"id": consent, "enabled": True}], "history stays"
    refused = choose(api, other, {consent: True})
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/consents/0/id")
    assert f"was retired at {retired.json['retired_at']}" in refused.json["detail"]
    assert choose(api, other, {consent: True}, occurred_at=before).status == 422, "whatever instant is told"
    assert api.post("/v1/events", given).status == 200, "a repetition"
    assert choose(api, user, {consent: False}).status == 201
    assert api.get(f"/v1/users/{user}").json["consents"] == [{"id": consent, "enabled": False}]
    revived = api.put(path, retired.json)
    assert (revived.status, revived.json["version"], revived.json["retired_at"]) == (200, 1, None)
    assert choose(api, user, {consent: True}).status == 201
    assert checked(api, user, consent) == (True, "given", "opt_in")


def test_retiring_honours_conditions(api: Gateway, consent: str) -> None:
    path = f"/v1/consents/{consent}"
    assert api.delete(f"{path}x").status == 404
    assert api.delete(path, If_Match='"other"').status == 412
    assert api.get(path).json["retired_at"] is None
    assert api.delete(path, If_Match=api.get(path).headers["ETag"]).status == 200
    assert api.get(f"/v1/consents?retired={uuid.uuid4()}").status == 422


def test_versions_are_listed_in_pages(api: Gateway, consent: str) -> None:
    path = f"/v1/consents/{consent}"
    for description in ("two", "three"):
        api.put(path, BASIC | {"description": description})
    first = api.get(f"{path}/versions?limit=2")
    assert [version["description"] for version in first.json["items"]] == ["one", "two"]
    rest = api.get(f"{path}/versions?limit=2&cursor={first.json['next']}").json
    assert ([version["version"] for version in rest["items"]], rest["next"]) == ([3], None)
    assert rest["items"][0] == api.get(path).json
    assert api.get(f"{path}x/versions").status == 404
    assert api.get(f"{path}/versions?cursor=x").status == 422


def test_grounds_of_choices_are_those_of_the_user_at_any_instant(
    api: Gateway, consent: str, new_user: Callable[[], str]
) -> None:
    path, user = f"/v1/consents/{consent}", new_user()
    terms = BASIC | {"expires_after_days": 10, "values": [{"id": "daily", "description": "x"}]}
    api.put(path, terms)
    then = datetime.now(UTC) - timedelta(days=3)
    told = then.isoformat(timespec="microseconds").replace("+00:00", "Z")
    choice = {"id": consent, "enabled": True, "value": "daily", "version": 2}
    body = {"user": {"id": user}, "consents": [{**choice, "version": 2}]}
    event = api.post("/v1/events", body).json
    grounds: dict[str, Any] = {
        **choice,
        "since": event["received_at"],
        "event": event["id"],
        "source": event["source"],
    }
    url = f"/v1/users/{user}/consents"
    (shown,) = api.get(url).json["items"]
    end = datetime.fromisoformat(event["received_at"]) + timedelta(days=10)
    assert shown == grounds | {"expires_at": end.isoformat(timespec="microseconds").replace("+00:00", "Z")}
    # A denial that is told for an earlier instant is what counted then.
    denial = choose(api, user, {consent: False}, occurred_at=told).json
    assert api.get(url).json["items"] == [shown]
    moment = (then + timedelta(days=1)).isoformat().replace("+", "%2B")
    (before,) = api.get(f"{url}?as_of={moment}").json["items"]
    assert before == {
        "id": consent,
        "enabled": False,
        "version": denial["consents"][0]["version"],
        "since": told,
        "expires_at": None,
        "event": denial["id"],
        "source": denial["source"],
    }
    assert api.get(f"{url}?known_at={moment}").json["items"] == []
    changed = api.put(path, terms | {"requires_new_consent": True}).json
    (superseded,) = api.get(url).json["items"]
    assert superseded == {name: shown[name] for name in shown if name != "value"} | {
        "enabled": False,
        "reason": "superseded",
        "expires_at": changed["created_at"],
    }
    api.delete(f"/v1/users/{user}")
    assert api.get(url).status == 410
    assert api.get(f"/v1/users/{uuid.uuid4()}/consents").status == 404
