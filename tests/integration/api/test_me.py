"""What users read and change with a token of their own."""

import base64
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from pmp import person_tokens

from checks.gateway import Answer, Gateway
from checks.stack import Stack
from tests.integration.api.test_contract import EMAIL, SMS, choose

DAY = 86400


class Mine(Gateway):
    """Sends requests with a user's own token."""

    def __init__(self, token: str) -> None:
        self.headers = {"Authorization": f"Bearer {token}"}


def ask(api: Gateway, user: str, purpose: str = "preferences", **more: Any) -> Answer:
    return api.post("/v1/tokens", {"user": {"id": user}, "purpose": purpose, **more})


def mine(api: Gateway, user: str, purpose: str = "preferences", **more: Any) -> Mine:
    answer = ask(api, user, purpose, **more)
    assert answer.status == 201, answer.content
    return Mine(answer.json["token"])


def consents(me: Gateway) -> dict[str, dict[str, Any]]:
    return {consent["id"]: consent for consent in me.get("/v1/me").json["consents"]}


def test_a_user_sees_the_catalogue_and_changes_a_choice(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    me = mine(Gateway(client="shop", scope="pmp/write"), user)
    before = me.get("/v1/me")
    assert before.json["id"] == user
    assert consents(me)[SMS] == {
        "id": SMS, "version": 1, "description": "Notifications by text message", "channel": "sms", "translations": {},
        "enabled": False,
        "since": None, "answered_version": None, "expires_at": None, "pending": False,
    }  # fmt: skip
    event = me.post("/v1/me/events", {"consents": [{"id": SMS, "enabled": True}]})
    assert event.status == 201, event.content
    assert event.json["source"] == "shop"
    assert event.json["context"] == {"actor": "user", "purpose": "preferences"}
    shown = consents(me)[SMS]
    assert (shown["enabled"], shown["answered_version"], shown["since"]) == (True, 1, event.json["received_at"])
    assert api.get(f"/v1/users/{user}").json["consents"] == [{"id": SMS, "enabled": True}]
    assert me.get("/v1/me/events").json["items"] == [event.json]
    assert me.get("/v1/me/export").json["events"] == [event.json]


def test_an_expired_grant_is_shown_as_no(api: Gateway, new_user: Callable[[], str]) -> None:
    user, consent = new_user(), f"c{uuid.uuid4().hex[:12]}"
    api.put(f"/v1/consents/{consent}", {"description": "x", "channel": "web", "expires_after_days": 1})
    choose(api, user, {consent: True}, occurred_at="2026-01-01T00:00:00Z")
    shown = consents(mine(api, user))[consent]
    assert (shown["enabled"], shown["since"]) == (False, "2026-01-01T00:00:00.000000Z")
    choose(api, user, {consent: True})
    shown = consents(mine(api, user))[consent]
    assert shown["enabled"]
    assert shown["expires_at"] > shown["since"]


def test_a_limited_token_reads_and_changes_its_consents_only(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    me = mine(api, user, consents=[SMS])
    assert list(consents(me)) == [SMS]
    other = me.post("/v1/me/events", {"consents": [{"id": SMS, "enabled": True}, {"id": EMAIL, "enabled": True}]})
    assert (other.status, other.json["errors"][0]["pointer"]) == (422, "/consents/1/id")
    assert api.get(f"/v1/users/{user}").json["consents"] == []
    assert me.post("/v1/me/events", {"consents": [{"id": SMS, "enabled": True}]}).status == 201
    for path in ("/v1/me/events", "/v1/me/export"):
        assert (me.get(path).status, me.get(path).json["type"]) == (403, "urn:pmp:problem:token-limited")


def test_a_user_erases_themselves_and_the_token_ends(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    reader = mine(api, user)
    assert reader.delete("/v1/me").status == 403
    eraser = mine(api, user, "erase")
    assert eraser.get("/v1/me").status == 403
    assert eraser.delete("/v1/me").json["id"] == user
    for answer in (
        eraser.delete("/v1/me"),
        reader.get("/v1/me"),
        reader.get("/v1/me/events"),
        reader.get("/v1/me/export"),
        reader.post("/v1/me/events", {"consents": [{"id": SMS, "enabled": True}]}),
        ask(api, user),
    ):
        assert (answer.status, answer.json["type"]) == (410, "urn:pmp:problem:user-erased")
    assert api.get(f"/v1/users/{user}").status == 410


def test_a_token_of_a_user_who_never_was_finds_nobody(api: Gateway, stack: Stack) -> None:
    person = person_tokens.Person(str(uuid.uuid4()), "preferences", "shop", int(time.time()) + 60)
    me = Mine(person_tokens.make(person))
    assert {me.get(path).status for path in ("/v1/me", "/v1/me/events", "/v1/me/export")} == {404}
    assert me.post("/v1/me/events", {"consents": [{"id": SMS, "enabled": True}]}).status == 404


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"expires_in": 30 * DAY + 1}, "/expires_in"),
        ({"expires_in": 59}, "/expires_in"),
        ({"purpose": "erase", "expires_in": 901}, "/expires_in"),
        ({"purpose": "erase", "consents": [SMS]}, "/consents"),
        ({"purpose": "everything"}, "/purpose"),
        ({"consents": [SMS, "nothing"]}, "/consents/1"),
        ({"consents": [SMS, SMS]}, "/consents/1"),
        ({"consents": []}, "/consents"),
        ({"user": {"id": str(uuid.uuid4())}}, "/user/id"),
        ({"user": {"email": "ada@example.com"}}, "/user/id"),
    ],
)
def test_a_token_that_cannot_be_made_is_refused(
    api: Gateway, new_user: Callable[[], str], more: dict[str, Any], pointer: str
) -> None:
    answer = api.post("/v1/tokens", {"user": {"id": new_user()}, "purpose": "preferences", **more})
    assert answer.status == 422, answer.content
    assert answer.json["errors"][0]["pointer"] == pointer


def test_only_an_administrator_can_ask_for_an_erasure(new_user: Callable[[], str]) -> None:
    user = new_user()
    writer, administrator = Gateway(scope="pmp/write"), Gateway(scope="pmp/admin")
    assert (ask(writer, user).status, ask(writer, user, "erase").status) == (201, 403)
    assert (ask(administrator, user).status, ask(administrator, user, "erase").status) == (403, 201)
    assert ask(Gateway(scope="pmp/read pmp/check"), user).status == 403


def test_a_token_holds_nothing_personal_but_the_id(api: Gateway) -> None:
    address = f"{uuid.uuid4().hex}@example.com"
    user = api.post("/v1/users", {"email": address}).json["id"]
    token = ask(api, user).json["token"]
    assert address.encode() not in base64.urlsafe_b64decode(token + "==")


def test_without_the_key_the_answer_is_503(
    api: Gateway, new_user: Callable[[], str], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = new_user()
    me = mine(api, user)
    person_tokens.forget_keys()
    monkeypatch.setattr(stack.store, "secrets", {})
    assert ask(api, user).status == 503
    assert (me.get("/v1/me").status, me.get("/v1/me").headers["Retry-After"]) == (503, "2")


def test_a_retired_consent_is_shown_only_while_it_is_granted(api: Gateway, new_user: Callable[[], str]) -> None:
    """Nobody can grant it any more, but who has granted it can still withdraw."""
    consent = f"old_{uuid.uuid4().hex[:12]}"
    assert api.put(f"/v1/consents/{consent}", {"description": "Old", "channel": "email"}).status == 201
    granted, silent = (mine(Gateway(client="shop", scope="pmp/write"), new_user()) for _ in range(2))
    assert granted.post("/v1/me/events", {"consents": [{"id": consent, "enabled": True}]}).status == 201
    assert api.delete(f"/v1/consents/{consent}").status == 200
    assert consent in consents(granted)
    assert consent not in consents(silent)
    assert granted.post("/v1/me/events", {"consents": [{"id": consent, "enabled": False}]}).status == 201
    assert consent not in consents(granted)
