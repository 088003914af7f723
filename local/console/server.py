"""The console's server, on loopback: it keeps the API's token, and asks only what reads.

Any web page that the same person opens can send requests to loopback, and so can every account of the machine. So each
request needs a key that only the printed address has, in a header that another site cannot send, and a Host header that
names loopback (DNS rebinding). The key is in the fragment of the address, which no browser sends.
"""

import gzip
import json
import re
import secrets
import statistics
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from ops import http
from ops.api import Api
from ops.errors import UserError
from ops.settings import ROOT

SCOPES = "pmp/read"
KEY_HEADER = "X-Console-Key"
MOST_REJECTS = 50

_STATIC = Path(__file__).with_name("static")
_SHARED = ROOT / "lambda/pmp/http/preferences"
_FILES = {
    "/": (_STATIC / "index.html", "text/html; charset=utf-8"),
    "/console.js": (_STATIC / "console.js", "text/javascript; charset=utf-8"),
    "/console.css": (_STATIC / "console.css", "text/css; charset=utf-8"),
    "/page.css": (_SHARED / "page.css", "text/css; charset=utf-8"),
    "/icon.svg": (_SHARED / "icon.svg", "image/svg+xml"),
}
_READABLE = re.compile(r"/v1/(ready|consents|imports|users/[0-9a-f-]{36}(/events)?)")
_REJECTS = re.compile(r"/v1/imports/[0-9a-f-]{36}/rejects")
_MOST_BODY_BYTES = 100_000
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass
class Source:
    """Where the console's answers come from.

    Attributes:
        connect: a client of the API with a new token for ``SCOPES``.
        logged: today's lines of the function's log, as JSON documents.
        authority: PEM file of the certificate authority that files of rejected lines are served under.
    """

    connect: Callable[[], Api]
    logged: Callable[[], Iterable[dict[str, Any]]]
    authority: Path | None = None
    _api: Api | None = field(default=None, init=False)

    def ask(self, method: str, path: str, document: object = None) -> http.Answer:
        """Ask the API, once more with a new token if it refuses the old one, which lives for an hour.

        Raises:
            UserError: the API or the token's issuer cannot be reached.
        """
        self._api = self._api or self.connect()
        answer = self._api.ask(method, path, document)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            self._api = self.connect()
            answer = self._api.ask(method, path, document)
        return answer

    def rejects(self, path: str) -> tuple[int, Any]:
        """Return the status, and the first lines that an import rejected, as they were.

        Raises:
            UserError: the API or the file cannot be reached.
        """
        answer = self.ask("GET", path)
        if answer.status != HTTPStatus.FOUND:
            return answer.status, answer.json()
        content = http.request("GET", answer.headers["location"], authority=self.authority).body
        text = (gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content).decode(errors="replace")
        return HTTPStatus.OK, {"lines": text.splitlines()[:MOST_REJECTS]}


def figures(lines: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return what the function did, from the lines of its log.

    Returns:
        ``requests``, ``refused`` (4xx), ``failed`` (5xx), ``median_ms`` (None without a request), and ``operations``:
        the number of requests by operation, the most frequent first.
    """
    requests = [line for line in lines if line.get("message") == "request"]
    statuses = [int(line["status"]) for line in requests]
    operations = Counter(str(line.get("operation") or "unknown path") for line in requests)
    return {
        "requests": len(requests),
        "refused": sum(400 <= status < 500 for status in statuses),
        "failed": sum(status >= 500 for status in statuses),
        "median_ms": round(statistics.median(line["milliseconds"] for line in requests), 1) if requests else None,
        "operations": dict(operations.most_common()),
    }


class _Handler(BaseHTTPRequestHandler):
    server: "Server"
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class's name
        """Log nothing: a path may have the id of a user."""

    def do_GET(self) -> None:
        """Answer with a file of the page, or with what the API answers."""
        self._answer(None)

    def do_POST(self) -> None:
        """Answer the two questions that are not GET: ``/find`` {"email"} and ``/check``, as POST /v1/check."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > _MOST_BODY_BYTES:
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"detail": "the request has no length, or is too large"})
            self.close_connection = True
            return
        self._answer(self.rfile.read(int(length)))

    def _answer(self, body: bytes | None) -> None:
        port = self.server.server_port
        if self.headers.get("Host") not in {f"127.0.0.1:{port}", f"localhost:{port}"}:
            self._send(HTTPStatus.MISDIRECTED_REQUEST, {"detail": "this server only answers to loopback's names"})
            return
        path = urlsplit(self.path).path
        if body is None and path in _FILES:
            file, media_type = _FILES[path]
            self._send_bytes(HTTPStatus.OK, file.read_bytes(), media_type)
            return
        if not secrets.compare_digest(self.headers.get(KEY_HEADER, "").encode(), self.server.key.encode()):
            self._send(HTTPStatus.FORBIDDEN, {"detail": "open the address that 'make console' printed"})
            return
        try:
            self._send(*self._ask(path, body))
        except UserError as error:
            self._send(HTTPStatus.BAD_GATEWAY, {"detail": str(error)})
        except (ValueError, KeyError, TypeError):
            self._send(HTTPStatus.BAD_REQUEST, {"detail": "the request is not JSON of the expected form"})

    def _ask(self, path: str, body: bytes | None) -> tuple[int, Any]:
        source = self.server.source
        if body is not None and path == "/find":
            query = urlencode({"email": str(json.loads(body)["email"])})
            answer = source.ask("GET", f"/v1/users?{query}")
        elif body is not None and path == "/check":
            answer = source.ask("POST", "/v1/check", json.loads(body))
        elif body is None and path == "/today":
            return HTTPStatus.OK, figures(source.logged())
        elif body is None and _REJECTS.fullmatch(path):
            return source.rejects(path)
        elif body is None and _READABLE.fullmatch(path):
            answer = source.ask("GET", self.path)
        else:
            return HTTPStatus.NOT_FOUND, {"detail": f"the console does not ask {path[:100]}"}
        return answer.status, answer.json()

    def _send(self, status: int, document: Any) -> None:
        self._send_bytes(status, json.dumps(document).encode(), "application/json")

    def _send_bytes(self, status: int, content: bytes, media_type: str) -> None:
        self.send_response(status)
        for name, value in {**_HEADERS, "Content-Type": media_type, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


class Server(ThreadingHTTPServer):
    """The console on 127.0.0.1.

    Attributes:
        key: what each request has to name.
    """

    daemon_threads = True

    def __init__(self, source: Source, port: int) -> None:
        """Listen on ``port``; 0 takes a free one."""
        super().__init__(("127.0.0.1", port), _Handler)
        self.source, self.key = source, secrets.token_urlsafe(24)

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://127.0.0.1:{self.server_port}/#key={self.key}"
