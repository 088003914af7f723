"""``Idempotency-Key`` on every POST that writes: a repeated request runs once and gets the same response."""

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from pmp import specification, tasks

from checks.gateway import Context, Gateway
from checks.stack import Stack
from tests.integration.api.test_contract import EMAIL, choose


def _bodies(user: str) -> dict[str, Any]:
    receiver = {"url": "https://receiver.example.com/pmp", "enabled": False}
    return {
        "/v1/users": {"email": f"{uuid.uuid4().hex}@example.com"},
        "/v1/events": {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}]},
        "/v1/events:batch": {"events": [{"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}]}] * 2},
        "/v1/signals": {"user": {"id": user}, "gpc": True},
        "/v1/imports": {"format": "csv", "compression": "none"},
        "/v1/exports": {"as_of": "2026-01-01T00:00:00Z"},
        "/v1/subscriptions": receiver,
        "/v1/subscriptions/{id}/rotate": None,
    }


POSTS = {
    path: methods["post"] for path, methods in json.loads(specification.content())["paths"].items() if "post" in methods
}
WRITES = [
    path
    for path, operation in POSTS.items()
    if {"$ref": "#/components/parameters/IdempotencyKey"} in operation.get("parameters", [])
]
SIGNATURE = re.compile(rb"X-Amz-(?:Date|Signature)=[0-9A-Za-z]+")
"""Of an upload's URL, which is signed again: it names the second in which that was done."""
WITHOUT_A_KEY = {
    "/v1/check": "reads",
    "/v1/users/lookup": "reads",
    "/v1/users/{id}/merge": "has the same result when it is repeated",
    "/v1/subscriptions/{id}/replay": "has the same result when it is repeated",
    "/v1/tokens": "keeps nothing but a question, which the newest replaces",
    # People have no keys: those of one client's users would meet.
    "/v1/me/events": "adds the same choice once more",
    "/v1/me/confirm": "has the same result when it is repeated",
    "/v1/unsubscribe/{token}": "has the same result when it is repeated",
}


def test_every_post_takes_a_key_or_says_why_not() -> None:
    assert POSTS.keys() == {*WRITES, *WITHOUT_A_KEY}
    assert not WITHOUT_A_KEY.keys() & {*WRITES}


@pytest.mark.parametrize("path", WRITES)
def test_repeated_request_gets_the_stored_response(
    api: Gateway, new_user: Callable[[], str], monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    begun: list[dict[str, str]] = []
    monkeypatch.setattr(tasks, "begin", begun.append)
    user, key = new_user(), uuid.uuid4().hex
    bodies = _bodies(user)
    body = bodies[path]
    if "{id}" in path:
        path = path.format(id=api.post("/v1/subscriptions", bodies["/v1/subscriptions"]).json["id"])
    first = api.post(path, body, Idempotency_Key=key)
    choose(api, user, {EMAIL: False})
    again = api.post(path, body, Idempotency_Key=key)
    assert first.status in {200, 201}
    assert (again.status, SIGNATURE.sub(b"", again.content)) == (first.status, SIGNATURE.sub(b"", first.content))
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    for name in ("Location", "ETag"):
        assert again.headers.get(name) == first.headers.get(name)
    assert len(begun) == (1 if path == "/v1/exports" else 0)


def test_different_request_with_the_same_key_returns_422(api: Gateway, new_user: Callable[[], str]) -> None:
    user, key = new_user(), uuid.uuid4().hex
    assert choose(api, user, {EMAIL: True}).status == 201
    bodies = _bodies(user)
    assert api.post("/v1/events", bodies["/v1/events"], Idempotency_Key=key).status == 201
    other = api.post("/v1/events", {**bodies["/v1/events"], "id": str(uuid.uuid4())}, Idempotency_Key=key)
    assert (other.status, other.json["errors"][0]["header"]) == (422, "Idempotency-Key")
    assert api.post("/v1/imports", bodies["/v1/imports"], Idempotency_Key=key).status == 422


def test_check_ignores_the_key_and_uses_the_current_state(api: Gateway, new_user: Callable[[], str]) -> None:
    user, key = new_user(), uuid.uuid4().hex
    body = {"checks": [{"user": {"id": user}, "consent": EMAIL}]}
    reasons = []
    for change in (lambda: choose(api, user, {EMAIL: True}), lambda: choose(api, user, {EMAIL: False}),
                   lambda: api.delete(f"/v1/users/{user}")):  # fmt: skip
        change()
        answer = api.post("/v1/check", body, Idempotency_Key=key)
        assert "Idempotency-Replayed" not in answer.headers
        reasons.append(answer.json["results"][0]["reason"])
    assert reasons == ["given", "denied", "erased"]


def test_clients_do_not_share_keys(new_user: Callable[[], str]) -> None:
    user, key = new_user(), uuid.uuid4().hex
    body = _bodies(user)["/v1/events"]
    first, second = (Gateway(client=name).post("/v1/events", body, Idempotency_Key=key) for name in ("one", "two"))
    assert (first.status, second.status) == (201, 201)
    assert first.json["id"] != second.json["id"]


def test_failed_request_can_be_repeated_with_its_key(api: Gateway) -> None:
    address, key = f"{uuid.uuid4().hex}@example.com", uuid.uuid4().hex
    taken = api.post("/v1/users", {"email": address}).json["id"]
    assert api.post("/v1/users", {"email": address}, Idempotency_Key=key).status == 422
    api.delete(f"/v1/users/{taken}")
    assert api.post("/v1/users", {"email": address}, Idempotency_Key=key).status == 201


def test_key_expires_after_one_day(api: Gateway, new_user: Callable[[], str], stack: Stack) -> None:
    user, key = new_user(), uuid.uuid4().hex
    body = _bodies(user)["/v1/events"]
    first = api.post("/v1/events", body, Idempotency_Key=key).json["id"]
    age = "UPDATE pmp.idempotency_key SET expires_at = expires_at - interval '{}' WHERE key = '" + key + "'"
    stack.cluster.psql(age.format("23 hours 59 minutes"))
    assert api.post("/v1/events", body, Idempotency_Key=key).json["id"] == first
    stack.cluster.psql(age.format("1 minute"))
    assert api.post("/v1/events", body, Idempotency_Key=key).json["id"] != first


def test_housekeeping_removes_expired_keys(
    api: Gateway, new_user: Callable[[], str], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmp import housekeeping
    from pmp.handler import handler

    monkeypatch.setattr(housekeeping, "PORTION_KEYS", 1)
    api.post("/v1/events", _bodies(new_user())["/v1/events"], Idempotency_Key=uuid.uuid4().hex)
    api.post("/v1/events", _bodies(new_user())["/v1/events"], Idempotency_Key=uuid.uuid4().hex)
    stack.cluster.psql("UPDATE pmp.idempotency_key SET expires_at = now() - interval '1 second'")
    handler({"task": "housekeeping"}, Context(seconds=300))
    assert stack.cluster.psql("SELECT count(*) FROM pmp.idempotency_key").strip() == "0"


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "schlüssel"])
def test_invalid_key_returns_422(api: Gateway, key: str) -> None:
    answer = api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}, Idempotency_Key=key)
    assert (answer.status, answer.json["errors"][0]["header"]) == (422, "Idempotency-Key")
