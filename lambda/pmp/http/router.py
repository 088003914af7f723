"""From an HTTP API payload to its response: match, admit, validate, perform. All by ``openapi.json``."""

import math
import os
import re
import time
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

from pmp import logging
from pmp.http import disclosures
from pmp.http.authorization import admit
from pmp.http.conditions import conditional, require_no_condition
from pmp.http.document import WORDS, match
from pmp.http.limits import before_edge
from pmp.http.messages import Request, Response, receive, send
from pmp.http.problems import Problem, unavailable
from pmp.http.validation import validate
from pmp.identifiers import is_uuid

_NOTHING, _AGED, _REPEATABLE, _WRITE = "nothing", "aged", "repeatable", "write"
"""How an operation uses the database: not at all; by reads that may be some seconds old, which a reader answers where
there is one; by statements that may be repeated when their outcome is unknown (reads, and the insertion of events,
which are recorded once under their ids); or by writes that need a transaction."""

OPERATIONS: dict[str, tuple[str, str, str]] = {
    "listUsers": ("users", "list_users", _AGED),
    "createUser": ("users", "create_user", _WRITE),
    "getUser": ("users", "get_user", _REPEATABLE),
    "changeUser": ("users", "change_user", _WRITE),
    "mergeUsers": ("users", "merge_users", _WRITE),
    "eraseUser": ("users", "erase_user", _WRITE),
    "lookupUser": ("users", "lookup_user", _REPEATABLE),
    "listUserEvents": ("users", "list_events", _REPEATABLE),
    "listUserConsents": ("users", "list_consents", _REPEATABLE),
    "exportUser": ("users", "export_user", _REPEATABLE),
    "listEvents": ("events", "list_events", _AGED),
    "createEvent": ("events", "create_event", _REPEATABLE),
    "createEvents": ("events", "create_events", _REPEATABLE),
    "getEvent": ("events", "get_event", _REPEATABLE),
    "recordSignal": ("signals", "record_signal", _REPEATABLE),
    "createToken": ("tokens", "create_token", _REPEATABLE),
    "getMe": ("me", "get_me", _REPEATABLE),
    "eraseMe": ("me", "erase_me", _WRITE),
    "listMyEvents": ("me", "list_events", _REPEATABLE),
    "createMyEvent": ("me", "create_event", _REPEATABLE),
    "exportMe": ("me", "export_me", _REPEATABLE),
    "confirmMyConsents": ("me", "confirm", _REPEATABLE),
    "getUnsubscription": ("unsubscribe", "get_page", _REPEATABLE),
    "unsubscribe": ("unsubscribe", "unsubscribe", _REPEATABLE),
    "checkConsents": ("check", "check_consents", _REPEATABLE),
    "listConsents": ("catalogue", "list_consents", _REPEATABLE),
    "getConsent": ("catalogue", "get_consent", _REPEATABLE),
    "putConsent": ("catalogue", "put_consent", _WRITE),
    "retireConsent": ("catalogue", "retire_consent", _WRITE),
    "listConsentVersions": ("catalogue", "list_versions", _REPEATABLE),
    "listImports": ("jobs", "list_imports", _REPEATABLE),
    "createImport": ("jobs", "create_import", _WRITE),
    "getImport": ("jobs", "get_import", _REPEATABLE),
    "cancelImport": ("jobs", "cancel_import", _WRITE),
    "getImportPreview": ("jobs", "get_import_preview", _REPEATABLE),
    "getImportRejects": ("jobs", "get_import_rejects", _REPEATABLE),
    "listMappings": ("mappings", "list_mappings", _REPEATABLE),
    "getMapping": ("mappings", "get_mapping", _REPEATABLE),
    "putMapping": ("mappings", "put_mapping", _WRITE),
    "createExport": ("jobs", "create_export", _WRITE),
    "listExports": ("jobs", "list_exports", _REPEATABLE),
    "deleteExport": ("jobs", "delete_export", _WRITE),
    "getExport": ("jobs", "get_export", _REPEATABLE),
    "listSubscriptions": ("subscriptions", "list_subscriptions", _REPEATABLE),
    "createSubscription": ("subscriptions", "create_subscription", _WRITE),
    "getSubscription": ("subscriptions", "get_subscription", _REPEATABLE),
    "changeSubscription": ("subscriptions", "change_subscription", _WRITE),
    "deleteSubscription": ("subscriptions", "delete_subscription", _WRITE),
    "rotateSubscription": ("subscriptions", "rotate_subscription", _WRITE),
    "replaySubscription": ("subscriptions", "replay_subscription", _WRITE),
    "listUserDeliveries": ("subscriptions", "list_user_deliveries", _REPEATABLE),
    "listVendors": ("vendors", "list_vendors", _REPEATABLE),
    "getVendor": ("vendors", "get_vendor", _REPEATABLE),
    "getHealth": ("service", "get_health", _NOTHING),
    "getReadiness": ("service", "get_readiness", _NOTHING),
    "getOpenapi": ("service", "get_openapi", _NOTHING),
    "getDocs": ("service", "get_docs", _NOTHING),
    "getDocsFile": ("service", "get_docs_file", _NOTHING),
    "getPreferences": ("preferences", "get_page", _NOTHING),
    "getPreferencesFile": ("preferences", "get_file", _NOTHING),
}
"""By ``operationId``: the module under ``routes``, imported on first use; its function; its use of the database."""

_UNAVAILABLE = {"53300", "53400", "57014", "55P03", "40001", "40P01", "25P03", "53100", "53200"}
"""SQLSTATEs of a database that is too busy; a later attempt may succeed."""

_BEFORE_EDGE = "PMP03"
"""SQLSTATE of ``pmp.refuse_before_edge``."""

_MAX_AGE = re.compile(r"\bmax-age=(\d{1,9})\b", re.ASCII).search

Route = Callable[..., Response]


def _write(route: Route, request: Request, connection: Any) -> Response:
    """Run the operation in one transaction, together with its idempotency key if there is one."""
    request.attempts += 1
    key = request.idempotency_key
    with connection.transaction(pipelined=True):
        if key is None:
            return route(request, connection)
        from pmp.http import idempotency

        return idempotency.once(route, request, connection, key)


def _most_age(request: Request) -> float:
    """How old the answer to a read may be, in seconds (RFC 9111, section 5.2.1).

    A user who is looked for by address is a single read, and what was known at an instant has to be complete.
    """
    if not {"email", "known_at"}.isdisjoint(request.query):
        return 0
    control = request.headers.get("cache-control", "").lower()
    if "no-cache" in control or "no-store" in control:
        return 0
    found = _MAX_AGE(control)
    return float(found[1]) if found else math.inf


def _aged(route: Route, request: Request) -> Response | None:
    """The answer of a reader, which says how old it is (``Age``); None: ask the writer.

    The writer alone refuses: what a request names may have been made after what the reader shows.
    """
    from pmp import readers

    def answer(connection: Any) -> Response | None:
        try:
            return route(request, connection)
        except Problem:
            return None

    found = readers.recent(answer, _most_age(request))
    if found is None or found[0] is None:
        return None
    response, age = found[0], found[1]
    response.headers["Age"] = str(math.ceil(age))
    return response


def _perform(request: Request) -> Response:
    module, function, use = OPERATIONS[request.operation]
    route: Route = getattr(import_module(f"pmp.http.routes.{module}"), function)
    if use == _NOTHING:
        return route(request)
    from pmp import database

    try:
        if use == _AGED and (response := _aged(route, request)) is not None:
            return response
        if use != _WRITE and request.idempotency_key is None:
            return database.in_turn(lambda connection: route(request, connection))
        return database.in_turn(lambda connection: _write(route, request, connection))
    except Exception as error:
        code = database.error_code(error) if isinstance(error, database.DatabaseError) else ""
        if code == _BEFORE_EDGE:
            raise before_edge(request, error.args[0]["M"], error.args[0]["H"]) from error
        if code not in _UNAVAILABLE and not database.is_lost(error):
            raise
        logging.log("database unavailable", level="error", error=error)
        raise unavailable("the database is unavailable; try again") from error


def _answer(event: dict[str, Any], request: Request) -> Response:
    operation, request.parameters = match(request.method, request.path)
    request.operation = operation.identifier
    admit(operation, request, event)
    logging.bind(request_id=request.request_id, operation=operation.identifier, client=request.client)
    validate(operation, request)
    if request.method == "POST":
        require_no_condition(request)
    found = _perform(request)
    response = conditional(request, found) if found.status == 200 and request.method in {"GET", "HEAD"} else found
    if response.status < 400:
        disclosures.note(request, found)
    return response


def _loggable(path: str) -> str:
    """The path with ``*`` for what is neither a word of the API nor a UUID: it may be a name, an address or a token."""
    return "/".join([part if part in WORDS or is_uuid(part) else "*" for part in path.split("/")])


@lru_cache(maxsize=1)
def _release() -> str:
    """The commit that runs. Not from the configuration, which raises where a variable is missing."""
    return os.environ.get("PMP_RELEASE", "unknown")[:12]


def _problem(problem: Problem, request_id: str) -> Response:
    headers = {"Content-Type": "application/problem+json", **problem.headers}
    if problem.status == 503:
        headers.setdefault("Retry-After", "2")
    return Response(problem.status, problem.document(request_id), headers)


def answer(event: dict[str, Any], invocation_id: str) -> dict[str, Any]:
    """Answer a request; never raises.

    Args:
        event: the HTTP API payload, version 2.0.
        invocation_id: Lambda's request id, for the logs if the gateway sent none.

    Returns:
        The HTTP API response.
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
        payload = send(response, request)
    except Problem as problem:
        response = _problem(problem, request_id)
        payload = send(response, request)
    except Exception as error:  # noqa: BLE001 - last resort: the client gets a problem document, the log gets the error
        logging.log("request failed", level="error", error=error)
        detail = "an internal error occurred; report it with the request_id, which identifies it in our logs"
        response = _problem(Problem(500, "internal", detail), request_id)
        payload = send(response, request)
    logging.log(
        "request",
        method=event["requestContext"]["http"].get("method"),
        path=_loggable(path),
        status=response.status,
        milliseconds=round((time.perf_counter() - started) * 1000, 2),
        **((request and request.discloses) or {}),
        release=_release(),
    )
    return payload
