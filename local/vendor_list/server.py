"""Serve the generated list over HTTPS as the real host does, or fail as ``POST /control`` requests.

``POST /control`` takes ``{"mode": …, "version"?, "max_age"?, "delay_seconds"?}`` and returns the current settings:

- ``ok``: 200 with ETag, Cache-Control and gzip; 304 for a known ETag.
- ``slow``: the same after ``delay_seconds``. ``trickling``: the same in pieces, with ``delay_seconds`` between them.
- ``swelling``: a small gzip body that unpacks to 64 MiB. ``mislabelled``: a body labelled as gzip that is not.
- ``cut``: gzip that ends in the middle.
- ``down``: 503. ``forbidden``: 403 with an XML body, which the real host sends instead of 404.
- ``odd``: a list in which two vendors are not of the list's shape.
- ``malformed``: JSON cut in the middle. ``regressing``: a list of an older version. ``misshapen``: JSON, not a list.

``GET /control`` returns the settings and counts the requests for the list, the 304 responses and the gzip responses.
"""

import gzip
import hashlib
import json
import ssl
import threading
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from local.vendor_list.generator import generate

PATH = "/v3/vendor-list.json"
MODES = (
    "ok", "slow", "trickling", "down", "malformed", "misshapen", "regressing", "forbidden", "swelling", "mislabelled",
    "cut", "odd",
)  # fmt: skip
_PIECE_BYTES = 4096
_FORBIDDEN = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'


@dataclass
class State:
    """The double's current settings, and its request counts."""

    mode: str = "ok"
    version: int = 100
    max_age: int = 604800
    delay_seconds: float = 30.0
    requests: int = 0
    not_modified: int = 0
    compressed: int = 0


@lru_cache(maxsize=8)
def _list(version: int) -> tuple[bytes, bytes, str]:
    plain = json.dumps(generate(version=version), ensure_ascii=False, separators=(",", ":")).encode()
    return plain, gzip.compress(plain, mtime=0), f'"{hashlib.sha256(plain).hexdigest()[:32]}"'


@lru_cache(maxsize=1)
def _swelling() -> bytes:
    # Kept, because on a busy machine it takes as long as a client waits for an answer.
    return gzip.compress(bytes(64 * 1024 * 1024), mtime=0)


class Server(ThreadingHTTPServer):
    """The test double; ``state`` may also be set from Python."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, certificate: Path | None = None, key: Path | None = None) -> None:
        """Listen on loopback.

        Args:
            port: port number; 0 for any free one.
            certificate: a PEM file; without it the double uses plain HTTP (in unit tests).
            key: PEM file of the certificate's private key.
        """
        super().__init__(("127.0.0.1", port), _Handler)
        self.state = State()
        self.lock = threading.Lock()
        if certificate and key:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            # The handshake must run in the connection's own thread: a silent client must not block the listener.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server
    timeout = 60

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing, because the counters record the requests."""

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 304:
            self._write(body)

    def _write(self, body: bytes) -> None:
        if self.server.state.mode != "trickling":
            self.wfile.write(body)
            return
        try:
            for start in range(0, len(body), _PIECE_BYTES):
                self.wfile.write(body[start : start + _PIECE_BYTES])
                time.sleep(self.server.state.delay_seconds)
        except OSError:
            self.close_connection = True  # the client has given up

    def _problem(self, status: int, detail: str) -> None:
        self._answer(status, json.dumps({"detail": detail}).encode() + b"\n", Content_Type="application/json")

    def do_POST(self) -> None:
        if self.path != "/control":
            self._problem(404, f"nothing at {self.path}: POST /control")
            return
        try:
            wanted = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            if wanted.get("mode", "ok") not in MODES:
                self._problem(422, f"mode {wanted['mode']!r} is not one of {', '.join(MODES)}")
                return
            with self.server.lock:
                for name, kind in (("mode", str), ("version", int), ("max_age", int), ("delay_seconds", float)):
                    if name in wanted:
                        setattr(self.server.state, name, kind(wanted[name]))
        except (ValueError, AttributeError, TypeError) as error:
            self._problem(422, f"the body is not a control document: {error}")
            return
        self.do_GET()

    def do_GET(self) -> None:
        state = self.server.state
        if self.path == "/control":
            self._answer(200, json.dumps(asdict(state)).encode() + b"\n", Content_Type="application/json")
        elif self.path != PATH:
            self._answer(403, _FORBIDDEN, Content_Type="application/xml")
        else:
            with self.server.lock:
                state.requests += 1
            self._list(state)

    def _list(self, state: State) -> None:
        mode = state.mode
        if mode == "down":
            self._answer(503, b"Service Unavailable", Content_Type="text/plain")
            return
        if mode == "forbidden":
            self._answer(403, _FORBIDDEN, Content_Type="application/xml")
            return
        if mode == "slow":
            time.sleep(state.delay_seconds)
        version = max(1, state.version - 10) if mode == "regressing" else state.version
        plain, compressed, etag = _list(version)
        if mode == "malformed":
            plain = plain[: len(plain) // 2]
            compressed, etag = gzip.compress(plain, mtime=0), '"malformed"'
        elif mode == "odd":
            document = json.loads(plain)
            first, second, third = list(document["vendors"].values())[:3]
            first["usesCookies"], second["deletedDate"] = None, "last year"
            third["name"] = "Renamed"
            plain = json.dumps(document).encode()
            compressed, etag = gzip.compress(plain, mtime=0), '"odd"'
        elif mode == "misshapen":
            plain = b'{"vendorListVersion": "many", "vendors": []}'
            compressed, etag = gzip.compress(plain, mtime=0), '"misshapen"'
        elif mode == "swelling":
            compressed, etag = _swelling(), '"swelling"'
        elif mode == "mislabelled":
            compressed, etag = plain, '"mislabelled"'
        elif mode == "cut":
            compressed, etag = compressed[: len(compressed) // 2], '"cut"'
        common = {"ETag": etag, "Cache_Control": f"max-age={state.max_age}", "Vary": "Accept-Encoding"}
        if self.headers.get("If-None-Match") == etag:
            with self.server.lock:
                state.not_modified += 1
            self._answer(304, b"", **common)
        elif "gzip" in self.headers.get("Accept-Encoding", ""):
            with self.server.lock:
                state.compressed += 1
            self._answer(200, compressed, Content_Type="application/json", Content_Encoding="gzip", **common)
        else:
            self._answer(200, plain, Content_Type="application/json", **common)
