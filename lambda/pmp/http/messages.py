"""Requests and responses, and their form in an HTTP API payload (version 2.0)."""

import base64
import gzip
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pmp.http.problems import Problem

if TYPE_CHECKING:
    from pmp.person_tokens import Person

LARGEST_BODY_BYTES = 1024 * 1024
LARGEST_ANSWER_BYTES = 6_291_556
"""Of the whole response of an invocation, as JSON: with escaped quotes, or a body in base64. AWS answers 502 above it.
https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"""

_ENVELOPE_BYTES = 16 * 1024
"""Ample for status and headers; the gateway takes at most 10,240 bytes of headers."""
_COMPRESSED_FROM_BYTES = 8 * 1024
_WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII).fullmatch
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # an address may hold a token
    "Strict-Transport-Security": "max-age=31536000",  # RFC 6797: browsers use HTTPS only, for a year
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer, unless a route sets another value."""

_SINGLE_HEADERS = {"content-type", "idempotency-key"}


@dataclass(slots=True)
class Request:
    """A request, as far as ``openapi.json`` has been applied to it."""

    method: str
    path: str
    headers: dict[str, str]
    """By name in lower case."""
    raw_query: str
    raw_body: bytes
    request_id: str
    operation: str = ""
    """The ``operationId``."""
    parameters: dict[str, str] = field(default_factory=dict)
    """Path parameters."""
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    client: str = ""
    """The OAuth client's id, from the verified token; with a user's own token, the client that asked for that."""
    scopes: frozenset[str] = frozenset()
    """Of the access token."""
    person: "Person | None" = None
    """Whom a user's own token is about."""
    identifiers: list[str] = field(default_factory=list)
    """Ids of the events that the request creates, chosen before the first attempt."""
    idempotency_key: str | None = None
    """The ``Idempotency-Key``, if the operation takes one."""
    attempts: int = 0
    """Attempts so far to run its transaction; above 1 after a lost connection, or while another writer had the user."""
    discloses: dict[str, Any] | None = None
    """Whose data its answer discloses, as fields of its line in the log (``pmp.http.disclosures``)."""


@dataclass(slots=True)
class Response:
    """A response before it is put into the gateway's form."""

    status: int
    document: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    """Sent instead of the document; its type is in ``headers``."""
    compress: bool = False
    user: str | None = None
    """Id of the user whom a kept response is about: their erasure removes it."""
    about: Iterable[str] = ()
    """Ids of the users whom the response is about without naming them."""

    def body(self) -> bytes | None:
        """The bytes to send."""
        if self.content is not None:
            return self.content
        return None if self.document is None else encode(self.document)


def encode(document: Any) -> bytes:
    """Compact JSON in UTF-8; an unpaired surrogate (only ever in an echo of bad input) becomes a question mark."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def weight(content: bytes) -> int:
    """How many bytes these bytes of text have within the response of an invocation: quotes are escaped there."""
    return len(json.dumps(content.decode()))


def fits(content: bytes) -> bool:
    """Whether this text can be the body of an answer (``LARGEST_ANSWER_BYTES``)."""
    most = LARGEST_ANSWER_BYTES - _ENVELOPE_BYTES
    # Escaping makes JSON text at most three times as long: two bytes of UTF-8 become six, a quote two.
    return 3 * len(content) <= most or weight(content) <= most


def _single(name: str, value: str) -> str:
    """The value of a header that may be sent once only: the gateway joins repeated headers with commas."""
    if name not in _SINGLE_HEADERS or "," not in value:
        return value
    first, *others = (part.strip() for part in value.split(","))
    return first if all(other == first for other in others) else value


def receive(event: dict[str, Any], request_id: str) -> Request:
    """Read the gateway's payload.

    Args:
        event: the HTTP API payload.
        request_id: used if the payload has none.

    Raises:
        Problem: 413 for a body that is too large.
    """
    http = event["requestContext"]["http"]
    path = event.get("rawPath") or http.get("path", "/")
    stage = event["requestContext"].get("stage", "$default")
    if stage != "$default":
        path = path.removeprefix(f"/{stage}") or "/"
    request = Request(
        method=http["method"],
        path=path,
        headers={name.lower(): _single(name.lower(), value) for name, value in event.get("headers", {}).items()},
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
        413, "too-large", f"the body has more than {LARGEST_BODY_BYTES} bytes; send less per request, or use an import"
    )


def accepts_gzip(request: Request) -> bool:
    """Whether gzip suits the client, and at least as well as no coding (RFC 9110, section 12.5.3)."""
    weights: dict[str, float] = {}
    for part in request.headers.get("accept-encoding", "").lower().split(","):
        coding, *parameters = (text.strip() for text in part.split(";"))
        weight = _WEIGHT("".join(parameters) or "q=1")
        weights["gzip" if coding == "x-gzip" else coding] = float(weight[1]) if weight else 0
    gzip_weight = weights.get("gzip", weights.get("*", 0))
    return gzip_weight > 0 and gzip_weight >= weights.get("identity", 0)


def send(response: Response, request: Request | None) -> dict[str, Any]:
    """The gateway's form of a response.

    Raises:
        OverflowError: Lambda could not return it. Routes cut their pages before, or store what is long in S3.
    """
    headers = {**_HEADERS, **response.headers}
    content = response.body()
    payload: dict[str, Any] = {"statusCode": response.status, "headers": headers, "isBase64Encoded": False}
    if content is None:
        return payload
    headers.setdefault("Content-Type", "application/json")
    if response.compress:
        headers["Vary"] = "Accept-Encoding"
        if len(content) >= _COMPRESSED_FROM_BYTES and request and accepts_gzip(request):
            content = gzip.compress(content, compresslevel=6, mtime=0)
            headers["Content-Encoding"] = "gzip"
    if request and request.method == "HEAD":
        headers["Content-Length"] = str(len(content))
        return payload
    textual = "Content-Encoding" not in headers and not headers["Content-Type"].startswith("image/")
    if not (fits(content) if textual else len(content) * 4 // 3 < LARGEST_ANSWER_BYTES - _ENVELOPE_BYTES):
        raise OverflowError(f"an answer of {len(content)} bytes is more than Lambda can return")
    payload["body"] = content.decode() if textual else base64.b64encode(content).decode()
    payload["isBase64Encoded"] = not textual
    return payload
