"""Matching, authorization, limits and validation: every step before the first database query."""

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
    """Refuse every connection: no test here may reach a database."""

    def refuse() -> None:
        raise ConnectionRefusedError("no database in unit tests")

    monkeypatch.setattr(database, "connect", refuse)
    authorization._used.clear()


def concrete(path: str) -> str:
    return path.replace("/consents/{id}", "/consents/sms").replace("/vendors/{id}", "/vendors/1").replace(
        "{id}", UUID).replace("{file}", "start.js")  # fmt: skip


def test_every_operation_of_the_document_has_a_function() -> None:
    assert {operation["operationId"] for operation in OPERATIONS.values()} == router.OPERATIONS.keys()
    for module, function, _ in router.OPERATIONS.values():
        assert callable(getattr(importlib.import_module(f"pmp.http.routes.{module}"), function))


def test_every_operation_with_a_path_parameter_documents_404() -> None:
    for (_, path), operation in OPERATIONS.items():
        assert "{" not in path or "404" in operation["responses"], path


def test_every_operation_documents_400_422_and_503() -> None:
    for key, operation in OPERATIONS.items():
        assert {"400", "422", "503"} <= operation["responses"].keys(), key


def test_only_the_listed_operations_are_public() -> None:
    public = {path for (_, path), operation in OPERATIONS.items() if not operation["security"]}
    assert public == {"/v1/health", "/v1/ready", "/v1/openapi.json", "/docs", "/docs/{file}"}


@pytest.mark.parametrize(("method", "path"), [key for key, operation in OPERATIONS.items() if operation["security"]])
def test_missing_token_returns_401_and_missing_scope_returns_403(method: str, path: str) -> None:
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
def test_scope_must_match_exactly(prefix: str) -> None:
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
def test_scopes_are_read_from_scope_or_scp_as_text_or_list(claims: dict[str, Any], status: int) -> None:
    event = payload("GET", "/v1/users?limit=0", {}, None)
    common = {"client_id": "x", "exp": str(int(time.time()) + 60)}
    event["requestContext"]["authorizer"] = {"jwt": {"claims": common | claims, "scopes": None}}
    answer = handler(event, Context())
    assert answer is not None
    assert answer["statusCode"] == status


@pytest.mark.parametrize("claims", [{}, {"client_id": ""}, {"client_id": "x", "exp": "soon"}, {"client_id": "x"},
                                    {"client_id": "x", "exp": None}])  # fmt: skip
def test_token_without_client_or_expiry_returns_401(claims: dict[str, str]) -> None:
    event = payload("GET", "/v1/users", {}, None)
    event["requestContext"]["authorizer"] = {"jwt": {"claims": claims, "scopes": None}}
    answer = handler(event, Context())
    assert answer is not None
    assert answer["statusCode"] == 401


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/v1/events", f"/v1/events/{UUID}"])
def test_changing_an_event_returns_405(method: str, path: str) -> None:
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
def test_unknown_path_returns_404(path: str) -> None:
    answer = Gateway().get(path)
    assert answer.status == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["status"] == 404


@pytest.mark.parametrize("path", [path for _, path in OPERATIONS if not path.endswith("}")])
def test_trailing_slash_returns_404_without_a_token(path: str) -> None:
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
def test_invalid_parameter_returns_422(query: str, detail: str) -> None:
    answer = Gateway().get(f"/v1/users?{query}")
    assert answer.status == 422
    assert any(detail in error["detail"] and "parameter" in error for error in answer.json["errors"])


def test_error_explains_an_unencoded_plus_in_an_offset() -> None:
    answer = Gateway().get(f"/v1/users/{UUID}?as_of=2026-01-31T12:00:00+02:00")
    assert answer.status == 422
    assert answer.json["errors"][0]["detail"].endswith("; a '+' in a query means a space: encode it as %2B")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
def test_other_content_type_returns_415(media: str) -> None:
    assert Gateway().request("POST", "/v1/users", b"{}", Content_Type=media).status == 415


@pytest.mark.parametrize("media", ["application/json, application/json", "application/json,application/json"])
def test_equal_copies_of_the_content_type_are_merged(media: str) -> None:
    assert Gateway().request("POST", "/v1/users", b"{}", Content_Type=media).status == 422
    assert Gateway().request("POST", "/v1/users", b"{}", Content_Type=f"{media}, text/plain").status == 415


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br, gzip"])
def test_compressed_body_returns_415(coding: str) -> None:
    answer = Gateway().request("POST", "/v1/users", b"{}", Content_Encoding=coding)
    assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "identity")
    assert Gateway().request("POST", "/v1/users", b"{}", Content_Encoding="Identity").status == 422


def test_charset_of_the_content_type_is_ignored() -> None:
    answer = Gateway().request("POST", "/v1/users", b"{}", Content_Type="Application/JSON; charset=utf-8")
    assert answer.status == 422


def test_unreachable_database_returns_503_with_retry_after() -> None:
    answer = Gateway().get("/v1/users")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert Gateway().post("/v1/users", {"email": "ada@example.com"}).status == 503
    ready = invoke("GET", "/v1/ready", {}, None)
    assert (ready.status, ready.json["checks"]["database"]) == (503, "unreachable")


def test_unexpected_error_returns_500_without_its_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down() -> None:
        raise ZeroDivisionError("the secret detail")

    monkeypatch.setattr(database, "connect", break_down)
    answer = Gateway().get("/v1/users")
    assert answer.status == 500
    assert b"secret" not in answer.content
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any("the secret detail" in line.get("error", "") for line in logged)
    assert {line["request_id"] for line in logged} == {answer.json["request_id"]}


def test_client_cannot_add_lines_to_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    Gateway().get('/v1/x%0a{"level":"error"}\n{"level": "error", "message": "forged"}')
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["level"] == "info"


def test_quota_is_counted_and_enforced_per_client(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_served_document_equals_the_file() -> None:
    answer = invoke("GET", "/v1/openapi.json", {}, None)
    assert answer.json == DOCUMENT
    assert invoke("GET", "/v1/openapi.json", {"If-None-Match": answer.headers["ETag"]}, None).status == 304


def test_problem_carries_the_request_id() -> None:
    event = payload("GET", "/v1/%00 nowhere", {}, None)
    event["requestContext"]["requestId"] = UUID.upper()
    answer = handler(event, Context())
    assert answer is not None
    assert json.loads(answer["body"])["instance"] == f"urn:uuid:{UUID}"
    event["requestContext"]["requestId"] = "JKJaXmPLvHcESHA="  # the gateway's own form
    answer = handler(event, Context())
    assert answer is not None
    problem = json.loads(answer["body"])
    assert problem["request_id"] == "JKJaXmPLvHcESHA="
    assert "instance" not in problem


@pytest.mark.parametrize("path", ["/v1/health", "/v1/openapi.json", "/docs", "/docs/start.js", "/v1/ready",
                                  "/v1/users?limit=0", "/v1/users/x", "/v1/users"])  # fmt: skip
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_head_returns_the_headers_of_get_without_a_body(path: str, coding: str) -> None:
    read = Gateway().get(path, Accept_Encoding=coding)
    authorization._used.clear()
    head = Gateway().request("HEAD", path, Accept_Encoding=coding)
    assert (head.status, head.content) == (read.status, b"")
    assert head.headers == {**read.headers, "Content-Length": str(len(read.content))}


def test_head_returns_405_where_get_is_not_defined() -> None:
    answer = Gateway().request("HEAD", "/v1/check")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")


def test_unknown_kind_of_lambda_event_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="unknown kind of event, keys \\['what'\\]"):
        handler({"what": 1}, Context())
    assert json.loads(capsys.readouterr().out)["level"] == "error"
