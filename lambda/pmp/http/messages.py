"""Requests and responses, and how they look in an HTTP API payload (version 2.0)."""

import base64
import gzip
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from pmp.http.problems import Problem, invalid

LARGEST_BODY_BYTES = 1024 * 1024
_COMPRESSED_FROM_BYTES = 8 * 1024


@dataclass(slots=True)
class Request:
    """What the client asked, as far as ``openapi.json`` has been applied to it."""

    method: str
    path: str
    headers: dict[str, str]
    raw_query: str
    raw_body: bytes
    request_id: str
    operation: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    """Of the path."""
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    client: str = ""
    """The OAuth client's id, from the verified token."""
    identifier: str = ""
    """What this request makes, named before it is tried the first time."""
    attempts: int = 0
    """How often its transaction was begun: more than once where a connection was lost."""


@dataclass(slots=True)
class Response:
    """An answer before it is put into the gateway's form."""

    status: int
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    """Instead of a document: bytes whose type stands in ``headers``."""
    compress: bool = False

    def body(self) -> bytes | None:
        """The bytes to send."""
        if self.content is not None:
            return self.content
        return None if self.document is None else encode(self.document)


def encode(document: Any) -> bytes:
    """JSON, compact, in UTF-8; half a surrogate pair (only ever from an echo of bad input) becomes a question mark."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def etag(content: bytes, *, weak: bool = False) -> str:
    """An entity tag of these bytes; weak where they may also be sent compressed."""
    return f'{"W/" if weak else ""}"{hashlib.sha256(content).hexdigest()[:32]}"'


def _tags(header: str) -> list[str]:
    return [tag.strip() for tag in header.split(",")]


def not_modified(request: Request, tag: str) -> bool:
    """Whether the client has it already (RFC 9110, 13.1.2: weak comparison)."""
    header = request.headers.get("if-none-match")
    return header is not None and (
        header.strip() == "*" or tag.removeprefix("W/") in [known.removeprefix("W/") for known in _tags(header)]
    )


def require_match(request: Request, tag: str | None) -> None:
    """Let ``If-Match`` and ``If-None-Match`` of a write stop it.

    Args:
        request: the write.
        tag: of what is there now; None if there is nothing.

    Raises:
        Problem: 412.
    """
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and (tag is None or (match.strip() != "*" and tag not in _tags(match))):
        raise Problem(412, "precondition-failed", "If-Match does not hold: it was changed; read it again")
    if none_match is not None and tag is not None and not_modified(request, tag):
        raise Problem(412, "precondition-failed", "If-None-Match does not hold: there is one already")


def conditional(request: Request, response: Response) -> Response:
    """Give a response its ETag; or 304 if the client has it already."""
    content = response.body() or b""
    tag = etag(content, weak=response.compress)
    response.headers["ETag"] = tag
    if not_modified(request, tag):
        kept = {name: value for name, value in response.headers.items() if name in {"ETag", "Age", "Cache-Control"}}
        return Response(304, headers=kept)
    response.content = content
    return response


def cursor(*position: Any) -> str:
    """A place in a list, opaque to the client."""
    return base64.urlsafe_b64encode(encode(position)).rstrip(b"=").decode()


INTEGER = ""


def position(text: str | None, *kinds: str) -> tuple[Any, ...]:
    """The place that a cursor names; as many None as there are kinds without one.

    Args:
        text: from the client, who may have made it up.
        kinds: of each member: ``INTEGER``, or the pattern of a string.

    Raises:
        Problem: 422 if it is not one of ours.
    """
    if text is None:
        return (None,) * len(kinds)
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if len(values) == len(kinds) and all(map(_is_of, values, kinds)):
            return tuple(values)
    except (ValueError, TypeError, RecursionError):
        pass
    raise invalid([{"parameter": "cursor", "detail": "is not the `next` of a page of this list"}])


def _is_of(value: Any, kind: str) -> bool:
    if kind == INTEGER:
        return type(value) is int and 0 <= value < 2**62
    return isinstance(value, str) and re.fullmatch(kind, value) is not None


def receive(event: dict[str, Any], request_id: str) -> Request:
    """Read the gateway's payload.

    Raises:
        Problem: 413 for a body that is too large, 400 for one that is not what it says.
    """
    http = event["requestContext"]["http"]
    path = event.get("rawPath") or http.get("path", "/")
    stage = event["requestContext"].get("stage", "$default")
    if stage != "$default":
        path = path.removeprefix(f"/{stage}") or "/"
    request = Request(
        method=http["method"],
        path=path,
        headers={name.lower(): value for name, value in event.get("headers", {}).items()},
        raw_query=event.get("rawQueryString") or "",
        raw_body=b"",
        request_id=event["requestContext"].get("requestId") or request_id,
    )
    body = event.get("body") or ""
    if len(body) <= LARGEST_BODY_BYTES * 4 // 3 + 4:
        request.raw_body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode("utf-8", "replace")
    if not body or 0 < len(request.raw_body) <= LARGEST_BODY_BYTES:
        return request
    raise Problem(
        413, "too-large", f"the body has more than {LARGEST_BODY_BYTES} bytes; send less at once, or import it"
    )


def parse_query(raw: str) -> list[tuple[str, str]]:
    """The parameters of the query in their order.

    Raises:
        Problem: 400 if it is not percent-encoded UTF-8.
    """
    try:
        return parse_qsl(raw, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=50)
    except ValueError:
        raise Problem(400, "malformed", "the query is not percent-encoded UTF-8 of at most 50 fields") from None


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:100]!r} stands twice in one object")
    return document


def _number(text: str) -> float | int:
    value = float(text)
    # JSON knows no difference between 1 and 1.0.
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def parse_json(content: bytes) -> Any:
    """JSON as strict as it can be read: UTF-8, no duplicate keys, no NaN.

    Raises:
        Problem: 400.
    """
    try:
        return json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_refuse_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_number,
        )
    except UnicodeDecodeError as error:
        detail = f"it is not UTF-8 at byte {error.start}"
    except RecursionError:
        detail = "it is nested too deep"
    except ValueError as error:
        detail = str(error)
    raise Problem(400, "malformed", f"the body is no valid JSON: {detail}")


def send(response: Response, request: Request | None) -> dict[str, Any]:
    """The gateway's form of a response."""
    headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", **response.headers}
    content = response.body()
    payload: dict[str, Any] = {"statusCode": response.status, "headers": headers, "isBase64Encoded": False}
    if content is None:
        return payload
    headers.setdefault("Content-Type", "application/json")
    accepted = request.headers.get("accept-encoding", "") if request else ""
    if response.compress:
        headers["Vary"] = "Accept-Encoding"
        if len(content) >= _COMPRESSED_FROM_BYTES and "gzip" in accepted:
            content = gzip.compress(content, compresslevel=6, mtime=0)
            headers["Content-Encoding"] = "gzip"
    textual = "Content-Encoding" not in headers and not headers["Content-Type"].startswith("image/")
    payload["body"] = content.decode() if textual else base64.b64encode(content).decode()
    payload["isBase64Encoded"] = not textual
    return payload
