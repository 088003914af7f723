"""Concurrent requests: each worker is a process with its own connection, like an instance of the function."""

import itertools
import json
import multiprocessing
import os
import select
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from pmp import database
from pmp.configuration import configuration
from pmp.http import idempotency

from checks.gateway import Gateway, payload, token
from checks.load.fleet import Fleet
from checks.stack import POOL_SIZE, Stack
from local.vendor_list.server import Server
from tests.integration.api.test_contract import EMAIL, SMS, choose, consents

WORKERS = 4


def _call(arguments: tuple[str, str, Any, dict[str, str]]) -> tuple[int, Any]:
    method, path, body, headers = arguments
    answer = Gateway().request(method, path, body, **headers)
    return answer.status, answer.json if answer.content else None


def _refresh(_: int) -> bool:
    from pmp import vendors

    return vendors.refresh(database.connect())


@pytest.fixture(scope="module")
def workers(stack: Stack) -> Any:
    # spawn, because two processes must not share a connection.
    with ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_call, [("GET", "/v1/health", None, {})] * WORKERS * 2))
        yield pool


def test_concurrent_writers_of_one_user_lose_no_events(workers: Any, api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    bodies = [
        {"user": {"id": user}, "consents": [{"id": (EMAIL, SMS)[number % 2], "enabled": bool(number % 3)}]}
        for number in range(40)
    ]
    answers = list(workers.map(_call, [("POST", "/v1/events", body, {}) for body in bodies]))
    assert {status for status, _ in answers} == {201}
    events = api.get(f"/v1/users/{user}/events?limit=100").json["items"]
    assert {event["id"] for event in events} == {event["id"] for _, event in answers}
    folded = {}
    for event in events:
        for choice in event["consents"]:
            folded[choice["id"]] = choice["enabled"]
    assert consents(api, user) == folded


@contextmanager
def under_way(statement: str, **parameters: Any) -> Iterator[database.Connection]:
    """Hold open a transaction as another instance of the function; it is lost unless the caller commits."""
    connection = database.connect()
    connection.run("BEGIN")
    connection.run(statement, **parameters)
    database._connection = None
    try:
        yield connection
    finally:
        connection.close()


BLOCKS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
"""How many sessions wait for this one."""


def after(first: database.Connection, workers: Any, method: str, path: str, body: Any, **headers: str) -> int:
    """Send a request that must wait for ``first``, commit ``first``, and return the request's status."""
    second = workers.submit(_call, (method, path, body, headers))
    while first.run(BLOCKS) == [[0]]:
        assert not second.done(), f"it did not wait: {second.result()}"
        time.sleep(0.01)
    first.run("COMMIT")
    status: int = second.result(timeout=60)[0]
    return status


AHEAD = "SELECT pmp.create_event(:id, :user, :choices, now() + interval '200 seconds', 'ahead')"
YES = f'[{{"id": "{EMAIL}", "enabled": true}}]'


def test_choice_waits_for_an_open_transaction_and_counts_after_it(
    workers: Any, api: Gateway, new_user: Callable[[], str]
) -> None:
    user = new_user()
    with under_way(AHEAD, id=str(uuid.uuid4()), user=user, choices=YES) as first:
        body = {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": False}]}
        assert after(first, workers, "POST", "/v1/events", body) == 201
    assert consents(api, user) == {EMAIL: False}


def test_event_waits_for_an_open_erasure_and_returns_410(
    workers: Any, api: Gateway, new_user: Callable[[], str], stack: Stack
) -> None:
    user = new_user()
    choose(api, user, {EMAIL: True})
    with under_way("SELECT pmp.erase_user(:user, 'eraser', ARRAY[sha256('x')], now())", user=user) as first:
        body = {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": False}]}
        assert after(first, workers, "POST", "/v1/events", body) == 410
    left = (
        "SELECT (SELECT count(*) FROM pmp.event AS e WHERE e.subject_key = s.subject_key), "
        "(SELECT count(*) FROM pmp.current_choice AS c WHERE c.subject_key = s.subject_key) "
        f"FROM pmp.subject AS s WHERE s.id = '{user}'"
    )
    assert stack.cluster.psql(left).strip() == "1|0"


def test_conditional_erasure_waits_for_an_open_event(workers: Any, api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    path = f"/v1/users/{user}"
    tag = api.get(path).headers["ETag"]
    with under_way(AHEAD, id=str(uuid.uuid4()), user=user, choices=YES) as first:
        assert after(first, workers, "DELETE", path, None, If_Match=tag) == 412
    assert consents(api, user) == {EMAIL: True}


@pytest.mark.parametrize("exists", [True, False])
def test_conditional_consent_update_waits_for_an_open_update(workers: Any, api: Gateway, *, exists: bool) -> None:
    consent = f"c{uuid.uuid4().hex[:12]}"
    path, condition = f"/v1/consents/{consent}", {"If_None_Match": "*"}
    if exists:
        condition = {"If_Match": api.put(path, {"description": "one", "channel": "web"}).headers["ETag"]}
    with under_way("SELECT pmp.put_consent(:id, 'theirs', 'web', NULL, 'other')", id=consent) as first:
        assert after(first, workers, "PUT", path, {"description": "ours", "channel": "web"}, **condition) == 412
    assert api.get(path).json["description"] == "theirs"


def test_event_sent_concurrently_is_recorded_once(workers: Any, api: Gateway, new_user: Callable[[], str]) -> None:
    user, identifier = new_user(), str(uuid.uuid4())
    body = {"id": identifier, "user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}]}
    answers = list(workers.map(_call, [("POST", "/v1/events", body, {})] * 16))
    assert sorted(status for status, _ in answers) == [200] * 15 + [201]
    assert len({str(document) for _, document in answers}) == 1
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 1


def test_address_registered_concurrently_creates_one_user(workers: Any, api: Gateway) -> None:
    address = f"{uuid.uuid4().hex}@example.com"
    answers = list(workers.map(_call, [("POST", "/v1/users", {"email": address}, {})] * 12))
    assert sorted(status for status, _ in answers) == [201] + [422] * 11
    assert len(api.get(f"/v1/users?email={address}").json["items"]) == 1


def test_key_sent_concurrently_is_processed_once(workers: Any, api: Gateway, new_user: Callable[[], str]) -> None:
    user, key = new_user(), uuid.uuid4().hex
    body = {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}]}
    answers = list(workers.map(_call, [("POST", "/v1/events", body, {"Idempotency_Key": key})] * 16))
    assert {status for status, _ in answers} <= {201, 409}
    assert len({document["id"] for status, document in answers if status == 201}) == 1
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 1


def test_key_of_an_unfinished_request_returns_409(api: Gateway, new_user: Callable[[], str], stack: Stack) -> None:
    user, key = new_user(), uuid.uuid4().hex
    body = {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}]}
    with under_way("SELECT pmp.idempotency_begin('test-client', :key, '')", key=key):
        answer = api.post("/v1/events", body, Idempotency_Key=key)
        assert (answer.status, answer.json["type"], answer.headers["Retry-After"]) == (
            409,
            "urn:pmp:problem:in-flight",
            "1",
        )
    # The other instance died: the key must be released.
    deadline = time.monotonic() + 20
    while (status := api.post("/v1/events", body, Idempotency_Key=key).status) == 409:
        assert time.monotonic() < deadline, "the server has not released the key of a closed connection"
        time.sleep(0.05)
    assert status == 201


def test_read_sees_an_earlier_write_of_another_process(workers: Any, api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    for number in range(20):
        choose(api, user, {EMAIL: bool(number % 2)})
        _, seen = workers.submit(_call, ("GET", f"/v1/users/{user}", None, {})).result()
        assert seen["consents"] == [{"id": EMAIL, "enabled": bool(number % 2)}]


def test_concurrent_refreshes_fetch_the_vendor_list_once(workers: Any, stack: Stack, third_party: Server) -> None:
    stack.cluster.psql("DELETE FROM pmp.upstream_cache; DELETE FROM pmp.vendor")
    third_party.state.mode, third_party.state.delay_seconds = "slow", 0.5
    before = third_party.state.requests
    assert sorted(workers.map(_refresh, range(WORKERS))) == [False] * (WORKERS - 1) + [True]
    assert third_party.state.requests == before + 1
    third_party.state.mode = "ok"


def test_broken_database_connection_is_replaced(api: Gateway, new_user: Callable[[], str], stack: Stack) -> None:
    user = new_user()
    for request in (
        lambda: choose(api, user, {EMAIL: True}).status == 201,
        lambda: consents(api, user) == {EMAIL: True},
    ):
        assert request()
        stack.bouncer.stop()
        stack.bouncer.start()
        assert request()
        stack.cluster.psql("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE usename = 'pmp_app'")
        time.sleep(0.2)
        assert request()


def test_database_server_without_a_trusted_certificate_is_refused(
    api: Gateway, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    database.tls.cache_clear()
    assert api.get("/v1/users").status == 503
    monkeypatch.undo()
    database.tls.cache_clear()
    monkeypatch.setenv("PMP_DATABASE_HOST", "127.0.0.2")  # not named in its certificate
    configuration.cache_clear()
    assert api.get("/v1/users").status == 503


def test_pooler_keeps_a_statement_and_its_parameters_together(stack: Stack) -> None:
    """More clients than server connections, and no transactions: pg8000's prepared statements fail in this case."""
    script = (
        "from pmp import database\n"
        "connection = database.connect()\n"
        "for number in range(300):\n"
        "    ((answer,),) = connection.run('SELECT :number::integer', number=number)\n"
        "    assert answer == number\n"
        "print('well')\n"
    ).replace(":number::integer", "(:number)::integer")
    environment = os.environ | stack.environment | {"PYTHONPATH": "lambda"}
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(14)
    ]
    outcomes = [client.communicate(timeout=60) for client in clients]
    assert [out for out, _ in outcomes] == ["well\n"] * len(clients), outcomes


def test_transaction_with_an_unconfirmed_commit_is_not_repeated(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network fails after COMMIT was sent: the outcome is unknown, so the request is not repeated."""
    address = f"{uuid.uuid4().hex}@example.com"
    real = database.Connection.execute_simple

    def lose(connection: database.Connection, statement: str) -> Any:
        answer = real(connection, statement)
        if statement == "COMMIT":
            raise database.InterfaceError("network error")
        return answer

    monkeypatch.setattr(database.Connection, "execute_simple", lose)
    assert api.post("/v1/users", {"email": address}).status == 503
    monkeypatch.undo()
    assert len(api.get(f"/v1/users?email={address}").json["items"]) == 1


def lose_an_answer(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Fail the network once, after a write and before its answer; the returned list then holds the statement."""
    real = database.Connection.execute_unnamed
    lost: list[str] = []

    def lose(connection: database.Connection, statement: str, *arguments: Any, **more: Any) -> Any:
        answer = real(connection, statement, *arguments, **more)
        if "pmp.create_" in statement and not lost:
            lost.append(statement)
            raise database.InterfaceError("network error")
        return answer

    monkeypatch.setattr(database.Connection, "execute_unnamed", lose)
    return lost


@pytest.mark.parametrize("path", ["/v1/users", "/v1/events"])
@pytest.mark.parametrize("key", [False, True])
def test_transaction_lost_before_commit_is_repeated_once(
    api: Gateway, new_user: Callable[[], str], monkeypatch: pytest.MonkeyPatch, path: str, *, key: bool
) -> None:
    user, address = new_user(), f"{uuid.uuid4().hex}@example.com"
    body = (
        {"email": address}
        if path == "/v1/users"
        else {
            "user": {"id": user},
            "consents": [{"id": EMAIL, "enabled": True}],
        }
    )
    lost = lose_an_answer(monkeypatch)
    headers = {"Idempotency_Key": uuid.uuid4().hex} if key else {}
    assert api.post(path, body, **headers).status == 201
    assert lost
    monkeypatch.undo()
    found = f"/v1/users?email={address}" if path == "/v1/users" else f"/v1/users/{user}/events"
    assert len(api.get(found).json["items"]) == 1


def test_retry_waits_for_a_key_held_by_the_lost_connection(
    api: Gateway, new_user: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server notices that the connection of the first attempt is closed when the second one has met the key."""
    user = new_user()
    lost, close, begin = lose_an_answer(monkeypatch), database.Connection.close, idempotency._begin
    dead: list[database.Connection] = []
    met: list[Any] = []

    def hold(connection: database.Connection) -> None:
        dead.append(connection)

    def meet(*arguments: Any) -> Any:
        known = begin(*arguments)
        if dead:
            met.append(known)
            close(dead.pop())
        return known

    monkeypatch.setattr(database.Connection, "close", hold)
    monkeypatch.setattr(idempotency, "_begin", meet)
    body = {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}]}
    assert api.post("/v1/events", body, Idempotency_Key=uuid.uuid4().hex).status == 201
    assert lost
    assert met == [{"state": "in_flight"}]
    monkeypatch.undo()
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 1


def test_request_that_fails_validation_sends_no_statement(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    api.get("/v1/ready")
    asked: list[str] = []
    monkeypatch.setattr(database.Connection, "execute_simple", lambda _connection, statement: asked.append(statement))
    assert api.post("/v1/users", {"email": "no address"}).status == 422
    assert asked == []
    monkeypatch.undo()
    assert api.get("/v1/users?limit=1").status == 200


def as_event(method: str, path: str, document: Any = None) -> bytes:
    """The event by which the gateway passes a request on."""
    headers = {"Authorization": f"Bearer {token()}", "Content-Type": "application/json"}
    body = None if document is None else json.dumps(document).encode()
    return json.dumps(payload(method, path, headers, body)).encode()


def test_writers_of_a_locked_user_leave_the_pool_to_others(
    api: Gateway, new_user: Callable[[], str], stack: Stack
) -> None:
    user, other = new_user(), new_user()
    choices = [{"id": EMAIL, "enabled": True}]
    by_id, by_address = {"id": user}, {"email": api.get(f"/v1/users/{user}").json["email"]}
    writes = [
        as_event("POST", "/v1/events", {"user": by_id, "consents": choices}),
        as_event("POST", "/v1/events", {"user": by_address, "consents": choices}),
        as_event("POST", "/v1/events:batch", {"events": [{"user": by_id, "consents": choices}]}),
        as_event("PATCH", f"/v1/users/{user}", {"email": by_address["email"]}),
    ]
    read = as_event("GET", f"/v1/users/{other}")
    write = as_event("POST", "/v1/events", {"user": {"id": other}, "consents": choices})
    with Fleet(stack.environment, POOL_SIZE + 3) as fleet:
        neighbour, *writers = fleet.environments
        fleet.warm(read)
        with under_way("SELECT pmp.prepare_erasure(:user)", user=user) as first:
            for writer, event in zip(writers, itertools.cycle(writes), strict=False):
                writer.send(event, wants_body=True)
            for _ in range(5):
                assert [neighbour.ask(event)[0] for event in (read, write)] == [200, 201]
            answered, _, _ = select.select([writer.channel for writer in writers], [], [], 0)
            assert answered == []
            first.run("COMMIT")
        answers = [writer.receive() for writer in writers]
    assert {answer.status for answer in answers} == {200, 201}, [answer.body for answer in answers]
