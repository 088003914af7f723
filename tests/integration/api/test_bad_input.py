"""Bad input is never stored, never executed, and never causes a 5xx response."""

import base64
import json
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from pmp.http.pages import cursor

from checks.gateway import Gateway
from checks.stack import Stack
from tests.integration.api.test_contract import EMAIL

COUNTS = """
SELECT (SELECT count(*) FROM pmp.subject), (SELECT count(*) FROM pmp.event),
  (SELECT count(*) FROM pmp.consent_version)
"""
BODIES = [
    b"",
    b"null",
    b"[]",
    b'""',
    b"0",
    b"{",
    b"\xff",
    b"{}",
    b"[" * 200_000,
    b'{"a":' * 100_000,
    b'{"email": NaN}',
    b'{"email": "a@example.com", "email": "b@example.com"}',
    b'{"email": "a\\u0000@example.com"}',
    b'{"email": "\\ud800@example.com"}',
    b'{"email": "caf\xe9@example.com"}',
    b'{"email": "a@example.com", "__proto__": {}}',
    b"9" * 5000,
    b'{"user": {"id": "1 OR 1=1"}, "consents": [{"id": "email_notifications", "enabled": true}]}',
    b'{"user": {"id": "00000000-0000-0000-0000-000000000000"}, "consents": [{"id": "x\'; DROP TABLE event; --"}]}',
    b'{"checks": [{"user": {"id": null}, "consent": "x"}]}',
    b'{"checks": [{"user": {}, "consent": "x"}]}',
    b'{"description": "\\ud83d", "channel": "email"}',
    b'{"description": "x\\u0000", "channel": "email"}',
    b'{"description": "x", "channel": "email", "expires_after_days": 1e400}',
    b'{"description": "x", "channel": "email", "expires_after_days": 1e3000000}',
    b'{"description": "x", "channel": "email", "expires_after_days": true}',
    b'"' + b"x" * 1_048_576 + b'"',
    b" " * 10_000_000,
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:40]))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/users"),
        ("POST", "/v1/events"),
        ("POST", "/v1/check"),
        ("PUT", "/v1/consents/bad_input"),
    ],
)
def test_bad_body_returns_an_explained_4xx_and_writes_nothing(
    api: Gateway, stack: Stack, method: str, path: str, body: bytes
) -> None:
    before = stack.cluster.psql(COUNTS)
    answer = api.request(method, path, body)
    assert answer.status in {400, 413, 422}
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["detail"]
    assert stack.cluster.psql(COUNTS) == before


INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE pmp.subject; --",
    "%00",
    "\\",
    "$1",
    ":id",
    "%27%3B",
    "a@example.com' --",
    "\u2028",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "../../etc/passwd",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_injected_text_is_treated_as_plain_text(api: Gateway, stack: Stack, text: str) -> None:
    before = stack.cluster.psql(COUNTS)
    written = quote(text)
    found = api.get(f"/v1/users?email={written}")
    assert found.status == (422 if " " in text else 200)
    assert found.json.get("items", []) == []
    assert api.get(f"/v1/users/{written}").status == 404
    assert api.get(f"/v1/users?cursor={written}").status == 422
    assert api.get(f"/v1/users?consent={written}&enabled=true").status == 422
    wording = f"Wording {text}"
    description = {"description": wording, "channel": "email"}
    kept = api.put(f"/v1/consents/c{uuid.uuid4().hex[:8]}", description)
    assert (kept.status, kept.json["description"]) == (201, wording)
    check = {"checks": [{"user": {"email": text}, "consent": text}]}
    assert api.post("/v1/check", check).status in {200, 422}
    assert stack.cluster.psql(COUNTS).split("|")[:2] == before.split("|")[:2]


def test_malformed_conditional_header_never_matches(api: Gateway, new_user: Callable[[], str]) -> None:
    path = f"/v1/users/{new_user()}"
    for value in ('"', "*,*", "x" * 1000, "W/", "\x7f", "', '"):
        assert api.get(path, If_None_Match=value).status in {200, 304}
        assert api.delete(path, If_Match=value).status in {412, 422}
    assert api.get(path, If_None_Match="x" * 1001).status == 422


def test_forged_cursor_returns_422(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    for path in ("/v1/users", "/v1/events", f"/v1/users/{user}/events", "/v1/consents", "/v1/vendors"):
        for forged in (
            cursor(),
            cursor(None),
            cursor("\x00"),
            cursor("x' OR 1=1"),
            cursor([1]),
            cursor({}),
            cursor(2**63),
            cursor(-1),
        ):
            assert api.get(f"{path}?cursor={forged}").status == 422, (path, forged)
    assert api.get(f"/v1/users/{user}/events?cursor={cursor(2**62 - 1, 2**62 - 1)}").status == 200
    assert api.get(f"/v1/vendors?cursor={cursor(2**62 - 1)}").status == 200


def test_input_cannot_forge_a_log_line(api: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    line = '\n{"level": "error", "message": "forged"}\n'
    user: Any = api.post("/v1/users", {"email": f"a{line}@example.com"})
    api.get(f"/v1/users?email={line}")
    assert user.status == 422
    for written in capsys.readouterr().out.splitlines():
        assert json.loads(written)["message"] != "forged"


def test_request_without_the_required_scope_returns_403(new_user: Callable[[], str]) -> None:
    user = new_user()
    reader, writer = Gateway(scope="pmp/read"), Gateway(scope="pmp/write")
    body = {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}]}
    assert reader.post("/v1/events", body).status == 403
    assert writer.put(f"/v1/consents/{EMAIL}", {"description": "x", "channel": "email"}).status == 403
    assert writer.get(f"/v1/users/{user}").status == 403
    assert reader.get(f"/v1/users/{user}").json["consents"] == []


def test_listing_users_by_an_unknown_consent_returns_422(api: Gateway) -> None:
    answer = api.get("/v1/users?consent=emial_notifications&enabled=false")
    assert (answer.status, answer.json["errors"][0]["parameter"]) == (422, "consent")
    assert api.get(f"/v1/users?consent={EMAIL}&enabled=false").status == 200


def test_cursor_of_an_unknown_item_returns_422(api: Gateway, new_user: Callable[[], str]) -> None:
    for path in ("/v1/users", "/v1/imports"):
        answer = api.get(f"{path}?cursor={cursor(str(uuid.uuid4()))}")
        assert (answer.status, answer.json["errors"][0]["parameter"]) == (422, "cursor")
        made_up = base64.urlsafe_b64encode(json.dumps({str(uuid.uuid4()): 1}).encode()).decode().rstrip("=")
        assert api.get(f"{path}?cursor={made_up}").status == 422
    new_user()
    page = api.get("/v1/users?limit=1").json
    api.delete(f"/v1/users/{page['items'][0]['id']}")
    assert api.get(f"/v1/users?cursor={page['resume']}").status == 200  # erased after the page was read
