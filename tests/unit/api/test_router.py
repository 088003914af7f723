"""Matching, authorization, limits and validation: everything that happens before a database is asked."""

import importlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
from pmp import database
from pmp.handler import handler
from pmp.http import authorization, router

from checks.gateway import ALL_SCOPES, Context, Gateway, invoke, payload, token

DOCUMENT: dict[str, Any] = json.loads(Path("lambda/pmp/openapi.json").read_text())
OPERATIONS = {
    (method.upper(), path): operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
UUID = "01a20aa5-7b3c-7a26-b54f-452299678f07"


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may reach a database; whoever tries gets the answer for one that is down."""

    def refuse() -> None:
        raise ConnectionRefusedError("no database in unit tests")

    monkeypatch.setattr(database, "connect", refuse)
    authorization._used.clear()


def concrete(path: str) -> str:
    return path.replace("/consents/{id}", "/consents/sms").replace("/vendors/{id}", "/vendors/1").replace(
        "{id}", UUID).replace("{file}", "start.js")  # fmt: skip


def test_every_operation_of_the_document_has_its_function() -> None:
    assert {operation["operationId"] for operation in OPERATIONS.values()} == router.OPERATIONS.keys()
    for module, function, _ in router.OPERATIONS.values():
        assert callable(getattr(importlib.import_module(f"pmp.http.routes.{module}"), function))


def test_every_operation_with_a_path_parameter_documents_404() -> None:
    for (_, path), operation in OPERATIONS.items():
        assert "{" not in path or "404" in operation["responses"], path


def test_every_operation_documents_what_any_request_may_meet() -> None:
    for key, operation in OPERATIONS.items():
        assert {"400", "422", "503"} <= operation["responses"].keys(), key


def test_public_operations_are_these_alone() -> None:
    public = {path for (_, path), operation in OPERATIONS.items() if not operation["security"]}
    assert public == {"/v1/health", "/v1/ready", "/v1/openapi.json", "/docs", "/docs/{file}"}


@pytest.mark.parametrize(("method", "path"), [key for key, operation in OPERATIONS.items() if operation["security"]])
def test_without_a_token_or_its_scope_nothing_is_answered(method: str, path: str) -> None:
    anonymous = invoke(method, concrete(path), {}, None)
    assert anonymous.status == 401
    assert anonymous.headers["WWW-Authenticate"].startswith("Bearer scope=")
    needed = OPERATIONS[method, path]["security"][0]["oauth2"]
    others = " ".join(scope for scope in ALL_SCOPES.split() if scope not in needed)
    wrong = invoke(method, concrete(path), {"Authorization": f"Bearer {token(others)}"}, None)
    assert wrong.status == 403
    assert 'error="insufficient_scope"' in wrong.headers["WWW-Authenticate"]
    expired = invoke(method, concrete(path), {"Authorization": f"Bearer {token(expires_in=-1)}"}, None)
    assert (expired.status, expired.json["type"]) == (401, "urn:pmp:problem:token-expired")


@pytest.mark.parametrize("prefix", ["pmp/readx", "xpmp/read", "PMP/READ", "pmp/read,pmp/write", ""])
def test_a_scope_is_a_whole_word(prefix: str) -> None:
    assert invoke("GET", "/v1/users", {"Authorization": f"Bearer {token(prefix)}"}, None).status == 403


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"scp": "pmp/read"}, 422),
        ({"scp": "[pmp/write pmp/read]"}, 422),
        ({"scp": ["pmp/write", "pmp/read"]}, 422),
        ({"scope": ["pmp/read"]}, 422),
        ({"scope": "[pmp/read]"}, 422),
        ({"scope": "pmp/write", "scp": "pmp/read"}, 422),
        ({"scope": None, "scp": None}, 403),
        ({"scp": "[pmp/write]"}, 403),
        ({"scp": ["pmp/write pmp/read"]}, 403),
        ({"scp": {"pmp/read": True}}, 403),
    ],
)
def test_scopes_come_from_either_claim_as_text_or_list(claims: dict[str, Any], status: int) -> None:
    event = payload("GET", "/v1/users?limit=0", {}, None)
    common = {"client_id": "x", "exp": str(int(time.time()) + 60)}
    event["requestContext"]["authorizer"] = {"jwt": {"claims": common | claims, "scopes": None}}
    answer = handler(event, Context())
    assert answer is not None
    assert answer["statusCode"] == status


@pytest.mark.parametrize("claims", [{}, {"client_id": ""}, {"client_id": "x", "exp": "soon"}, {"client_id": "x"},
                                    {"client_id": "x", "exp": None}])  # fmt: skip
def test_half_a_token_is_none(claims: dict[str, str]) -> None:
    event = payload("GET", "/v1/users", {}, None)
    event["requestContext"]["authorizer"] = {"jwt": {"claims": claims, "scopes": None}}
    answer = handler(event, Context())
    assert answer is not None
    assert answer["statusCode"] == 401


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/v1/events", f"/v1/events/{UUID}"])
def test_events_are_never_changed(method: str, path: str) -> None:
    answer = Gateway().request(method, path, {})
    assert answer.status == 405
    assert answer.headers["Allow"] == ("GET, HEAD, POST" if path == "/v1/events" else "GET, HEAD")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/users/",
        "/v1//users",
        "/v2/users",
        "/v1/users/x/y/z",
        "/v1/users/../health",
        "/v1/users/%2e%2e",
        "/v1/users/x",
        "/v1/vendors/0",
        "/v1/vendors/1e3",
        "/v1/vendors/٣",
        "/v1/vendors/99999999999999999999",
        "/v1/consents/A",
        "/v1/consents/a%00b",
        f"/v1/users/{UUID}%0a",
        "/docs/../openapi.json",
        "/docs/index.html",
    ],
)
def test_there_is_nothing_elsewhere(path: str) -> None:
    answer = Gateway().get(path)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == 404


@pytest.mark.parametrize("path", [path for _, path in OPERATIONS if not path.endswith("}")])
def test_a_trailing_slash_is_not_found_and_asks_for_no_token(path: str) -> None:
    # The gateway sends unknown paths without claims: 401 would make a client fetch tokens forever.
    assert invoke("GET", f"{concrete(path)}/", {}, None).status == 404


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("limit=0", "must be at least 1"),
        ("limit=501", "must be at most 500"),
        ("limit=x", "must be an integer"),
        ("limit=1_0", "must be an integer"),
        ("limit=%201", "must be an integer"),
        ("limit=", "must be an integer"),
        ("limit=--1", "must be an integer"),
        ("limit=1&limit=2", "appears more than once"),
        ("page=2", "is not a known parameter"),
        ("enabled=yes&consent=a", "must be true or false"),
        ("consent=a%00", "U+0000"),
        ("cursor=!", "must match"),
        ("email=a+tag@example.com", "must not contain a space; a '+' in a query means a space: encode it as %2B"),
        ("email=a%20b@example.com", "must not contain a space; a '+' in a query means a space: encode it as %2B"),
    ],
)
def test_parameters_that_cannot_be_used(query: str, detail: str) -> None:
    answer = Gateway().get(f"/v1/users?{query}")
    assert answer.status == 422
    assert any(detail in error["detail"] and "parameter" in error for error in answer.json["errors"])


def test_an_offset_that_lost_its_plus_is_explained() -> None:
    answer = Gateway().get(f"/v1/users/{UUID}?as_of=2026-01-31T12:00:00+02:00")
    assert answer.status == 422
    assert answer.json["errors"][0]["detail"].endswith("; a '+' in a query means a space: encode it as %2B")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
def test_other_content_types_are_refused(media: str) -> None:
    assert Gateway().request("POST", "/v1/users", b"{}", Content_Type=media).status == 415


@pytest.mark.parametrize("media", ["application/json, application/json", "application/json,application/json"])
def test_a_repeated_equal_content_type_counts_once(media: str) -> None:
    assert Gateway().request("POST", "/v1/users", b"{}", Content_Type=media).status == 422
    assert Gateway().request("POST", "/v1/users", b"{}", Content_Type=f"{media}, text/plain").status == 415


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br, gzip"])
def test_a_coded_body_is_refused(coding: str) -> None:
    answer = Gateway().request("POST", "/v1/users", b"{}", Content_Encoding=coding)
    assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "identity")
    assert Gateway().request("POST", "/v1/users", b"{}", Content_Encoding="Identity").status == 422


def test_a_charset_is_no_other_content_type() -> None:
    answer = Gateway().request("POST", "/v1/users", b"{}", Content_Type="Application/JSON; charset=utf-8")
    assert answer.status == 422


def test_a_dead_database_is_503_and_says_when_to_come_back() -> None:
    answer = Gateway().get("/v1/users")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert Gateway().post("/v1/users", {"email": "ada@example.com"}).status == 503
    ready = invoke("GET", "/v1/ready", {}, None)
    assert (ready.status, ready.json["checks"]["database"]) == (503, "unreachable")


def test_what_nobody_expected_is_a_500_that_tells_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down() -> None:
        raise ZeroDivisionError("the secret of the house")

    monkeypatch.setattr(database, "connect", break_down)
    answer = Gateway().get("/v1/users")
    assert answer.status == 500
    assert b"secret" not in answer.content
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any("the secret of the house" in line.get("error", "") for line in logged)
    assert {line["request_id"] for line in logged} == {answer.json["request_id"]}


def test_the_log_is_one_json_line_a_request_whatever_the_client_sends(capsys: pytest.CaptureFixture[str]) -> None:
    Gateway().get('/v1/x%0a{"level":"error"}\n{"level": "error", "message": "forged"}')
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["level"] == "info"


def test_the_quota_is_counted_and_enforced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMP_RATE_LIMIT_PER_MINUTE", "3")
    monkeypatch.setattr(time, "time", lambda: 1_800_000_010.0)
    one, other = Gateway(client="one"), Gateway(client="other")
    one.headers = {"Authorization": f"Bearer {token(client='one', expires_in=1e9)}"}
    other.headers = {"Authorization": f"Bearer {token(client='other', expires_in=1e9)}"}
    left = [one.get("/v1/users?x=1").headers["RateLimit"] for _ in range(3)]
    assert left == ['"client";r=2;t=50', '"client";r=1;t=50', '"client";r=0;t=50']
    refused = one.get("/v1/users")
    assert (refused.status, refused.headers["Retry-After"]) == (429, "50")
    assert refused.headers["RateLimit-Policy"] == '"client";q=3;w=60'
    assert other.get("/v1/users?x=1").status == 422
    monkeypatch.setattr(time, "time", lambda: 1_800_000_060.0)
    assert one.get("/v1/users?x=1").status == 422


def test_the_document_is_served_as_it_lies_in_the_code() -> None:
    answer = invoke("GET", "/v1/openapi.json", {}, None)
    assert answer.json == DOCUMENT
    assert invoke("GET", "/v1/openapi.json", {"If-None-Match": answer.headers["ETag"]}, None).status == 304


def test_a_problem_is_identified_by_its_request() -> None:
    event = payload("GET", "/v1/%00 nowhere", {}, None)
    event["requestContext"]["requestId"] = UUID.upper()
    answer = handler(event, Context())
    assert answer is not None
    assert json.loads(answer["body"])["instance"] == f"urn:uuid:{UUID}"
    event["requestContext"]["requestId"] = "JKJaXmPLvHcESHA="  # as the gateway makes them
    answer = handler(event, Context())
    assert answer is not None
    problem = json.loads(answer["body"])
    assert problem["request_id"] == "JKJaXmPLvHcESHA="
    assert "instance" not in problem


@pytest.mark.parametrize("path", ["/v1/health", "/v1/openapi.json", "/docs", "/docs/start.js", "/v1/ready",
                                  "/v1/users?limit=0", "/v1/users/x", "/v1/users"])  # fmt: skip
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_head_answers_as_get_without_a_body(path: str, coding: str) -> None:
    read = Gateway().get(path, Accept_Encoding=coding)
    authorization._used.clear()
    head = Gateway().request("HEAD", path, Accept_Encoding=coding)
    assert (head.status, head.content) == (read.status, b"")
    assert head.headers == {**read.headers, "Content-Length": str(len(read.content))}


def test_head_is_only_where_get_is() -> None:
    answer = Gateway().request("HEAD", "/v1/check")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_an_event_of_no_known_kind_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="unknown kind of event, keys \\['what'\\]"):
        handler({"what": 1}, Context())
    assert json.loads(capsys.readouterr().out)["level"] == "error"
