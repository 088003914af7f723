"""The HTTP API in front of the function, for tests: HTTP becomes its payload (version 2.0), answers become HTTP.

In a test's own process: ``Gateway().post("/v1/users", {"email": …})``. As a server with worker processes of its own::

    python -m checks.gateway --port 24970 --workers 2

A token is the base64url of its claims. Nothing is signed here: forged tokens are a matter of the real gateway's tests.
"""

import argparse
import base64
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

ALL_SCOPES = "pmp/read pmp/write pmp/admin"


class Context:
    """Lambda's context, as far as the function looks at it."""

    def __init__(self, seconds: float = 28.0) -> None:
        self.aws_request_id = str(uuid.uuid4())
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> int:
        return max(0, int((self._end - time.monotonic()) * 1000))


def token(scope: str = ALL_SCOPES, client: str = "test-client", expires_in: float = 3600) -> str:
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
    """The HTTP API's event of a request."""
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
            event["body"], event["isBase64Encoded"] = base64.b64encode(body).decode(), True
    return event


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
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
    """A client of the function in this process."""

    def __init__(self, *, scope: str = ALL_SCOPES, client: str = "test-client") -> None:
        self.headers = {"Authorization": f"Bearer {token(scope, client)}"}

    def request(self, method: str, target: str, document: Any = None, **headers: str) -> Answer:
        sent = dict(self.headers)
        body = document if document is None or isinstance(document, bytes) else json.dumps(document).encode()
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent.update({name.replace("_", "-"): value for name, value in headers.items()})
        return invoke(method, target, sent, body)

    def get(self, target: str, **headers: str) -> Answer:
        return self.request("GET", target, **headers)

    def post(self, target: str, document: Any, **headers: str) -> Answer:
        return self.request("POST", target, document, **headers)

    def put(self, target: str, document: Any, **headers: str) -> Answer:
        return self.request("PUT", target, document, **headers)

    def delete(self, target: str, **headers: str) -> Answer:
        return self.request("DELETE", target, **headers)


# A worker answers one request at a time, as an instance of the function does. Connections have threads of their own:
# a browser opens more than it sends requests over, and an idle one must not hold up the others.
_one_at_a_time = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: the function logs."""

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else None
        headers = {name: ",".join(self.headers.get_all(name, [])) for name in self.headers}
        with _one_at_a_time:
            answer = invoke(self.command, self.path, headers, body)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status not in {204, 304}:
            self.send_header("Content-Length", str(len(answer.content)))
        # So that one client's requests go to all the workers.
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
    """Answer on loopback until terminated; each worker is an instance of the function, with its own connection."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description="The HTTP API in front of the function, for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    serve(arguments.port, arguments.workers)


if __name__ == "__main__":
    main()
