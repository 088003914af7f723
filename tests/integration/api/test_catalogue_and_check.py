"""Versions in the consent catalogue, the expiry of choices, and ``POST /v1/check``."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from checks.gateway import Gateway
from tests.integration.api.test_contract import EMAIL, SMS, choose


@pytest.fixture
def consent() -> str:
    return f"c{uuid.uuid4().hex[:12]}"


def test_only_a_changed_consent_gets_a_new_version(api: Gateway, consent: str) -> None:
    path = f"/v1/consents/{consent}"
    assert api.get(path).status == 404
    first = api.put(path, {"description": "one", "channel": "push"})
    assert (first.status, first.headers["Location"], first.json["version"]) == (201, path, 1)
    assert first.json["expires_after_days"] is None
    assert api.get(path).headers["ETag"] == first.headers["ETag"]
    same = api.put(path, {"channel": "push", "description": "one", "expires_after_days": None})
    assert (same.status, same.json) == (200, first.json)
    second = api.put(path, {"description": "two", "channel": "push", "expires_after_days": 30})
    assert (second.status, second.json["version"]) == (200, 2)
    assert api.get(path).json == second.json
    assert api.get(f"{path}?version=1").json == first.json
    assert api.get(f"{path}?version=3").status == 404
    assert consent in [entry["id"] for entry in api.get("/v1/consents?limit=500").json["items"]]


def test_consent_can_be_sent_back_as_it_was_read(api: Gateway, consent: str) -> None:
    path = f"/v1/consents/{consent}"
    api.put(path, {"description": "one", "channel": "push"})
    read = api.get(path).json
    assert api.put(path, read).json == read
    changed = api.put(path, read | {"description": "two"})
    assert (changed.status, changed.json["version"]) == (200, 2)
    for member, value in (("id", "other"), ("version", 1), ("created_at", read["created_at"])):
        refused = api.put(path, changed.json | {member: value, "description": "three"})
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, f"/{member}")
        assert f"must equal {changed.json[member]}" in refused.json["errors"][0]["detail"]
    assert api.get(path).json == changed.json


def test_two_editors_do_not_overwrite_each_other(api: Gateway, consent: str) -> None:
    path = f"/v1/consents/{consent}"
    tag = api.put(path, {"description": "one", "channel": "push"}, If_None_Match="*").headers["ETag"]
    assert api.put(path, {"description": "two", "channel": "push"}, If_None_Match="*").status == 412
    assert api.put(path, {"description": "two", "channel": "push"}, If_Match=tag).status == 200
    assert api.put(path, {"description": "three", "channel": "push"}, If_Match=tag).status == 412
    assert api.get(path).json["description"] == "two"
    assert api.put(f"{path}x", {"description": "x", "channel": "push"}, If_Match="*").status == 412
    assert api.get(f"{path}x").status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"description": "", "channel": "push"},
        {"description": " \n", "channel": "push"},
        {"description": "x", "channel": "pigeon"},
        {"description": "x", "channel": "push", "expires_after_days": 0},
        {"description": "x" * 2001, "channel": "push"},
        {"description": "x", "channel": "push", "version": 3},
        {"description": "x", "channel": "push", "expires_after_days": 1.5},
    ],
)
def test_invalid_consent_returns_422_and_is_not_stored(api: Gateway, consent: str, body: dict[str, object]) -> None:
    assert api.put(f"/v1/consents/{consent}", body).status == 422
    assert api.get(f"/v1/consents/{consent}").status == 404


def test_event_records_the_given_or_the_newest_version(api: Gateway, consent: str, new_user: Callable[[], str]) -> None:
    user = new_user()
    for description in ("one", "two"):
        api.put(f"/v1/consents/{consent}", {"description": description, "channel": "push"})
    newest = choose(api, user, {consent: True}).json
    assert newest["consents"] == [{"id": consent, "enabled": True, "version": 2}]
    body = {"user": {"id": user}, "consents": [{"id": consent, "enabled": True, "version": 1}]}
    assert api.post("/v1/events", body).json["consents"][0]["version"] == 1


def test_expired_choice_is_shown_and_checked_as_not_given(
    api: Gateway, consent: str, new_user: Callable[[], str]
) -> None:
    user, other = new_user(), new_user()
    api.put(f"/v1/consents/{consent}", {"description": "x", "channel": "push", "expires_after_days": 10})
    # One has expired a moment ago; the other will in a minute, so that a busy machine can read it before.
    given = datetime.now(UTC) - timedelta(days=10)
    choose(api, user, {consent: True}, occurred_at=given.isoformat())
    choose(api, other, {consent: True}, occurred_at=(given + timedelta(minutes=1)).isoformat())
    question = {"checks": [{"user": {"id": one}, "consent": consent} for one in (user, other)]}
    assert api.get(f"/v1/users/{other}").json["consents"] == [{"id": consent, "enabled": True}]
    assert api.post("/v1/check", question).json["results"][1]["allowed"] is True
    assert api.get(f"/v1/users/{user}").json["consents"] == [{"id": consent, "enabled": False, "reason": "expired"}]
    assert api.post("/v1/check", question).json["results"][0] | {"since": None} == {
        "allowed": False,
        "reason": "expired",
        "model": "opt_in",
        "since": None,
    }
    for enabled, members in (("true", [other]), ("false", [])):
        listed = api.get(f"/v1/users?consent={consent}&enabled={enabled}").json["items"]
        assert [one["id"] for one in listed] == members
    then = (given + timedelta(days=1)).isoformat().replace("+", "%2B")
    assert api.get(f"/v1/users/{user}?as_of={then}").json["consents"] == [{"id": consent, "enabled": True}]


def test_check_denies_by_default_and_gives_the_reason(api: Gateway, new_user: Callable[[], str]) -> None:
    address = f"Check-{uuid.uuid4().hex}@example.com"
    user = api.post("/v1/users", {"email": address}).json["id"]
    event = choose(api, user, {EMAIL: True, SMS: False}).json
    erased = new_user()
    choose(api, erased, {EMAIL: True})
    api.delete(f"/v1/users/{erased}")
    checks = [
        ({"id": user}, EMAIL, True, "given"),
        ({"id": user.upper()}, SMS, False, "denied"),
        ({"email": address.upper()}, EMAIL, True, "given"),
        ({"email": "nobody@example.com"}, EMAIL, False, "unknown_user"),
        ({"email": "' OR 1=1 --"}, EMAIL, False, "unknown_user"),
        ({"id": str(uuid.uuid4())}, EMAIL, False, "unknown_user"),
        ({"id": new_user()}, EMAIL, False, "not_given"),
        ({"id": user}, "no such consent", False, "unknown_consent"),
        ({"id": erased}, EMAIL, False, "erased"),
    ]
    results = api.post("/v1/check", {"checks": [{"user": who, "consent": what} for who, what, _, _ in checks]}).json[
        "results"
    ]
    assert [(result["allowed"], result["reason"]) for result in results] == [
        (allowed, why) for _, _, allowed, why in checks
    ]
    assert results[0]["since"] == event["occurred_at"]
    assert results[3]["since"] is None


def test_check_answers_up_to_1000_pairs_in_order(api: Gateway, new_user: Callable[[], str]) -> None:
    yes, no = new_user(), new_user()
    choose(api, yes, {EMAIL: True})
    pairs = [{"user": {"id": yes if number % 3 else no}, "consent": EMAIL} for number in range(1000)]
    answer = api.post("/v1/check", {"checks": pairs})
    assert [result["allowed"] for result in answer.json["results"]] == [bool(number % 3) for number in range(1000)]
    assert api.post("/v1/check", {"checks": [*pairs, pairs[0]]}).status == 422
    assert api.post("/v1/check", {"checks": []}).status == 422
