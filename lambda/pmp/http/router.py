"""From an HTTP API payload to its answer: match, authorize, count, validate, answer. All by ``openapi.json``."""

import json
import os
import time
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from typing import Any, NamedTuple
from urllib.parse import unquote

from pmp import logging
from pmp.http.messages import Request, Response, parse_json, parse_query, receive, send
from pmp.http.problems import Problem, invalid
from pmp.http.schema import Errors, Schemas

_NOTHING, _REPEATABLE, _WRITE = "nothing", "repeatable", "write"
"""What an operation does with the database: nothing; statements that may be repeated where it is not known whether they
were done (reads, and an event, which is recorded once under its id); or writes that need a transaction."""

OPERATIONS: dict[str, tuple[str, str, str]] = {
    "listUsers": ("users", "list_users", _REPEATABLE),
    "createUser": ("users", "create_user", _WRITE),
    "getUser": ("users", "get_user", _REPEATABLE),
    "eraseUser": ("users", "erase_user", _WRITE),
    "listUserEvents": ("users", "list_events", _REPEATABLE),
    "exportUser": ("users", "export_user", _REPEATABLE),
    "listEvents": ("events", "list_events", _REPEATABLE),
    "createEvent": ("events", "create_event", _REPEATABLE),
    "getEvent": ("events", "get_event", _REPEATABLE),
    "checkConsents": ("check", "check_consents", _REPEATABLE),
    "listConsents": ("catalogue", "list_consents", _REPEATABLE),
    "getConsent": ("catalogue", "get_consent", _REPEATABLE),
    "putConsent": ("catalogue", "put_consent", _WRITE),
    "listImports": ("jobs", "list_imports", _REPEATABLE),
    "createImport": ("jobs", "create_import", _WRITE),
    "getImport": ("jobs", "get_import", _REPEATABLE),
    "cancelImport": ("jobs", "cancel_import", _WRITE),
    "getImportRejects": ("jobs", "get_import_rejects", _REPEATABLE),
    "createExport": ("jobs", "create_export", _WRITE),
    "getExport": ("jobs", "get_export", _REPEATABLE),
    "listVendors": ("vendors", "list_vendors", _REPEATABLE),
    "getVendor": ("vendors", "get_vendor", _REPEATABLE),
    "getHealth": ("service", "get_health", _NOTHING),
    "getReadiness": ("service", "get_readiness", _NOTHING),
    "getOpenapi": ("service", "get_openapi", _NOTHING),
    "getDocs": ("service", "get_docs", _NOTHING),
    "getDocsFile": ("service", "get_docs_file", _NOTHING),
}
"""The module under ``routes`` and its function for each ``operationId``; imported when first asked for."""

_UNAVAILABLE = {"53300", "53400", "57014", "55P03", "40001", "40P01", "25P03", "53100", "53200"}
"""What the database answers when it is too busy, and a later attempt may succeed."""


class _Operation(NamedTuple):
    identifier: str
    scopes: tuple[str, ...]
    parameters: list[dict[str, Any]]
    body: dict[str, Any] | None


class _Template(NamedTuple):
    segments: list[str]
    operations: dict[str, _Operation]


def document_bytes() -> bytes:
    """``openapi.json`` as it lies beside the code, in a folder or in a zip."""
    path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "openapi.json")  # noqa: PTH118, PTH120 - in a zip
    return bytes(__loader__.get_data(path))  # type: ignore[name-defined]


_DOCUMENT: dict[str, Any] = json.loads(document_bytes())
SCHEMAS = Schemas(_DOCUMENT)


def _read_operation(operation: dict[str, Any]) -> _Operation:
    content = operation.get("requestBody", {}).get("content", {})
    security = operation["security"]
    return _Operation(
        operation["operationId"],
        tuple(security[0]["oauth2"]) if security else (),
        [SCHEMAS.resolve(parameter) for parameter in operation.get("parameters", ())],
        content["application/json"]["schema"] if content else None,
    )


_TEMPLATES = [
    _Template(
        path.split("/"),
        {method.upper(): _read_operation(operation) for method, operation in methods.items()},
    )
    for path, methods in _DOCUMENT["paths"].items()
]


def _match(method: str, path: str) -> tuple[_Operation, dict[str, str]]:
    parts = path.split("/")
    for template in _TEMPLATES:
        if len(parts) != len(template.segments):
            continue
        parameters: dict[str, str] = {}
        for segment, part in zip(template.segments, parts, strict=True):
            if segment.startswith("{"):
                parameters[segment[1:-1]] = unquote(part)
            elif segment != part:
                break
        else:
            if method in template.operations:
                return template.operations[method], parameters
            allowed = ", ".join(template.operations)
            raise Problem(
                405, "method-not-allowed", f"{path} answers {allowed} only, not {method}", headers={"Allow": allowed}
            )
    raise Problem(404, "not-found", f"there is nothing at {path[:200]}; /v1/openapi.json lists what there is")


def _authorize(operation: _Operation, event: dict[str, Any]) -> str:
    """The client's id. The gateway has verified the token; that it did, and the scope, is checked again here."""
    if not operation.scopes:
        return ""
    authorizer = event["requestContext"].get("authorizer") or {}
    claims = (authorizer.get("jwt") or {}).get("claims") or {}
    challenge = f'Bearer scope="{" ".join(operation.scopes)}"'
    client = claims.get("client_id") or claims.get("sub")
    if not client:
        detail = "send an access token: Authorization: Bearer …"
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})
    try:
        expired = float(claims.get("exp", 0)) <= time.time()
    except ValueError:
        expired = True
    if expired:
        challenge += ', error="invalid_token"'
        raise Problem(401, "token-expired", "the access token is expired", headers={"WWW-Authenticate": challenge})
    if not set(operation.scopes) & set(str(claims.get("scope", "")).split()):
        challenge += ', error="insufficient_scope"'
        detail = f"the access token lacks the scope {' or '.join(operation.scopes)}"
        raise Problem(403, "scope-missing", detail, headers={"WWW-Authenticate": challenge})
    return str(client)


_WINDOW_SECONDS = 60
_used: dict[str, tuple[int, int]] = {}


def _count(client: str) -> dict[str, str]:
    """Count the request against the client's quota of this minute, in this instance of the function.

    The gateway throttles all instances together, but tells nobody how much is left; this does, for the one thing that
    an instance knows without asking the database. Headers: draft-ietf-httpapi-ratelimit-headers.
    """
    quota = int(os.environ.get("PMP_RATE_LIMIT_PER_MINUTE", "6000"))
    now = int(time.time())
    window, used = _used.get(client, (0, 0))
    if window != now // _WINDOW_SECONDS:
        if len(_used) > 1000:
            _used.clear()
        window, used = now // _WINDOW_SECONDS, 0
    _used[client] = (window, used + 1)
    left = _WINDOW_SECONDS - now % _WINDOW_SECONDS
    headers = {
        "RateLimit-Policy": f'"client";q={quota};w={_WINDOW_SECONDS}',
        "RateLimit": f'"client";r={max(0, quota - used - 1)};t={left}',
    }
    if used >= quota:
        detail = f"the quota of {quota} requests a minute is used up; the next one begins in {left} s"
        raise Problem(429, "quota-used-up", detail, headers={**headers, "Retry-After": str(left)})
    return headers


def _convert(text: str, schema: dict[str, Any]) -> Any:
    kind = SCHEMAS.resolve(schema).get("type")
    if kind == "integer":
        try:
            # Python also reads 1_000, spaces and other scripts' digits.
            return int(text) if len(text) < 20 and text.isascii() and text.lstrip("-").isdigit() else text
        except ValueError:
            return text
    if kind == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text


def _validate_path(operation: _Operation, request: Request) -> None:
    for parameter in operation.parameters:
        if parameter["in"] != "path":
            continue
        text = request.parameters[parameter["name"]]
        if SCHEMAS.errors(_convert(text, parameter["schema"]), parameter["schema"]):
            raise Problem(404, "not-found", f"there is nothing at {request.path[:200]}: no such {parameter['name']}")


def _validate_query(operation: _Operation, request: Request) -> Errors:
    errors: Errors = []
    known = {parameter["name"]: parameter for parameter in operation.parameters if parameter["in"] == "query"}
    for name, text in parse_query(request.raw_query):
        if name not in known:
            listed = ", ".join(known) or "none"
            errors.append({"parameter": name[:100], "detail": f"is unknown; known are {listed}"})
        elif name in request.query:
            errors.append({"parameter": name, "detail": "stands twice"})
        else:
            value = request.query[name] = _convert(text, known[name]["schema"])
            found = SCHEMAS.errors(value, known[name]["schema"])
            errors.extend({"parameter": name, "detail": error["detail"]} for error in found)
    return errors


def _validate_headers(operation: _Operation, request: Request) -> Errors:
    errors: Errors = []
    for parameter in operation.parameters:
        if parameter["in"] == "header" and (value := request.headers.get(parameter["name"].lower())) is not None:
            found = SCHEMAS.errors(value, parameter["schema"])
            errors.extend({"header": parameter["name"], "detail": error["detail"]} for error in found)
    return errors


def _validate(operation: _Operation, request: Request) -> None:
    _validate_path(operation, request)
    errors = [*_validate_query(operation, request), *_validate_headers(operation, request)]
    if operation.body is not None:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            found = media or "nothing"
            raise Problem(415, "unsupported-media-type", f"Content-Type must be application/json, not {found[:100]}")
        request.body = parse_json(request.raw_body)
        errors.extend(SCHEMAS.errors(request.body, operation.body))
    if errors:
        raise invalid(errors)


Route = Callable[..., Response]


def _write(route: Route, request: Request, connection: Any) -> Response:
    """The operation in one transaction, together with its idempotency key if there is one."""
    request.attempts += 1
    key = request.headers.get("idempotency-key") if request.method == "POST" else None
    with connection.transaction(pipelined=True):
        if key is None:
            return route(request, connection)
        from pmp.http import idempotency

        return idempotency.once(route, request, connection, key)


def _perform(operation: _Operation, request: Request) -> Response:
    module, function, does = OPERATIONS[operation.identifier]
    route: Route = getattr(import_module(f"pmp.http.routes.{module}"), function)
    if does == _NOTHING:
        return route(request)
    from pmp import database

    try:
        if does == _REPEATABLE and not (request.method == "POST" and "idempotency-key" in request.headers):
            return database.with_connection(lambda connection: route(request, connection))
        return database.with_connection(lambda connection: _write(route, request, connection))
    except Exception as error:
        busy = isinstance(error, database.DatabaseError) and database.error_code(error) in _UNAVAILABLE
        if not busy and not database.is_lost(error):
            raise
        logging.log("database unavailable", level="error", error=error)
        detail = "the database cannot be reached now; try again"
        raise Problem(503, "unavailable", detail, headers={"Retry-After": "2"}) from error


def _answer(event: dict[str, Any], request: Request) -> Response:
    operation, request.parameters = _match(request.method, request.path)
    request.operation = operation.identifier
    request.client = _authorize(operation, event)
    limits = _count(request.client) if request.client else {}
    logging.bind(request_id=request.request_id, operation=operation.identifier, client=request.client)
    try:
        _validate(operation, request)
        response = _perform(operation, request)
    except Problem as problem:
        problem.headers = {**limits, **problem.headers}
        raise
    response.headers.update(limits)
    return response


def _problem(problem: Problem, path: str, request_id: str) -> Response:
    headers = {"Content-Type": "application/problem+json", **problem.headers}
    return Response(problem.status, problem.document(path, request_id), headers)


def answer(event: dict[str, Any], invocation_id: str) -> dict[str, Any]:
    """Answer a request; never raises.

    Args:
        event: the HTTP API payload, version 2.0.
        invocation_id: Lambda's, for the logs where the gateway gave none.
    """
    started = time.perf_counter()
    logging.bind(request_id=invocation_id)
    request: Request | None = None
    request_id = event["requestContext"].get("requestId") or invocation_id
    path = event.get("rawPath", "")
    try:
        request = receive(event, invocation_id)
        path = request.path
        response = _answer(event, request)
    except Problem as problem:
        response = _problem(problem, path, request_id)
    except Exception as error:  # noqa: BLE001 - the last line of defence: the client gets a problem, the log the rest
        logging.log("request failed", level="error", error=error)
        detail = "something went wrong on our side; the request id finds it in our logs"
        response = _problem(Problem(500, "internal", detail), path, request_id)
    payload = send(response, request)
    logging.log(
        "request",
        method=event["requestContext"]["http"].get("method"),
        path=path,
        status=response.status,
        milliseconds=round((time.perf_counter() - started) * 1000, 2),
        release=os.environ.get("PMP_RELEASE", "unknown")[:12],
    )
    return payload


def fingerprint(request: Request) -> bytes:
    """What makes two requests with one idempotency key the same: operation, path, query and body."""
    parts = [request.operation.encode(), request.path.encode("utf-8", "replace"), request.raw_query.encode()]
    return sha256(b"\0".join([*parts, request.raw_body])).digest()
