"""``openapi.json``: the document that is served, with the operations and schemas that requests are checked by."""

import json
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote

from pmp.http.problems import Problem
from pmp.specification import DOCUMENT, SCHEMAS


class Operation(NamedTuple):
    """An operation of the document.

    Attributes:
        identifier: its ``operationId``.
        scopes: an access token needs one of them; empty for a public operation.
        purposes: a user's own token must have one of them; empty where such tokens are not taken.
        parameters: of path, query and header.
        body: schema of the body, JSON or a form; None where there is no body.
        media: types that the body may have.
    """

    identifier: str
    scopes: tuple[str, ...]
    purposes: tuple[str, ...]
    parameters: list[dict[str, Any]]
    body: dict[str, Any] | None
    media: tuple[str, ...]


class _Template(NamedTuple):
    segments: list[str]
    operations: dict[str, Operation]


@lru_cache(maxsize=1)
def served(api_url: str, token_url: str) -> bytes:
    """The document with absolute addresses, so that a copy of it works anywhere.

    Args:
        api_url: base URL of this API; empty to keep the relative one.
        token_url: OAuth2 token endpoint; empty to keep the relative one.
    """
    components = DOCUMENT["components"]
    oauth2 = components["securitySchemes"]["oauth2"]
    flow = oauth2["flows"]["clientCredentials"]
    flow = {**flow, "tokenUrl": token_url or flow["tokenUrl"]}
    schemes = {**components["securitySchemes"], "oauth2": {**oauth2, "flows": {"clientCredentials": flow}}}
    document = {
        **DOCUMENT,
        "servers": [{"url": api_url}] if api_url else DOCUMENT["servers"],
        "components": {**components, "securitySchemes": schemes},
    }
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _required(operation: dict[str, Any], schemes: set[str]) -> tuple[str, ...]:
    """What the operation requires of a token by these security schemes, each once."""
    alternatives = [(name, names) for entry in operation["security"] for name, names in entry.items()]
    return tuple({text: None for name, names in alternatives if name in schemes for text in names})


def _read_operation(operation: dict[str, Any]) -> Operation:
    body = operation.get("requestBody", {}).get("content", {})
    return Operation(
        operation["operationId"],
        _required(operation, {"oauth2", "bearer"}),
        _required(operation, {"person"}),
        [SCHEMAS.resolve(parameter) for parameter in operation.get("parameters", ())],
        next(iter(body.values()))["schema"] if body else None,
        tuple(body),
    )


_TEMPLATES = [
    _Template(
        path.split("/"),
        {method.upper(): _read_operation(operation) for method, operation in methods.items()},
    )
    for path, methods in DOCUMENT["paths"].items()
]

WORDS = frozenset(word for template in _TEMPLATES for word in template.segments if not word.startswith("{"))
"""The fixed segments of all paths."""


def match(method: str, path: str) -> tuple[Operation, dict[str, str]]:
    """The operation of a request, and its path parameters, decoded but not validated.

    Raises:
        Problem: 404 for an unknown path, 405 for a method that the path does not have.
    """
    parts = path.split("/")
    for template in _TEMPLATES:
        if len(parts) != len(template.segments):
            continue
        parameters: dict[str, str] = {}
        for segment, part in zip(template.segments, parts, strict=True):
            if segment.startswith("{") and part:
                parameters[segment[1:-1]] = unquote(part)
            elif segment != part:
                break
        else:
            # Whatever can be read with GET can be asked with HEAD (RFC 9110, section 9.1).
            operation = template.operations.get("GET" if method == "HEAD" else method)
            if operation is not None:
                return operation, parameters
            allowed = ", ".join(template.operations).replace("GET", "GET, HEAD")
            detail = f"{method} is not allowed for {path}; allowed: {allowed}"
            raise Problem(405, "method-not-allowed", detail, headers={"Allow": allowed})
    raise Problem(404, "not-found", f"there is no resource at {path[:200]}; /v1/openapi.json lists all paths")
