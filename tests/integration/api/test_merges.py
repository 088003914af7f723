"""Users who are one person are merged: nothing is lost, all names lead to one user, and an erasure covers both."""

import json
import uuid
from typing import Any

import pytest

from checks.gateway import Gateway
from checks.stack import Stack
from ops.replay import script
from tests.integration.api.test_concurrency import _call, after, under_way, workers
from tests.integration.api.test_contract import EMAIL, SMS, choose, consents
from tests.integration.api.test_erasure import journal, new_address
from tests.integration.api.test_identifiers import created, crm, errors, event, new_phone
from tests.integration.api.test_me import Mine
from tests.integration.api.test_replay import entries
from tests.integration.api.test_stateful import DIFFERENCE

__all__ = ["workers"]


def merged(api: Gateway, user: str, other: str) -> dict[str, Any]:
    answer = api.post(f"/v1/users/{user}/merge", {"from": other})
    assert answer.status == 200, answer.content
    document: dict[str, Any] = answer.json
    return document


def reasons(api: Gateway, *users: dict[str, Any]) -> list[str]:
    checks = [{"user": user, "consent": EMAIL} for user in users]
    return [one["reason"] for one in api.post("/v1/check", {"checks": checks}).json["results"]]


def test_remaining_user_has_the_events_and_names_of_both(api: Gateway, stack: Stack) -> None:
    one, two = created(api, phone=new_phone()), created(api, phone=new_phone(), external_ids={"crm": uuid.uuid4().hex})
    events = [
        choose(api, user["id"], {name: enabled}).json["id"]
        for user, name, enabled in ((one, EMAIL, True), (two, EMAIL, False), (two, SMS, True))
    ]
    document = merged(api, one["id"], two["id"])
    assert document == {
        **one,
        "external_ids": two["external_ids"],
        "merged": [{"id": two["id"], "email": two["email"], "phone": two["phone"]}],
        "consents": [{"id": EMAIL, "enabled": False}, {"id": SMS, "enabled": True}],
    }
    names: list[dict[str, Any]] = [
        {"id": one["id"]}, {"id": two["id"]}, {"email": one["email"]}, {"email": two["email"]},
        {"phone": one["phone"]}, {"phone": two["phone"]}, crm(two["external_ids"]["crm"]),
    ]  # fmt: skip
    for name in names[2:]:
        assert api.post("/v1/users/lookup", name).json["user"] == document
    for user in (one, two):
        assert api.get(f"/v1/users/{user['id']}").json == document
        assert api.get(f"/v1/users?email={user['email']}").json["items"] == [document]
        listed = api.get(f"/v1/users/{user['id']}/events?limit=2").json
        rest = api.get(f"/v1/users/{user['id']}/events?limit=2&cursor={listed['next']}").json["items"]
        assert [found["id"] for found in listed["items"] + rest] == events
        assert {found["user"]["id"] for found in listed["items"] + rest} == {one["id"]}
        grounds = api.get(f"/v1/users/{user['id']}/consents").json
        assert [choice["event"] for choice in grounds["items"]] == events[1:]
        told = api.get(f"/v1/users/{user['id']}/deliveries").json["items"]
        assert [delivery["event"] for delivery in told] == events
        export = api.get(f"/v1/users/{user['id']}/export").json
        assert export["user"] == document
        assert [found["id"] for found in export["events"]] == events
        assert len(export["wordings"]) >= 2
        assert api.post("/v1/users", {"email": user["email"]}).status == 422
    assert reasons(api, *names) == ["denied"] * len(names)
    assert api.get(f"/v1/events/{events[1]}").json["user"] == {"id": one["id"]}
    page = stack.cluster.psql(
        "SELECT lines FROM pmp.export_page((SELECT min(subject_key) - 1 FROM pmp.subject WHERE id IN"
        f" ('{one['id']}', '{two['id']}')), 2, NULL, NULL, now(), now())"
    )
    assert [json.loads(line) for line in page.splitlines()] == [document]
    assert stack.cluster.psql(DIFFERENCE).strip() == "0"


def test_requests_to_the_former_names_change_the_remaining_user(api: Gateway) -> None:
    one, two = created(api), created(api, phone=new_phone())
    sent = event({"id": two["id"]}, id=str(uuid.uuid4()), occurred_at="2026-01-01T00:00:00Z")
    assert api.post("/v1/events", sent).status == 201
    assert merged(api, one["id"], two["id"]) == merged(api, one["id"], two["id"]) == merged(api, two["id"], one["id"])
    # A late withdrawal to the former id counts, and a repetition is known.
    assert api.post("/v1/events", sent).status == 200
    assert api.post("/v1/events", {**sent, "user": {"id": one["id"]}}).status == 200
    assert api.post("/v1/events", {**sent, "user": {"email": two["email"]}}).status == 200
    for name in ({"id": two["id"]}, {"email": two["email"]}, {"phone": two["phone"]}):
        answer = api.post("/v1/events", event(name, enabled=False))
        assert (answer.status, answer.json["user"]) == (201, {"id": one["id"]})
        assert consents(api, one["id"]) == {EMAIL: False}
        (result,) = api.post("/v1/events:batch", {"events": [event(name, upsert="email" in name)]}).json["results"]
        assert (result["status"], result["user"]) == (201, {"id": one["id"]})
        assert consents(api, two["id"]) == {EMAIL: True}
    late = api.post("/v1/events", event({"id": two["id"]}, enabled=False, occurred_at="2025-01-01T00:00:00Z"))
    assert [lost["id"] for lost in late.json["overridden"]] == [EMAIL]
    phone = new_phone()
    assert api.patch(f"/v1/users/{two['id']}", {"phone": phone}).json["id"] == one["id"]
    # What the merged user had may come forward, and is not taken.
    answer = api.patch(f"/v1/users/{one['id']}", {"email": two["email"], "phone": two["phone"]})
    assert (answer.status, answer.json["email"], answer.json["phone"]) == (200, two["email"], two["phone"])
    assert answer.json["merged"] == [{"id": two["id"]}]
    assert created(api, phone=phone)


def test_state_of_a_past_instant_is_that_of_both_histories(api: Gateway) -> None:
    one, two = created(api)["id"], created(api)["id"]
    for user, enabled, day in ((one, True, "01"), (two, False, "03"), (one, True, "05")):
        sent = event({"id": user}, enabled=enabled, occurred_at=f"2026-01-{day}T00:00:00.5Z")
        assert api.post("/v1/events", sent).status == 201
    merged(api, one, two)
    for day, enabled in (("02", True), ("04", False), ("06", True)):
        at = f"?as_of=2026-01-{day}T00:00:00Z"
        for user in (one, two):
            assert api.get(f"/v1/users/{user}{at}").json["consents"] == [{"id": EMAIL, "enabled": enabled}]
    listed = api.get(f"/v1/users/{one}/events?as_of=2026-01-04T00:00:00Z").json["items"]
    assert [item["consents"][0]["enabled"] for item in listed] == [True, False]


def test_merges_are_refused_with_the_reason(api: Gateway) -> None:
    one, two, erased = (created(api)["id"] for _ in range(3))
    path = f"/v1/users/{one}/merge"
    assert api.delete(f"/v1/users/{erased}").status == 200
    assert errors(api.post(path, {"from": one.upper()})) == ["/from"]
    assert errors(api.post(path, {"from": str(uuid.uuid4())})) == ["/from"]
    assert errors(api.post(path, {"from": erased})) == ["/from"]
    assert errors(api.post(path, {"from": "x"})) == ["/from"]
    assert errors(api.post(path, {})) == ["/from"]
    assert api.post(f"/v1/users/{uuid.uuid4()}/merge", {"from": two}).status == 404
    assert api.post(f"/v1/users/{erased}/merge", {"from": two}).status == 410
    assert Gateway(scope="pmp/read pmp/write").post(path, {"from": two}).status == 403
    assert "merged" not in api.get(f"/v1/users/{one}").json


def test_chains_and_circles_end_in_one_user(api: Gateway, stack: Stack) -> None:
    people = [created(api)["id"] for _ in range(4)]
    for number, user in enumerate(people):
        choose(api, user, {EMAIL: bool(number % 2)})
    a, b, c, d = people
    merged(api, b, a)
    merged(api, c, b)
    merged(api, a, c)
    document = merged(api, a, d)
    assert document["id"] == c
    assert [one["id"] for one in document["merged"]] == [a, b, d]
    for user in people:
        assert api.get(f"/v1/users/{user}").json == document
    assert len(api.get(f"/v1/users/{d}/events").json["items"]) == 4
    assert stack.cluster.psql(DIFFERENCE).strip() == "0"


def test_lists_and_feed_show_the_remaining_user_only(api: Gateway, stack: Stack) -> None:
    consent = f"m{uuid.uuid4().hex}"
    api.put(f"/v1/consents/{consent}", {"description": "Merge", "channel": "web"})
    one, two = created(api)["id"], created(api)["id"]
    sent = [choose(api, user, {consent: True}).json["id"] for user in (two, one)]
    merged(api, one, two)
    assert [user["id"] for user in api.get(f"/v1/users?consent={consent}&enabled=true").json["items"]] == [one]
    key = f"(SELECT min(subject_key) - 1 FROM pmp.subject WHERE id IN ('{one}', '{two}'))"
    choices = stack.cluster.psql(f"SELECT content FROM pmp.export_choices_page({key}, 10, now(), now())")
    assert (choices.count(one), choices.count(two)) == (1, 0)
    first = f"(SELECT min(transaction_number) - 1 FROM pmp.event WHERE id IN ('{sent[0]}', '{sent[1]}'))"
    content = stack.cluster.psql(
        f"SELECT content FROM pmp.export_events_page({first}, 0, 9223372036854775807, 10, now(), now())"
    )
    assert [line.count(one) for line in content.splitlines() if any(event in line for event in sent)] == [1, 1]
    assert two not in content
    number = f"(SELECT min(transaction_number) - 1 FROM pmp.subject WHERE id IN ('{one}', '{two}'))"
    known = stack.cluster.psql(f"SELECT jsonb_path_query_array(pmp.list_users({number}, 0, 500), '$.items[*].id')")
    assert (known.count(one), known.count(two)) == (1, 0)


def test_erasure_covers_both_and_survives_a_restore(api: Gateway, stack: Stack) -> None:
    former = new_address()
    one, two = created(api, phone=new_phone()), api.post("/v1/users", {"email": former}).json
    two = api.patch(f"/v1/users/{two['id']}", {"email": new_address(), "phone": new_phone()}).json
    for user in (one, two):
        choose(api, user["id"], {EMAIL: True})
        context = event({"id": user["id"]}, context={"country": "CH"})
        assert api.post("/v1/events", context).status == 201
    body, key = {"email": new_address()}, uuid.uuid4().hex
    kept = api.post("/v1/users", body, Idempotency_Key=key).json["id"]
    cluster = stack.cluster
    options = ["--host", str(cluster.home.directory), "--port", str(cluster.port), "--username", "postgres"]
    dump = cluster.home.run(["pg_dump", *options, "pmp"])
    merged(api, two["id"], kept)
    merged(api, one["id"], two["id"])
    answer = api.delete(f"/v1/users/{two['id']}")
    assert (answer.status, answer.json["id"]) == (200, one["id"])
    everybody = [one["id"], two["id"], kept]
    (entry,) = journal(stack, one["id"])
    assert entry["user_ids"] == everybody
    assert len(entry["address_hashes"]) == 6
    assert [api.get(f"/v1/users/{user}").status for user in everybody] == [410] * 3
    assert [api.delete(f"/v1/users/{user}").status for user in everybody] == [410] * 3
    assert api.post("/v1/users", body, Idempotency_Key=key).status == 410
    names = [
        {"email": former}, {"email": body["email"]}, *({"email": user["email"]} for user in (one, two)),
        *({"phone": user["phone"]} for user in (one, two)),
    ]  # fmt: skip
    for name in names:
        found = api.post("/v1/users/lookup", name).json
        assert found["user"] is None
        assert [user["id"] for user in found["erased"]] == [one["id"]]
        assert len(found["items"]) == 4
        assert not any("context" in item for item in found["items"])
        assert created(api, **name)["id"] not in everybody if "phone" in name else True
    rows = "SELECT count(*) FROM pmp.{} JOIN pmp.subject USING (subject_key) WHERE id IN ('{}', '{}', '{}')"
    for table in ("identifier", "former_identifier", "event_context", "current_choice"):
        assert cluster.psql(rows.format(table, *everybody)) == "0", table

    # The database from before the merge: the three are apart again, and all of them are erased.
    cluster.psql("CREATE DATABASE apart")
    cluster.home.run(["psql", *options, "--no-psqlrc", "--quiet", "apart"], stdin=dump)
    replay = script([one_ for one_ in entries(stack) if one_.user_ids[0] == one["id"]])
    assert cluster.psql(replay, database="apart").strip() == "erased|1"
    erased = "SELECT count(*) FROM pmp.subject WHERE erased_at IS NOT NULL AND id IN ('{}', '{}', '{}')".format(
        *everybody
    )
    assert cluster.psql(erased, database="apart").strip() == "3"
    assert cluster.psql(replay, database="apart").strip() == "known|1"
    assert cluster.psql(replay).strip() == "known|1"
    cluster.psql("DROP DATABASE apart")


@pytest.mark.parametrize("target", ["former", "remaining"])
def test_event_that_waits_for_a_merge_is_the_remaining_users(
    workers: Any, api: Gateway, stack: Stack, target: str
) -> None:
    one, two = created(api)["id"], created(api)["id"]
    choose(api, two, {EMAIL: True})
    user = {"former": two, "remaining": one}[target]
    with under_way("SELECT pmp.merge_users(:one, :two, 'merger')", one=one, two=two) as first:
        status = after(first, workers, "POST", "/v1/events", event({"id": user}, enabled=False))
    assert status == 201
    assert consents(api, one) == {EMAIL: False}
    assert stack.cluster.psql(DIFFERENCE).strip() == "0"


def test_merges_erasures_and_events_at_once_leave_one_consistent_record(
    workers: Any, api: Gateway, stack: Stack
) -> None:
    for _ in range(4):
        people = [created(api)["id"] for _ in range(3)]
        for user in people:
            choose(api, user, {EMAIL: True})
        a, b, c = people
        calls: list[tuple[str, str, Any, dict[str, str]]] = []
        for user, other in ((a, b), (b, c), (c, a), (b, a)):
            calls.append(("POST", f"/v1/users/{user}/merge", {"from": other}, {}))
            calls.append(("POST", "/v1/events", event({"id": other}, enabled=False), {}))
        statuses = [status for status, _ in workers.map(_call, calls)]
        assert set(statuses) <= {200, 201, 503}, statuses
        assert set(statuses[1::2]) <= {201, 503}
        merged(api, a, b)
        merged(api, b, c)
        documents = [api.get(f"/v1/users/{user}").json for user in people]
        assert documents == [documents[0]] * 3
        events = api.get(f"/v1/users/{a}/events").json["items"]
        assert len(events) == 3 + statuses[1::2].count(201)
        assert documents[0]["consents"] == [{"id": EMAIL, "enabled": False}]
    one, two = created(api)["id"], created(api)["id"]
    calls = [("DELETE", f"/v1/users/{two}", None, {}), ("POST", f"/v1/users/{one}/merge", {"from": two}, {})]
    outcome = tuple(status for status, _ in workers.map(_call, calls))
    assert outcome in {(200, 200), (200, 422)}
    assert api.get(f"/v1/users/{one}").status == (410 if outcome == (200, 200) else 200)
    assert stack.cluster.psql(DIFFERENCE).strip() == "0"


def test_tokens_of_the_former_user_are_the_remaining_users(api: Gateway, stack: Stack) -> None:
    one, two = created(api)["id"], created(api)["id"]

    def token(purpose: str) -> Mine:
        answer = api.post("/v1/tokens", {"user": {"id": two}, "purpose": purpose})
        assert answer.status == 201, answer.content
        return Mine(answer.json["token"])

    preferences = token("preferences")
    merged(api, one, two)
    assert preferences.get("/v1/me").json["id"] == one
    body = {"consents": [{"id": EMAIL, "enabled": True}]}
    assert preferences.post("/v1/me/events", body).json["user"] == {"id": one}
    assert consents(api, one) == {EMAIL: True}
    assert stack.cluster.psql(DIFFERENCE).strip() == "0"
    assert token("erase").delete("/v1/me").json["id"] == one
