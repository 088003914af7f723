"""Imports of several objects: one import with a sum, of objects that arrived by themselves or that a request names."""

import json
import uuid
from typing import Any

import pytest
from pmp import database, housekeeping, imports, tasks
from pmp.imports import folders

from checks.gateway import Gateway
from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context, event, ndjson

COUNTS = ("lines", "accepted", "skipped", "rejected")


def work(store: ObjectStore) -> None:
    """Do what is in the queue, and what that brings."""
    while store.invocations:
        imports.run(json.loads(store.invocations.pop(0))["job"], Context())


def good(count: int = 2) -> bytes:
    return ndjson([event(f"{uuid.uuid4().hex}@example.com") for _ in range(count)])


def shown(api: Gateway, job: str) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"/v1/imports/{job}").json
    return found


def folder(name: str = "_set") -> str:
    return f"imports/{name}/{uuid.uuid4().hex}/"


def test_prefix_is_one_import_with_one_sum(stack: Stack, store: ObjectStore) -> None:
    api, place, gone = Gateway(), folder(), json.loads(good(1))
    repeated = good(1)
    bodies = {"a.ndjson": good(3), "b.ndjson": good(2) + b"{}\n", "date=2026-01-01/c.ndjson": repeated + repeated}
    for name, body in {**bodies, "_SUCCESS": b"", "_temporary/d": ndjson([gone]), ".e": ndjson([gone])}.items():
        imports.handle_notification(store.put(place + name, body), Context())
    assert api.get(f"/v1/imports?key={place}a.ndjson").json["items"] == []  # it waits
    made = api.post("/v1/imports", {"prefix": place, "file_name": f"May {place}"})
    assert (made.status, made.json) == (201, {"id": made.json["id"], "state": "running"})
    waiting = shown(api, made.json["id"])
    assert (waiting["state"], waiting["parts"]["waiting"], waiting["parts"]["total"]) == ("running", 3, 3)
    work(store)
    done = shown(api, made.json["id"])
    assert (done["state"], [done[name] for name in COUNTS]) == ("succeeded", [8, 6, 1, 1])
    assert (done["reasons"], done["rejects_kept"], done["key"]) == ({"missing": 1}, 1, place)
    assert done["parts"] == {"total": 3, "waiting": 0, "running": 0, "succeeded": 3, "failed": 0, "cancelled": 0}
    assert done["bytes_read"] == done["bytes_total"] == sum(map(len, bodies.values()))
    # Found by the same filters; its parts are in no list but their own.
    for query in (f"key={place}", f"file_name=May {place}", "client=test-client&state=succeeded&limit=1"):
        assert [one["id"] for one in api.get(f"/v1/imports?{query}").json["items"]] == [done["id"]]
    parts = api.get(f"/v1/imports?parent={done['id']}").json["items"]
    assert {part["key"] for part in parts} == {place + name for name in bodies}
    assert {part["parent"] for part in parts} == {done["id"]}
    assert [part["id"] for part in api.get(f"/v1/imports?key={place}b.ndjson").json["items"]] == [
        part["id"] for part in parts if part["rejected"]
    ]
    assert api.get(f"/v1/imports/{done['id']}/rejects").status == 404
    left = api.post("/v1/imports", {"prefix": place})
    assert (left.status, left.json["errors"][0]["pointer"]) == (422, "/prefix")
    assert api.get(f"/v1/users?email={gone['user']['email']}").json["items"] == []


def test_keys_are_one_import_and_a_part_that_fails_is_named(stack: Stack, store: ObjectStore) -> None:
    api, place, key = Gateway(), folder(), uuid.uuid4().hex
    keys = [f"{place}{name}" for name in ("2025/a.ndjson", "2025/b.parquet", "2026/c.csv")]
    undated = f"email,email_notifications\n{key}@example.com,true\n".encode()
    for name, body in zip(keys, (good(), b"PAR1", undated), strict=True):
        store.put(name, body)
    request = {"keys": [*keys, keys[0]], "occurred_at": "2026-01-01T00:00:00Z"}
    made = api.post("/v1/imports", request, Idempotency_Key=key)
    assert made.status == 201, made.content
    again = api.post("/v1/imports", request, Idempotency_Key=key)
    assert (again.json, again.headers["Idempotency-Replayed"]) == (made.json, "true")
    work(store)
    done = shown(api, made.json["id"])
    assert (done["state"], [done[name] for name in COUNTS], done["key"]) == ("failed", [3, 3, 0, 0], place)
    assert done["error"].startswith(
        f"1 of 3 parts failed or were cancelled; the first is {keys[1]}: the file is a Parq"
    )
    assert [one["key"] for one in api.get(f"/v1/imports?parent={done['id']}&state=failed").json["items"]] == [keys[1]]
    # The failed file is still there. A new version of it is imported, the same one is not.
    assert api.post("/v1/imports", {"keys": [keys[1]]}).json["errors"][0]["pointer"] == "/keys/0"
    store.put(keys[1], good())
    assert api.post("/v1/imports", {"keys": [keys[1]]}).status == 201


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"prefix": "imports/"}, "/prefix"),
        ({"prefix": "exports/_a/"}, "/prefix"),
        ({"prefix": "imports/_none/"}, "/prefix"),
        ({"prefix": "imports/day/"}, "/prefix"),
        ({"keys": ["imports/day/a"]}, "/keys/0"),
        ({"keys": ["imports/_a"]}, "/keys/0"),
        ({"keys": ["imports/_there/a", "imports/_there/b"]}, "/keys/1"),
        ({"keys": []}, "/keys"),
        ({"keys": ["imports/_there/a"], "prefix": "imports/_there/"}, "/prefix"),
        ({"prefix": "imports/_there/", "sha256": "0" * 64}, "/sha256"),
        ({"prefix": "imports/_there/", "dry_run": True}, "/dry_run"),
    ],
)
def test_objects_that_cannot_be_imported_together_are_refused(
    stack: Stack, store: ObjectStore, body: dict[str, Any], pointer: str
) -> None:
    store.put("imports/_there/a", good())
    answer = Gateway().post("/v1/imports", body)
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer), answer.content


def test_number_of_parts_is_bounded(stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST_PARTS", 3)
    place, day = folder(), folder("day")
    for number in range(4):
        store.put(f"{place}{number}", good())
        imports.handle_notification(store.put(f"{day}{number}", good()), Context())
    answer = Gateway().post("/v1/imports", {"prefix": place})
    assert "more than 3 objects" in answer.json["errors"][0]["detail"]
    imports.handle_notification(store.put(f"{day}_SUCCESS", b""), Context())
    found = Gateway().get(f"/v1/imports?key={day}").json["items"]
    assert sorted(one["parts"]["total"] for one in found) == [1, 3]


def test_marker_makes_one_import_of_a_folder_in_any_order(stack: Stack, store: ObjectStore) -> None:
    """One object was imported, the notification of one comes late, that of one was lost."""
    api, day = Gateway(), folder("day")
    imports.handle_notification(store.put(f"{day}part-0", good()), Context())
    late, marker = store.put(f"{day}hour=1/part-1", good() + b"{}\n"), store.put(f"{day}_SUCCESS", b"")
    store.put(f"{day}part-2", good())
    store.put(f"{day}_temporary/part-2", good())
    marker["Records"][0]["userIdentity"] = {"principalId": "AWS:AROAEXAMPLE:spark"}  # type: ignore[index]
    for _ in range(2):
        imports.handle_notification(marker, Context())
    imports.handle_notification(late, Context())
    (one,) = api.get(f"/v1/imports?key={day}").json["items"]
    assert (one["client"], one["uploader"], one["file_name"]) == ("s3", "AWS:AROAEXAMPLE:spark", day.split("/")[-2])
    assert (one["parts"]["total"], one["parts"]["succeeded"], one["parts"]["waiting"]) == (3, 2, 1)
    stack.cluster.psql(
        f"UPDATE pmp.import_job SET created_at = now() - interval '1 hour' WHERE object_key = '{day}part-2'"
    )
    housekeeping.run(database.connect(), Context())
    work(store)
    done = shown(api, one["id"])
    assert (done["state"], [done[name] for name in COUNTS]) == ("succeeded", [7, 6, 0, 1])
    # A file that comes later is an import of its own, until the next marker.
    imports.handle_notification(store.put(f"{day}part-3", good()), Context())
    (later,) = api.get(f"/v1/imports?key={day}part-3").json["items"]
    assert (later["parent"], shown(api, one["id"])["parts"]["total"]) == (None, 3)


def test_cancelling_an_import_of_several_objects_cancels_its_parts(stack: Stack, store: ObjectStore) -> None:
    api, place = Gateway(), folder()
    for number in range(3):
        store.put(f"{place}{number}", good())
    made = api.post("/v1/imports", {"prefix": place}).json["id"]
    imports.run(json.loads(store.invocations.pop(0))["job"], Context())  # puts the parts into the queue
    imports.run(json.loads(store.invocations.pop(0))["job"], Context())  # the first part
    cancelled = api.delete(f"/v1/imports/{made}").json
    assert (cancelled["state"], cancelled["accepted"]) == ("cancelled", 2)
    assert (cancelled["parts"]["succeeded"], cancelled["parts"]["cancelled"]) == (1, 2)
    work(store)
    assert shown(api, made)["accepted"] == 2


def test_import_ends_when_its_last_part_is_cancelled(stack: Stack, store: ObjectStore) -> None:
    api, place = Gateway(), folder()
    store.put(f"{place}a", good())
    made = api.post("/v1/imports", {"prefix": place}).json["id"]
    (part,) = api.get(f"/v1/imports?parent={made}").json["items"]
    assert api.delete(f"/v1/imports/{part['id']}").status == 200
    done = shown(api, made)
    assert done["state"] == "failed"
    assert f"1 of 1 parts failed or were cancelled; the first is {place}a" in done["error"]


def test_nobody_works_on_the_sum_and_housekeeping_ends_what_a_killed_worker_left(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    api, place = Gateway(), folder()
    store.put(f"{place}a", good())
    made = api.post("/v1/imports", {"prefix": place}).json["id"]
    with monkeypatch.context() as killed:
        killed.setattr("pmp.imports.jobs.settle", lambda *_: None)
        work(store)
    stack.cluster.psql(f"UPDATE pmp.import_job SET created_at = now() - interval '2 days' WHERE id = '{made}'")
    assert shown(api, made)["state"] == "running"
    imports.restart(database.connect())
    assert shown(api, made)["state"] == "succeeded"
    assert not any(made in message.decode() for message in store.invocations)


def test_many_tasks_are_sent_ten_at_a_time(stack: Stack, store: ObjectStore) -> None:
    tasks.begin_all([{"task": "import", "job": str(number)} for number in range(23)])
    assert [json.loads(message)["job"] for message in store.invocations] == [str(number) for number in range(23)]
