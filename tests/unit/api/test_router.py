"""Matching, authorization, limits and validation: every step before the first database query."""

import importlib
import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
from pmp import database
from pmp.configuration import configuration
from pmp.handler import handler
from pmp.http import router
from pmp.http.messages import Request

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


PAGE = ("/preferences", "/preferences/{file}")


def concrete(path: str) -> str:
    return path.replace("/consents/{id}", "/consents/sms").replace("/vendors/{id}", "/vendors/1").replace(
        "/preferences/{file}", "/preferences/page.js").replace("{id}", UUID).replace("{token}", "x" * 80).replace(
        "{file}", "start.js")  # fmt: skip


def test_every_operation_of_the_document_has_a_function() -> None:
    assert {operation["operationId"] for operation in OPERATIONS.values()} == router.OPERATIONS.keys()
    for module, function, _ in router.OPERATIONS.values():
        assert callable(getattr(importlib.import_module(f"pmp.http.routes.{module}"), function))


def test_only_lists_of_everything_may_be_some_seconds_old() -> None:
    """What a client reads back after a write, and each single user, is the writer's."""
    aged = {name for name, (_, _, use) in router.OPERATIONS.items() if use == router._AGED}
    assert aged == {"listUsers", "listEvents"}
    methods = {method for (method, _), operation in OPERATIONS.items() if operation["operationId"] in aged}
    assert methods == {"GET"}


@pytest.mark.parametrize(
    ("query", "control", "most"),
    [
        ({}, "", math.inf),
        ({"limit": 5}, "max-age=3, private", 3),
        ({}, "no-cache", 0),
        ({}, "No-Store", 0),
        ({"email": "a@example.com"}, "", 0),
        ({"known_at": "2026-11-26T12:00:00Z"}, "max-age=3", 0),
        ({"as_of": "2026-11-26T12:00:00Z"}, "s-max-age=x", math.inf),
    ],
)
def test_client_says_how_old_an_answer_may_be(query: dict[str, Any], control: str, most: float) -> None:
    request = Request("GET", "/v1/users", {"cache-control": control}, "", b"", "id", query=query)
    assert router._most_age(request) == most


def test_every_operation_with_a_path_parameter_documents_404() -> None:
    for (_, path), operation in OPERATIONS.items():
        assert "{" not in path or "404" in operation["responses"], path


def test_every_operation_documents_the_statuses_that_it_can_return() -> None:
    for (method, path), operation in OPERATIONS.items():
        expected = {"400", "405", "422", "500", "503"}
        if method != "GET" or "302" not in operation["responses"]:
            expected |= {"412"}
        if operation["security"]:
            expected |= {"401", "403", "429"}
        assert expected <= operation["responses"].keys(), (method, path)


def test_only_the_listed_operations_are_public() -> None:
    public = {path for (_, path), operation in OPERATIONS.items() if not operation["security"]}
    assert public == {
        "/v1/unsubscribe/{token}",
        "/v1/health",
        "/v1/ready",
        "/v1/openapi.json",
        "/docs",
        "/docs/{file}",
        *PAGE,
    }


def test_scope_pmp_check_allows_only_to_check() -> None:
    allowed = {
        operation["operationId"]
        for operation in OPERATIONS.values()
        if {"oauth2": ["pmp/check"]} in operation["security"]
    }
    assert allowed == {"checkConsents"}


OF_CLIENTS = [key for key, operation in OPERATIONS.items() if {"oauth2"} & set().union(*operation["security"])]
OF_USERS = [key for key, operation in OPERATIONS.items() if {"person"} & set().union(*operation["security"])]


def test_an_operation_takes_either_access_tokens_or_users_own_tokens() -> None:
    assert not set(OF_CLIENTS) & set(OF_USERS)
    assert {path for _, path in OF_USERS} == {path for _, path in OPERATIONS if path.split("/")[2:3] == ["me"]}


@pytest.mark.parametrize(("method", "path"), OF_CLIENTS)
def test_missing_token_returns_401_and_each_scope_only_opens_its_operations(method: str, path: str) -> None:
    anonymous = invoke(method, concrete(path), {}, None)
    assert anonymous.status == 401
    assert anonymous.headers["WWW-Authenticate"].startswith("Bearer scope=")
    needed = {scope for entry in OPERATIONS[method, path]["security"] for scope in entry.get("oauth2", ())}
    for scope in ALL_SCOPES.split():
        answer = invoke(method, concrete(path), {"Authorization": f"Bearer {token(scope)}"}, None)
        assert (answer.status != 403) == (scope in needed), scope
        assert scope in needed or 'error="insufficient_scope"' in answer.headers["WWW-Authenticate"]
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


@pytest.mark.parametrize("headers", [{}, {"Content_Type": "application/json"}, {"Content_Type": "text/plain"}])
def test_missing_body_returns_422(headers: dict[str, str]) -> None:
    answer = Gateway().request("POST", "/v1/users", **headers)
    assert answer.status == 422
    assert answer.json["errors"] == [{"pointer": "", "detail": "is missing; send a JSON object"}]


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


def test_served_document_equals_the_file_but_for_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert invoke("GET", "/v1/openapi.json", {}, None).json == DOCUMENT
    monkeypatch.setenv("PMP_API_URL", "https://api.example.com")
    monkeypatch.setenv("PMP_TOKEN_URL", "https://issuer.example.com/oauth2/token")
    configuration.cache_clear()
    served = invoke("GET", "/v1/openapi.json", {}, None).json
    assert served["servers"] == [{"url": "https://api.example.com"}]
    flow = served["components"]["securitySchemes"]["oauth2"]["flows"]["clientCredentials"]
    assert flow["tokenUrl"] == "https://issuer.example.com/oauth2/token"
    flow["tokenUrl"], served["servers"] = "/oauth2/token", [{"url": "/"}]
    assert served == DOCUMENT
    policy = invoke("GET", "/docs", {}, None).headers["Content-Security-Policy"]
    assert "connect-src 'self' https://issuer.example.com;" in policy


@pytest.mark.parametrize("path", ["/v1/health", "/v1/openapi.json", "/docs", "/docs/start.js"])
def test_get_returns_304_for_a_current_etag(path: str) -> None:
    tag = invoke("GET", path, {}, None).headers["ETag"]
    again = invoke("GET", path, {"If-None-Match": tag}, None)
    assert (again.status, again.content, again.headers["ETag"]) == (304, b"", tag)
    assert invoke("GET", path, {"If-None-Match": '"other"'}, None).status == 200
    assert invoke("GET", path, {"If-Match": '"other"'}, None).status == 412


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If_Match": '"a"'}, 412),
        ({"If_None_Match": "*"}, 412),
        ({"If_Match": "*"}, 503),
        ({"If_None_Match": '"a"'}, 503),
    ],
)
def test_condition_that_a_post_cannot_meet_returns_412(headers: dict[str, str], status: int) -> None:
    checks = {"checks": [{"user": {"id": UUID}, "consent": "sms"}]}
    assert Gateway().request("POST", "/v1/check", checks, **headers).status == status
    # An invalid request is refused for what it is (RFC 9110, section 13.2.1).
    assert Gateway().request("POST", "/v1/check", {}, **headers).status == 422


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/health"), ("GET", "/v1/users"), ("POST", "/v1/users"),
                                              ("GET", "/v1/nowhere"), ("PATCH", "/v1/users")])  # fmt: skip
def test_every_answer_tells_browsers_to_use_https(method: str, path: str) -> None:
    answer = Gateway().request(method, path)
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


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
