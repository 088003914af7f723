"""Parts of the connection that need no server: the log-in token, late imports and the detection of lost connections."""

import contextlib
import json
import re
import subprocess
import sys
import time
from typing import Any

import boto3
import hcl2
import pytest
from pmp import database

from checks.gateway import Gateway
from ops.settings import ROOT


@pytest.mark.parametrize("session_token", [None, "session/token+with=signs"])
@pytest.mark.parametrize("user", ["pmp_app", "odd user+name"])
def test_authentication_token_equals_the_one_of_botocore(
    session_token: str | None, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)
    if session_token:
        monkeypatch.setenv("AWS_SESSION_TOKEN", session_token)
    session = boto3.Session("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", session_token)
    host = "pmp-dev.proxy-abc.eu-west-1.rds.amazonaws.com"
    for _ in range(3):  # the clock may reach the next second between the two calls
        now = time.time()
        theirs = session.client("rds", region_name="eu-west-1").generate_db_auth_token(host, 5432, user)
        ours = database.authentication_token(host, 5432, user, "eu-west-1", now)
        if int(now) == int(time.time()):
            break
    # The order of the query's parameters differs; AWS signs them sorted.
    assert _parts(ours) == _parts(theirs)


def _parts(token: str) -> tuple[str, list[str]]:
    host, _, query = token.partition("?")
    return host, sorted(query.split("&"))


def test_slow_modules_are_imported_late_and_work_once_imported() -> None:
    script = (
        "import sys, pmp.http.router, pmp.http.routes.users, pmp.http.routes.events\n"
        "slow = {'dateutil', 'scramp', 'asn1crypto', 'boto3', 'botocore', 'urllib3', 'email_validator', 'idna',"
        " 'importlib.metadata', 'fastjsonschema', 'asyncio', 'logging'}\n"
        "print(sorted(slow & sys.modules.keys()))\n"
        "import dateutil.parser, scramp, importlib.metadata\n"
        "print(dateutil.parser.parse('2026-01-01').year, scramp.ScramClient.__module__,"
        " importlib.metadata.version('pg8000'))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="lambda")
    first, second = done.stdout.splitlines()
    assert first == "[]"
    assert second.startswith("2026 scramp.core 1.")


def test_instant_beyond_the_range_of_python_is_read() -> None:
    from pg8000.converters import timestamptz_in

    assert timestamptz_in("infinity") == "infinity"
    assert timestamptz_in("2026-01-01 00:00:00+00:00:30") is not None


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (database.InterfaceError("network error"), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (database.DatabaseError({"C": "26000"}), True),
        (database.DatabaseError({"C": "42P05"}), True),
        (database.DatabaseError({"C": "08P01"}), True),
        (database.DatabaseError({"C": "57P01"}), True),
        (database.DatabaseError({"C": "25006"}), True),
        (database.DatabaseError({"C": "28000"}), True),
        (database.DatabaseError({"C": "28P01"}), True),
        (database.DatabaseError({"C": "23505"}), False),
        (database.DatabaseError("text"), False),
        (ValueError(), False),
    ],
)
def test_lost_connection_is_recognized_by_its_error(error: Exception, lost: bool) -> None:
    assert database.is_lost(error) is lost


class Recorder(database.Connection):
    """A connection without a server that records its statements."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.error: Exception | None = None

    def run(self, sql: str, **_: object) -> None:
        self.statements.append(sql)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.statements.append("closed")


def test_nested_transaction_joins_the_outer_one() -> None:
    connection, done = Recorder(), list[str]()
    with connection.transaction():
        with connection.transaction():
            connection.run("SELECT 1")
            connection.after_commit(lambda: done.append("after"))
        assert done == []
    assert connection.statements == ["BEGIN", "SELECT 1", "COMMIT"]
    assert done == ["after"]


def test_rollback_drops_the_after_commit_callbacks() -> None:
    connection, done = Recorder(), list[str]()
    with contextlib.suppress(ZeroDivisionError), connection.transaction():
        connection.after_commit(lambda: done.append("never"))
        raise ZeroDivisionError
    assert connection.statements == ["BEGIN", "ROLLBACK"]
    connection.after_commit(lambda: done.append("at once"))
    assert done == ["at once"]


def test_transactions_of_two_connections_are_independent() -> None:
    one, other = Recorder(), Recorder()
    done: list[str] = []
    with one.transaction():
        other.after_commit(lambda: done.append("other"))
        assert done == ["other"]
        with other.transaction():
            other.run("SELECT 1")
    assert other.statements == ["BEGIN", "SELECT 1", "COMMIT"]


@pytest.mark.parametrize("error", [database.InterfaceError("network error"), KeyboardInterrupt()])
def test_lost_or_interrupted_transaction_abandons_its_connection(error: BaseException) -> None:
    connection = Recorder()
    with pytest.raises(type(error)), connection.transaction():
        raise error
    connection.abandon()
    assert connection.is_abandoned
    assert connection.statements == ["BEGIN", "closed"]


def test_lost_connection_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Recorder(), Recorder()
    first.used_at = second.used_at = time.time()
    monkeypatch.setattr(database, "_connection", first)
    monkeypatch.setattr(database, "Connection", lambda *_, **__: second)
    assert database.connect() is first
    first.error = database.InterfaceError("network error")
    assert database.verified() is second
    assert first.is_abandoned


def test_only_work_lost_before_its_commit_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "connect", Recorder)
    for error, calls in ((database.InterfaceError(), 2), (database.LostCommitError(), 1), (ValueError(), 1)):
        seen: list[database.Connection] = []

        def work(connection: database.Connection, error: Exception = error, seen: list[Any] = seen) -> None:
            seen.append(connection)
            raise error

        with pytest.raises(type(error)):
            database.with_connection(work)
        assert len(set(map(id, seen))) == calls


@pytest.mark.parametrize("code", ["25006", "28000", "28P01"])
@pytest.mark.parametrize("body", [None, {"email": "ada@example.com"}])
def test_refused_write_or_log_in_returns_503_and_drops_the_connection(
    monkeypatch: pytest.MonkeyPatch, code: str, body: Any
) -> None:
    connections: list[database.Connection] = []

    class ReadOnly(database.Connection):
        def __init__(self) -> None:
            connections.append(self)

        def run(self, *_: object, **__: object) -> None:
            raise database.DatabaseError({"C": code})

        def close(self) -> None:
            pass

    monkeypatch.setattr(database, "Connection", lambda *_, **__: ReadOnly())
    monkeypatch.setattr(database, "_connection", None)
    answer = Gateway().request("POST" if body else "GET", "/v1/users", body)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert [connection.is_abandoned for connection in connections] == [True, True]
    database.disconnect()


def test_connection_that_the_proxy_is_about_to_close_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fake(database.Connection):
        def __init__(self, *_: object, **__: object) -> None:
            """Connect to nothing."""

        def close(self) -> None:
            """Do nothing."""

    now = [1_800_000_000.0]
    monkeypatch.setattr(database, "Connection", Fake)
    monkeypatch.setattr(time, "time", lambda: now[0])
    database.disconnect()
    first = database.connect()
    now[0] += database.IDLE_SECONDS
    assert database.connect() is first
    with contextlib.suppress(AttributeError):  # there is no server
        first.execute_simple("SELECT 1")
    now[0] += database.IDLE_SECONDS
    assert database.connect() is first
    now[0] += 0.1
    second = database.connect()
    assert second is not first
    assert first.is_abandoned
    database.disconnect()


def test_proxy_keeps_idle_connections_longer_than_the_function() -> None:
    variables = hcl2.loads((ROOT / "modules" / "database" / "variables.tf").read_text())["variable"]
    [proxy] = [variable['"proxy"'] for variable in variables if '"proxy"' in variable]
    text = json.dumps(proxy)
    [least] = map(int, re.findall(r"idle_client_timeout_seconds >= (\d+)", text))
    assert least > database.IDLE_SECONDS
