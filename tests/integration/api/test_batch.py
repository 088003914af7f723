"""Events by address, and batches of events: each is recorded or refused alone, once, and in one statement."""

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from pmp import database

from checks.gateway import Gateway
from checks.stack import Stack
from tests.integration.api.test_concurrency import _call, after, under_way, workers
from tests.integration.api.test_contract import EMAIL, SMS, at, choose, consents
from tests.integration.api.test_stateful import DIFFERENCE

__all__ = ["workers"]

BATCH = "/v1/events:batch"


def new_address() -> str:
    return f"{uuid.uuid4().hex}@example.com"


def event(user: str, *, enabled: bool = True, consent: str = EMAIL, **more: Any) -> dict[str, Any]:
    """Return an event of a user by address or by id."""
    reference = {"email" if "@" in user else "id": user}
    return {"user": reference, "consents": [{"id": consent, "enabled": enabled}], **more}


def send(api: Gateway, *events: Any, **headers: str) -> list[dict[str, Any]]:
    answer = api.post(BATCH, {"events": list(events)}, **headers)
    assert answer.status == 200, answer.content
    results: list[dict[str, Any]] = answer.json["results"]
    assert len(results) == len(events)
    return results


def people(api: Gateway, address: str) -> list[Any]:
    items: list[Any] = api.get(f"/v1/users?email={address}").json["items"]
    return items


# -- one event by address ----------------------------------------------------------------------------------------------


def test_event_by_address_is_the_users(api: Gateway) -> None:
    address = new_address()
    user = api.post("/v1/users", {"email": address}).json["id"]
    answer = api.post("/v1/events", event(address.upper()))
    assert (answer.status, answer.json["user"]) == (201, {"id": user})
    assert consents(api, user) == {EMAIL: True}


def test_event_by_unknown_address_returns_422_or_makes_the_user(api: Gateway) -> None:
    address = new_address()
    refused = api.post("/v1/events", event(address))
    assert refused.status == 422
    assert refused.json["errors"] == [
        {"pointer": "/user/email", "detail": "no user has this address; send `upsert: true` to create the user"}
    ]
    assert people(api, address) == []
    answer = api.post("/v1/events", event(address, upsert=True))
    assert answer.status == 201
    assert people(api, address) == [
        {**answer.json["user"], "email": address, "consents": [{"id": EMAIL, "enabled": True}]}
    ]
    again = api.post("/v1/events", event(address, enabled=False, upsert=True))
    assert again.json["user"] == answer.json["user"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"consents": [{"id": "no_such", "enabled": True}]}, "/consents/0/id"),
        ({"consents": [{"id": EMAIL, "enabled": True, "version": 9}]}, "/consents/0/version"),
        ({"occurred_at": "2999-01-01T00:00:00Z"}, "/occurred_at"),
        ({"user": {"email": "nobody@example.test"}}, "/user/email"),
        ({"user": {"id": str(uuid.uuid4())}}, "/upsert"),
        ({"user": {}}, "/user"),
    ],
)
def test_refused_event_makes_no_user(api: Gateway, stack: Stack, change: dict[str, Any], pointer: str) -> None:
    address, count = new_address(), "SELECT count(*) FROM pmp.subject"
    before = stack.cluster.psql(count)
    for answer in (
        api.post("/v1/events", event(address, upsert=True) | change),
        api.post(BATCH, {"events": [event(address, upsert=True) | change]}),
    ):
        problem = answer.json["results"][0]["problem"] if "results" in answer.json else answer.json
        assert (problem["status"], problem["errors"][0]["pointer"][-len(pointer) :]) == (422, pointer)
        assert "nobody" not in answer.content.decode()
    assert stack.cluster.psql(count) == before


def test_known_event_id_with_a_new_address_makes_no_user(api: Gateway, new_user: Callable[[], str]) -> None:
    address, other = new_address(), new_user()
    known = choose(api, other, {EMAIL: True}).json["id"]
    assert api.post("/v1/events", event(address, upsert=True, id=known)).status == 409
    assert people(api, address) == []


def test_parallel_events_of_a_new_address_make_one_user(workers: Any, api: Gateway, stack: Stack) -> None:
    address = new_address()
    calls: list[tuple[str, str, Any, dict[str, str]]] = [
        ("POST", "/v1/events", event(address, enabled=bool(number % 2), upsert=True), {}) for number in range(12)
    ]
    answers = list(workers.map(_call, calls))
    assert [status for status, _ in answers] == [201] * 12
    (person,) = people(api, address)
    assert len(api.get(f"/v1/users/{person['id']}/events").json["items"]) == 12
    assert stack.cluster.psql(DIFFERENCE) == "0"


def test_choice_before_an_erasure_does_not_bring_the_user_back(api: Gateway) -> None:
    address, told = new_address(), at(-1)
    body = event(address, upsert=True, occurred_at=told, id=str(uuid.uuid4()))
    user = api.post("/v1/events", body).json["user"]["id"]
    assert api.delete(f"/v1/users/{user}").status == 200
    assert api.post("/v1/events", body).status == 410, "the same event again"
    late = event(address, upsert=True, occurred_at=told)
    refused = api.post("/v1/events", late)
    assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/occurred_at")
    assert people(api, address) == []
    # A later choice makes a new user, and then the older one is still refused.
    new = api.post("/v1/events", event(address, upsert=True))
    assert new.status == 201
    assert new.json["user"]["id"] != user
    assert api.post("/v1/events", late).status == 422
    assert api.post("/v1/events", event(address, upsert=True, occurred_at=at(0))).status == 201


def test_event_of_a_new_user_waits_for_the_erasure_of_the_address(workers: Any, api: Gateway) -> None:
    from pmp import erasures

    address = new_address()
    user = api.post("/v1/users", {"email": address}).json["id"]
    told = at(-1)
    erase = "SELECT pmp.erase_user(:user, 'eraser', ARRAY[CAST(:mark AS bytea)], clock_timestamp())"
    with under_way(erase, user=user, mark=erasures.address_hash(address)) as first:
        assert after(first, workers, "POST", "/v1/events", event(address, upsert=True, occurred_at=told)) == 422
    assert people(api, address) == []


# -- batches -----------------------------------------------------------------------------------------------------------


def test_each_event_of_a_batch_has_its_own_result(api: Gateway, new_user: Callable[[], str]) -> None:
    user, address, erased = new_user(), new_address(), new_user()
    api.delete(f"/v1/users/{erased}")
    known = choose(api, user, {SMS: False}).json["id"]
    results = send(
        api,
        event(address, upsert=True),
        "no event",
        {"user": {"id": "x"}, "consents": [], "more": 1},
        event(user, consent="no_such"),
        event(user, consent=SMS, enabled=False, id=known),
        event(user, consent=SMS, enabled=True, id=known),
        event(erased),
        event(new_address()),
        event(user, enabled=False, occurred_at=at(-60)),
        event(user),
        {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}, {"id": EMAIL, "enabled": False}]},
    )
    assert [result["status"] for result in results] == [201, 422, 422, 422, 200, 409, 410, 422, 201, 201, 422]
    assert [error["pointer"] for error in results[2]["problem"]["errors"]] == [
        "/events/2/user/id", "/events/2/consents", "/events/2/more",
    ]  # fmt: skip
    assert results[1]["problem"]["errors"] == [{"pointer": "/events/1", "detail": "must be an object"}]
    assert results[3]["problem"]["errors"][0]["pointer"] == "/events/3/consents/0/id"
    assert results[7]["problem"]["errors"][0]["pointer"] == "/events/7/user/email"
    assert results[10]["problem"]["errors"][0]["pointer"] == "/events/10/consents/1/id"
    assert results[4]["id"] == known
    assert results[9]["user"] == {"id": user}
    assert [result for result in results if "problem" in result and "id" in result] == []
    assert consents(api, user) == {EMAIL: True, SMS: False}
    assert people(api, address)[0]["id"] == results[0]["user"]["id"]
    recorded = {event["id"]: event for event in api.get(f"/v1/users/{user}/events").json["items"]}
    assert [recorded[results[place]["id"]]["received_at"] for place in (8, 9)] == [
        results[place]["received_at"] for place in (8, 9)
    ]


def test_overridden_choices_of_a_batch_are_told(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    first, late = send(api, event(user), event(user, enabled=False, occurred_at=at(-60)))
    assert "overridden" not in first
    assert late["overridden"] == [
        {"id": EMAIL, "enabled": True, "since": first["received_at"], "reason": "later_choice"}
    ]


def test_events_of_one_user_count_in_the_order_of_the_batch(api: Gateway) -> None:
    address = new_address()
    results = send(api, *[event(address, enabled=number % 2 == 0, upsert=True) for number in range(9)])
    assert len({result["user"]["id"] for result in results}) == 1
    received = [result["received_at"] for result in results]
    assert received == sorted(set(received))
    assert consents(api, results[0]["user"]["id"]) == {EMAIL: True}


@pytest.mark.parametrize("count", [0, 101])
def test_batch_outside_its_bounds_returns_422(api: Gateway, new_user: Callable[[], str], count: int) -> None:
    answer = api.post(BATCH, {"events": [event(new_user())] * count})
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, "/events")


def test_repeated_batch_records_each_event_once(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    events = [event(user, enabled=bool(number % 2), id=str(uuid.uuid4())) for number in range(5)]
    first = send(api, *events)
    again = send(api, *events, event(user))
    assert [result["status"] for result in again] == [200] * 5 + [201]
    assert [{**result, "status": 201} for result in again[4:5]] == first[4:5]
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 6


def test_lost_answer_of_a_batch_is_repeated_with_the_same_ids(
    api: Gateway, new_user: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    user, run = new_user(), database.Connection.run
    lost: list[str] = []

    def lose_once(connection: database.Connection, sql: str, **values: Any) -> Any:
        answer = run(connection, sql, **values)
        if "create_events" in sql and not lost:
            lost.append(sql)
            raise ConnectionResetError("lost")
        return answer

    monkeypatch.setattr(database.Connection, "run", lose_once)
    results = send(api, event(user), event(user, enabled=False))
    assert lost
    assert [result["status"] for result in results] == [201, 201]
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 2


def test_erasure_leaves_no_personal_data_in_the_kept_answer(api: Gateway, stack: Stack) -> None:
    address, key = new_address(), uuid.uuid4().hex
    bad = f"{uuid.uuid4().hex} x@example.com"
    results = send(api, event(address, upsert=True), event(bad, upsert=True), event(address), Idempotency_Key=key)
    assert [result["status"] for result in results] == [201, 422, 201]
    api.delete(f"/v1/users/{results[0]['user']['id']}")
    kept = stack.cluster.psql(f"SELECT body FROM pmp.idempotency_key WHERE key = '{key}'")
    assert json.loads(kept)["results"] == results
    assert "@" not in kept
    assert bad[:32] not in kept


def test_batch_takes_one_statement(api: Gateway, new_user: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    users, statements, run = [new_user() for _ in range(3)], [], database.Connection.run

    def count(connection: database.Connection, sql: str, **values: Any) -> Any:
        statements.append(sql)
        return run(connection, sql, **values)

    monkeypatch.setattr(database.Connection, "run", count)
    send(api, *[event(users[number % 3]) for number in range(100)])
    assert len(statements) == 1
    send(api, event(users[0], consent="no_such"), "nothing")
    assert len(statements) == 2


def test_batches_in_opposite_orders_do_not_wait_for_each_other(
    workers: Any, new_user: Callable[[], str], stack: Stack
) -> None:
    """Both the users that exist and those that the batches make."""
    users = [new_user() for _ in range(20)] + [new_address() for _ in range(20)]
    events = [event(user, upsert=True) if "@" in user else event(user) for user in users]
    calls: list[tuple[str, str, Any, dict[str, str]]] = [
        ("POST", BATCH, {"events": events[:: 1 if number % 2 else -1]}, {}) for number in range(24)
    ]
    log = stack.cluster.directory / "postgres.log"
    before, started = len(log.read_text()), time.monotonic()
    answers = list(workers.map(_call, calls))
    assert [status for status, _ in answers] == [200] * 24
    assert time.monotonic() - started < 20
    assert "deadlock detected" not in log.read_text()[before:]
    assert stack.cluster.psql(DIFFERENCE) == "0"


def test_batch_without_the_scope_returns_403(new_user: Callable[[], str]) -> None:
    assert Gateway(scope="pmp/read pmp/check").post(BATCH, {"events": [event(new_user())]}).status == 403
