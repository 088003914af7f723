"""A record of its own whose PostgreSQL logs every statement, and the function's log of this process."""

import io
import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pmp import logging

from checks.stack import Stack, forget, missing
from checks.stack import stack as started

_TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


class Seen:
    """What one run leaves in the logs.

    Attributes:
        stack: the servers.
        output: the standard output of the function, which Lambda sends to CloudWatch.
        daemon: X-Ray's daemon of the function's environment, as a socket.
    """

    def __init__(self, stack: Stack, daemon: socket.socket) -> None:
        self.stack = stack
        self.output = io.StringIO()
        self.daemon = daemon

    def lines(self) -> list[dict[str, Any]]:
        """Return the function's lines so far."""
        return [json.loads(line) for line in self.output.getvalue().splitlines()]

    def last(self) -> dict[str, Any]:
        """Return the function's last line."""
        return dict(json.loads(self.output.getvalue()[-200_000:].splitlines()[-1]))

    def texts(self) -> dict[str, str]:
        """Return the content of every log by its name."""
        servers: list[Path] = [
            self.stack.cluster.directory / "postgres.log",
            self.stack.bouncer.directory / "pgbouncer.log",
        ]
        return {"function": self.output.getvalue()} | {path.name: path.read_text(errors="replace") for path in servers}

    def segments(self) -> list[str]:
        """Return what the function's code has sent to X-Ray since the last call."""
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(self.daemon.recv(65536).decode("utf-8", "replace"))
        return found


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    if lacking := missing():
        pytest.skip(lacking)
    with started(settings={"log_min_duration_statement": "0"}) as running:
        yield running


@pytest.fixture
def seen(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    for name, value in stack.environment.items():
        monkeypatch.setitem(os.environ, name, value)
    forget()
    daemon = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    daemon.bind(("127.0.0.1", 0))
    daemon.setblocking(False)
    # What Lambda sets for a function with active tracing.
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime
    monkeypatch.setitem(os.environ, "AWS_XRAY_DAEMON_ADDRESS", f"127.0.0.1:{daemon.getsockname()[1]}")
    monkeypatch.setitem(os.environ, "_X_AMZN_TRACE_ID", _TRACE)
    seen = Seen(stack, daemon)
    # Not sys.stdout itself, which pytest replaces between this and the test.
    monkeypatch.setattr(logging, "sys", SimpleNamespace(stdout=seen.output))
    yield seen
    forget()
    daemon.close()
