"""The HTTP API in front of the function, for tests: requests become payloads (version 2.0), answers become responses.

In the test's own process: ``Gateway().post("/v1/users", {"email": …})``. As a server with worker processes::

    python -m checks.gateway --port 24970 --workers 2

A token is the base64url of its claims, without a signature: the tests of the real gateway cover forged tokens.
"""

import argparse
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from ops.settings import ROOT

ALL_SCOPES = "pmp/check pmp/read pmp/write pmp/admin"


class Context:
    """The part of Lambda's context that the function reads; its time runs out after ``seconds``."""

    def __init__(self, seconds: float = 28.0) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until Lambda would stop the function; never negative."""
        return max(0, int((self._end - time.monotonic()) * 1000))


def token(scope: str = ALL_SCOPES, client: str = "test-client", expires_in: float = 3600) -> str:
    """Return a token of ``client`` with the space-separated scopes ``scope``; it expires in ``expires_in`` seconds."""
    claims = {"client_id": client, "scope": scope, "exp": str(int(time.time() + expires_in)), "token_use": "access"}
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def _claims(authorization: str) -> dict[str, str] | None:
    scheme, _, text = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def payload(method: str, target: str, headers: dict[str, str], body: bytes | None) -> dict[str, Any]:
    """Return the event that API Gateway would send to the function for a request (payload format 2.0).

    Args:
        method: such as ``GET``.
        target: path and query as in the request line.
        headers: in any case; the event has them in lower case.
        body: base64 in the event unless it is JSON or UTF-8; bytes of JSON that are not UTF-8 are replaced by U+FFFD.
    """
    parts = urlsplit(target)
    lowered = {name.lower(): value for name, value in headers.items()}
    context: dict[str, Any] = {
        "accountId": "000000000000",
        "apiId": "test",
        "domainName": lowered.get("host", "localhost"),
        "http": {
            "method": method,
            "path": parts.path,
            "protocol": "HTTP/1.1",
            "sourceIp": "127.0.0.1",
            "userAgent": lowered.get("user-agent", ""),
        },
        "requestId": str(uuid.uuid4()),
        "routeKey": "$default",
        "stage": "$default",
        "timeEpoch": int(time.time() * 1000),
    }
    claims = _claims(lowered.get("authorization", ""))
    if claims is not None:
        context["authorizer"] = {"jwt": {"claims": claims, "scopes": None}}
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": parts.path,
        "rawQueryString": parts.query,
        "headers": lowered,
        "requestContext": context,
        "isBase64Encoded": False,
    }
    if body:
        try:
            event["body"] = body.decode()
        except UnicodeDecodeError:
            if lowered.get("content-type", "").startswith("application/json"):  # always text, however damaged
                event["body"] = body.decode("utf-8", "replace")
            else:
                event["body"], event["isBase64Encoded"] = base64.b64encode(body).decode(), True
    return event


@dataclass
class Answer:
    """The function's answer: its status, its headers and its decoded body."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The body, parsed as JSON."""
        return json.loads(self.content)


def invoke(method: str, target: str, headers: dict[str, str], body: bytes | None) -> Answer:
    """Call the function as the gateway does; the answer passes through JSON as it does in Lambda."""
    from pmp.handler import handler

    event = json.loads(json.dumps(payload(method, target, headers, body)))
    answer = json.loads(json.dumps(handler(event, Context())))
    text = answer.get("body") or ""
    content = base64.b64decode(text) if answer.get("isBase64Encoded") else text.encode()
    return Answer(answer["statusCode"], answer.get("headers", {}), content)


class Gateway:
    """Calls the function in this process with a token of ``client``."""

    def __init__(self, *, scope: str = ALL_SCOPES, client: str = "test-client") -> None:
        self.headers = {"Authorization": f"Bearer {token(scope, client)}"}

    def request(self, method: str, target: str, document: Any = None, **headers: str) -> Answer:
        """Send a request.

        Args:
            method: such as ``GET``.
            target: path and query.
            document: the body: bytes as they are, anything else as JSON; None for no body.
            headers: by name, with underscores for hyphens.
        """
        sent = dict(self.headers)
        body = document if document is None or isinstance(document, bytes) else json.dumps(document).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        return invoke(method, target, sent, body)

    def get(self, target: str, **headers: str) -> Answer:
        """Send a GET request; see ``request``."""
        return self.request("GET", target, **headers)

    def post(self, target: str, document: Any, **headers: str) -> Answer:
        """Send a POST request; see ``request``."""
        return self.request("POST", target, document, **headers)

    def put(self, target: str, document: Any, **headers: str) -> Answer:
        """Send a PUT request; see ``request``."""
        return self.request("PUT", target, document, **headers)

    def patch(self, target: str, document: Any, **headers: str) -> Answer:
        """PATCH with a JSON body."""
        return self.request("PATCH", target, document, **headers)

    def delete(self, target: str, **headers: str) -> Answer:
        """Send a DELETE request; see ``request``."""
        return self.request("DELETE", target, **headers)


# A worker answers one request at a time, as an instance of the function does. Each connection has its own thread:
# a browser opens more connections than it uses, and an idle one must not block the others.
_one_at_a_time = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log nothing: the function has a log."""

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        headers = {name: ",".join(self.headers.get_all(name, [])) for name in self.headers}
        with _one_at_a_time:
            answer = invoke(self.command, self.path, headers, body)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in {204, 304} and "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(len(answer.content)))
        # Otherwise all requests of one client would go to the same worker.
        self.send_header("Connection", "close")
        self.close_connection = True
        self.end_headers()
        if self.command != "HEAD" and answer.status not in {204, 304}:
            self.wfile.write(answer.content)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._pass_on
        raise AttributeError(name)


class _Server(ThreadingHTTPServer):
    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.getsockname(), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener


def serve(port: int, workers: int) -> None:
    """Serve on loopback until terminated, and print the address first.

    Args:
        port: to listen on; 0 for any free one.
        workers: number of processes; each acts as one instance of the function, with its own database connection.
    """
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    children = []
    for _ in range(workers):
        child = os.fork()
        if child == 0:
            sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the function's log
            _Server(listener).serve_forever()
        children.append(child)

    def stop(*_: object) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for child in children:
        os.waitpid(child, 0)


@contextmanager
def served(environment: Mapping[str, str]) -> Iterator[str]:
    """Run ``serve`` with two workers in a process of its own; yield its address.

    Args:
        environment: with which the function reaches its servers, for example a stack's.
    """
    command = [sys.executable, "-m", "checks.gateway", "--workers", "2"]
    variables = {**os.environ, **environment, "PYTHONPATH": "lambda"}
    with subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description="The HTTP API in front of the function, for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    serve(arguments.port, arguments.workers)


if __name__ == "__main__":
    main()
