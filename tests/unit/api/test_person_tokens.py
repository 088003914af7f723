"""Users' own tokens: only what the API has signed is one, and each does only what it names."""

import base64
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pmp import database, person_tokens, vault
from pmp.configuration import configuration
from pmp.person_tokens import ExpiredTokenError, InvalidTokenError, Person

from checks.gateway import invoke, token

USER = "019a8f3e-6c1f-7b3a-9d52-4f6f0e1c2a7b"
KEYS = {"keys": [{"id": 7, "key": "07" * 32}, {"id": 6, "key": "06" * 32}]}
DOCUMENT: dict[str, Any] = json.loads(Path("lambda/pmp/openapi.json").read_text())
OPERATIONS = [
    (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
]


class Reached(Exception):  # noqa: N818 - what a test looks for
    """The request was admitted and would be performed."""


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Two keys; no database."""
    secret = json.loads(json.dumps(KEYS))
    monkeypatch.setenv("PMP_TOKEN_KEY_SECRET_ARN", "arn")
    configuration.cache_clear()
    monkeypatch.setattr(vault, "read", lambda arn: {"arn": secret}[arn])

    def refuse() -> None:
        raise Reached

    monkeypatch.setattr(database, "connect", refuse)
    person_tokens.forget_keys()
    yield secret
    person_tokens.forget_keys()


def person(purpose: str = "preferences", **more: Any) -> Person:
    members: dict[str, Any] = {"user": USER, "purpose": purpose, "client": "shop", "expires_at": int(time.time()) + 60}
    if purpose == "confirm":
        members["confirmation"] = USER
    return Person(**members | more)


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def signed(content: bytes, key: int = 7) -> str:
    return text(content + hmac.digest(bytes([key] * 32), content, "sha256"))


@pytest.mark.parametrize("purpose", person_tokens.PURPOSES)
@pytest.mark.parametrize("client", ["shop", "Läden", "c" * 255])
def test_a_token_gives_back_what_it_was_made_of(purpose: str, client: str) -> None:
    consents = () if purpose in {"confirm", "erase"} else ("email_notifications", "sms_notifications")
    made = person(purpose, client=client, consents=consents)
    assert person_tokens.read(person_tokens.make(made)) == made


def test_any_changed_bit_is_noticed() -> None:
    content = raw(person_tokens.make(person(consents=("a",))))
    for place in range(len(content) * 8):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        with pytest.raises(InvalidTokenError):
            person_tokens.read(text(bytes(changed)))


def test_any_cut_or_addition_is_noticed() -> None:
    made = person_tokens.make(person())
    for wrong in [made[:length] for length in range(len(made))] + [
        made + "A",
        "A" + made,
        made + "=",
        made + "\n",
        f" {made}",
    ]:
        with pytest.raises(InvalidTokenError):
            person_tokens.read(wrong)


@given(st.one_of(st.text(max_size=200), st.binary(max_size=200).map(text), st.binary(max_size=200).map(signed)))
def test_whatever_is_not_a_token_is_refused(wrong: str) -> None:
    with pytest.raises(InvalidTokenError):
        person_tokens.read(wrong)


def test_another_version_kind_or_key_is_refused() -> None:
    content = raw(person_tokens.make(person()))[:-32]
    assert person_tokens.read(signed(content)).user == USER
    for place, value in ((0, 0), (0, 2), (2, 0), (2, 5), (1, 6), (1, 8)):
        changed = bytearray(content)
        changed[place] = value
        with pytest.raises(InvalidTokenError):
            person_tokens.read(signed(bytes(changed)))
    with pytest.raises(InvalidTokenError):
        person_tokens.read(signed(content, key=6))


def test_an_expired_token_is_told_from_a_forged_one() -> None:
    with pytest.raises(ExpiredTokenError):
        person_tokens.read(person_tokens.make(person(expires_at=int(time.time()))))


def test_a_rotation_keeps_the_tokens_of_one_key_before(keys: dict[str, Any]) -> None:
    made = person_tokens.make(person())
    keys["keys"].insert(0, {"id": 8, "key": "08" * 32})
    person_tokens.forget_keys()
    assert raw(person_tokens.make(person()))[1] == 8
    assert person_tokens.read(made).user == USER
    keys["keys"].insert(0, {"id": 9, "key": "09" * 32})
    person_tokens.forget_keys()
    with pytest.raises(InvalidTokenError):
        person_tokens.read(made)


def test_a_warm_function_learns_of_new_keys(keys: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """At once when it meets one, but not for each token that somebody makes up; and after a while in any case."""
    old = person_tokens.make(person())
    content = bytearray(raw(old)[:-32])
    content[1] = 8
    following = signed(bytes(content), key=8)
    keys["keys"].insert(0, {"id": 8, "key": "08" * 32})
    with pytest.raises(InvalidTokenError):
        person_tokens.read(following)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 11)
    assert person_tokens.read(following).user == USER
    del keys["keys"][1:]
    assert person_tokens.read(old).user == USER
    monkeypatch.setattr(time, "time", lambda: now() + 320)
    with pytest.raises(InvalidTokenError, match="signature"):
        person_tokens.read(old)


# -- the matrix: each token on each route ------------------------------------------------------------------------------


def concrete(path: str) -> str:
    return path.replace("{id}", USER).replace("{file}", "start.js").replace("{version}", "1")


def send(method: str, path: str, bearer: str) -> int:
    return invoke(method, path, {"Authorization": f"Bearer {bearer}"}, None).status


def is_refused(method: str, path: str, bearer: str) -> bool:
    return send(method, path, bearer) in {401, 403}


@pytest.mark.parametrize("purpose", person_tokens.PURPOSES)
@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_a_token_opens_only_the_routes_of_its_purpose(
    method: str, path: str, operation: dict[str, Any], purpose: str
) -> None:
    made = person_tokens.make(person(purpose))
    purposes = {name for entry in operation["security"] for name in entry.get("person", ())}
    if operation["security"]:
        assert is_refused(method, concrete(path), made) == (purpose not in purposes)
    if "{token}" in path and purpose != "unsubscribe":
        body = b"List-Unsubscribe=One-Click" if method == "POST" else None
        media = {"Content-Type": "application/x-www-form-urlencoded"}
        assert invoke(method, path.replace("{token}", made), media, body).status in {404, 500}


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_users_routes_take_no_access_token(method: str, path: str, operation: dict[str, Any]) -> None:
    if {"person"} & set().union(*operation["security"]):
        assert send(method, path, token()) == 401
        assert send(method, path, "") == 401
        assert send(method, path, person_tokens.make(person("erase", expires_at=1))) == 401


@pytest.mark.parametrize(("method", "path", "operation"), OPERATIONS)
def test_users_routes_name_nobody(method: str, path: str, operation: dict[str, Any]) -> None:
    """Whom they are about follows from the token alone, so that no request can name anybody else."""
    if not {"person"} & set().union(*operation["security"]):
        return
    assert "{" not in path
    assert not [p for p in operation.get("parameters", ()) if p.get("name") in {"id", "user", "email"}]
    schema = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    body = DOCUMENT["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], {})
    assert not {"user", "id", "email"} & body.get("properties", {}).keys()
