"""Time limits: PostgreSQL ends each statement before the function stops waiting for it."""

import contextlib
import json
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pmp import database
from pmp.handler import handler
from pmp.imports import worker

from checks.gateway import Gateway
from checks.stack import Stack

LONGEST_BORROW_SECONDS = 5
"""The most that modules/database allows for ``borrow_timeout_seconds``."""

BUSY_SECONDS = 3.5


class Context:
    """The part of Lambda's context that tasks use."""

    aws_request_id = "test"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Five minutes."""
        return 300_000


def message(body: object) -> dict[str, Any]:
    record = {
        "receiptHandle": "r",
        "body": json.dumps(body),
        "attributes": {"ApproximateReceiveCount": "1"},
        "eventSource": "aws:sqs",
    }
    return {"Records": [record]}


def uploaded(stack: Stack) -> dict[str, Any]:
    key = f"imports/limits-{uuid.uuid4()}.ndjson"
    line = {"user": {"email": "limits@example.com"}, "consents": [{"id": "email_notifications", "enabled": True}]}
    return message(stack.store.put(key, json.dumps(line | {"occurred_at": "2026-02-01T00:00:00Z"}).encode()))


def export_begun(stack: Stack) -> dict[str, Any]:
    assert Gateway().post("/v1/exports", {}).status == 201
    return message(json.loads(stack.store.invocations.pop()))


KINDS: dict[str, Callable[[Stack], Any]] = {
    "request": lambda _: Gateway().get("/v1/consents"),
    "request that writes": lambda _: Gateway().post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}),
    "import": lambda stack: handler(uploaded(stack), Context()),
    "export": lambda stack: handler(export_begun(stack), Context()),
    "housekeeping": lambda _: handler({"task": "housekeeping"}, Context()),
    "vendors": lambda _: handler({"task": "refresh_vendors"}, Context()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_connection_waits_longer_than_the_server_works(
    kind: str, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[float, int]] = []

    class Recorded(database.Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            ((limit,),) = self.run("SELECT setting::integer FROM pg_settings WHERE name = 'statement_timeout'")
            opened.append((self._usock.gettimeout(), limit))

    monkeypatch.setattr(database, "Connection", Recorded)
    KINDS[kind](stack)
    assert opened
    for socket_seconds, limit_ms in opened:
        # The server's clock starts when the pooler has a connection, the socket's when the statement is sent.
        assert 0 < limit_ms / 1000 < socket_seconds - LONGEST_BORROW_SECONDS


@contextlib.contextmanager
def busy_pool(stack: Stack) -> Iterator[None]:
    """Let no statement through to the server for some seconds (PgBouncer's PAUSE), as when all connections are busy."""
    pid = stack.bouncer.pid
    assert pid is not None
    os.kill(pid, signal.SIGUSR1)
    resume = threading.Timer(BUSY_SECONDS, os.kill, (pid, signal.SIGUSR2))
    resume.start()
    try:
        yield
    finally:
        resume.join()


@pytest.mark.slow
@pytest.mark.parametrize("call", [database.with_connection, worker._retried], ids=["request", "job"])
def test_nothing_of_a_slow_statement_is_left_when_it_is_started_again(
    call: Callable[[Callable[[database.Connection], None]], None], stack: Stack
) -> None:
    left: list[str] = []

    def work(connection: database.Connection) -> None:
        left.append(
            stack.cluster.psql(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE usename = 'pmp_app' AND state = 'active' AND query LIKE '%pg_sleep%'"
            )
        )
        # Without parameters the server sends nothing before it has finished.
        connection.run(f"SELECT pg_sleep({20 if len(left) == 1 else 0})")

    database.connect()
    # The job starts it again, the request does not.
    with busy_pool(stack), contextlib.suppress(database.DatabaseError):
        call(work)
    assert set(left) == {"0"}
