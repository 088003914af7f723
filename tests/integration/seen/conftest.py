"""A record of its own whose PostgreSQL logs every statement, and the function's log of this process."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pmp import logging

from checks.stack import Stack, forget, missing
from checks.stack import stack as started


class Seen:
    """What one run leaves in the logs.

    Attributes:
        stack: the servers.
        output: the standard output of the function, which Lambda sends to CloudWatch.
    """

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.output = io.StringIO()

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
    seen = Seen(stack)
    # Not sys.stdout itself, which pytest replaces between this and the test.
    monkeypatch.setattr(logging, "sys", SimpleNamespace(stdout=seen.output))
    yield seen
    forget()
