"""A receiver of webhooks on loopback, for tests and benchmarks: keeps what it acknowledged, and can misbehave."""

import argparse
import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass
class Message:
    """A message that was posted."""

    path: str
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes
    at: float
    """Seconds since the epoch."""

    @property
    def events(self) -> list[dict[str, Any]]:
        """Its CloudEvents."""
        events: list[dict[str, Any]] = json.loads(self.body)
        return events


Behaviour = Callable[["Handler", Message], int | None]
"""Returns the status to answer with; None if it has answered, or will not."""


class Receiver(ThreadingHTTPServer):
    """Answers 204 unless it has a behaviour. Another receiver can begin on the same port after ``close``."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, behaviour: Behaviour | None = None, port: int = 0) -> None:
        """Start it."""
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/hooks"
        self.behaviour = behaviour
        self.messages: list[Message] = []
        """What was acknowledged, in the order of arrival."""
        self.refused: list[Message] = []
        self.closed = threading.Event()
        self._connections: set[Any] = set()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The acknowledged CloudEvents, in the order of arrival."""
        return [event for message in self.messages for event in message.events]

    def wait(self, is_met: Callable[["Receiver"], bool], seconds: float = 10) -> None:
        """Wait until a condition holds.

        Raises:
            TimeoutError: it does not.
        """
        end = time.monotonic() + seconds
        while not is_met(self):
            if time.monotonic() > end:
                raise TimeoutError(f"after {seconds} s there are {len(self.messages)} messages")
            time.sleep(0.01)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away."""

    def close(self) -> None:
        """Stop, with all connections, as a killed process does."""
        self.closed.set()
        self.shutdown()
        self.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(2)
            connection.close()


class Handler(BaseHTTPRequestHandler):
    """Reads a message and answers as the receiver wants."""

    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        """Take a message."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        message = Message(self.path, {name.lower(): value for name, value in self.headers.items()}, body, time.time())
        status = self.server.behaviour(self, message) if self.server.behaviour else 204
        if self.server.closed.is_set():
            self.close_connection = True
            return
        if status is None:
            return
        (self.server.messages if status < 300 else self.server.refused).append(message)
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Write nothing."""


def main() -> None:
    """Write each change into a file, a line ``[id, subject, sequence]``, before it is acknowledged."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    with options.file.open("a") as file:
        if file.tell():
            # What a killed receiver has begun to write.
            file.write("\n")

        def keep(handler: Handler, message: Message) -> int:
            lines = [json.dumps([one["id"], one["subject"], one["sequence"]]) + "\n" for one in message.events]
            file.write("".join(lines))
            file.flush()
            return 204

        receiver = Receiver(keep, options.port)
        receiver.closed.wait()


if __name__ == "__main__":
    main()
