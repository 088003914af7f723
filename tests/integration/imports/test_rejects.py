"""Rejected lines: their file, which can be corrected and imported, its bounds, and how long it is kept."""

import json
import re
import urllib.error
import urllib.request
import uuid
from typing import Any

import pytest
from pmp import database, erasures, housekeeping, imports, objects
from pmp.imports import rejects

from checks.object_store import BUCKET, ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context, announced, counts, event, generated, job_of, ndjson


def name() -> str:
    return uuid.uuid4().hex


def rejected(store: ObjectStore, job: dict[str, Any]) -> bytes:
    return store.get(job["rejects_key"])


def test_corrected_rejects_of_ndjson_are_imported(stack: Stack, store: ObjectStore) -> None:
    who = name()
    bad = event(f"{who}.b@example.com") | {"consents": [{"id": "email_notifications", "enabled": "yes"}]}
    body = ndjson([event(f"{who}.a@example.com"), bad]) + b'{"user": \n[1]\n'
    first = announced(stack, store, body)
    assert counts(first) == (4, 1, 0, 3)
    assert first["reasons"] == {"invalid_json": 1, "invalid_type": 2}
    lines = rejected(store, first).decode().splitlines()
    reason = {"line": 2, "code": "invalid_type", "pointer": "/consents/0/enabled", "detail": "must be true or false"}
    assert json.loads(lines[0]) == {"rejected": reason, **bad}
    assert lines[0].endswith(json.dumps(bad)[1:])
    assert lines[1].endswith('}, "user":')
    assert json.loads(lines[2])["original"] == "[1]"
    # Still wrong: the reason is replaced, not repeated.
    second = announced(stack, store, rejected(store, first))
    assert counts(second) == (3, 0, 0, 3)
    assert rejected(store, second).decode().count("rejected") == 3
    corrected = rejected(store, second).replace(b'"yes"', b"false").splitlines()[0]
    assert counts(announced(stack, store, corrected)) == (1, 1, 0, 0)


def test_corrected_rejects_of_csv_are_imported(stack: Stack, store: ObjectStore) -> None:
    who, declared = name(), {"format": "csv", "occurred_at": "2026-01-01T00:00:00Z"}
    body = (
        "email,email_notifications\r\n"
        f'{who}.a@example.com,true\r\n{who}.b@example.com,yes\r\n"{who}.c@example.com",no\r\n{who}.d@example.com\r\n'
    ).encode()
    first = announced(stack, store, body, **declared)
    assert counts(first) == (4, 1, 0, 3)
    assert first["rejects_key"].endswith(".csv")
    lines = rejected(store, first).decode().splitlines()
    assert lines[0] == "rejected,email,email_notifications"
    assert [(re.split("[,:]", line)[0], line.rpartition('",')[2]) for line in lines[1:]] == [
        ('"line 3', f"{who}.b@example.com,yes"),
        ('"line 4', "no"),
        ('"line 5', f"{who}.d@example.com"),
    ]
    assert lines[2].endswith(f',"{who}.c@example.com",no')
    assert 'line 3, column email_notifications: invalid_type: is ""yes""; must be true or false' in lines[1]
    second = announced(stack, store, rejected(store, first), **declared)
    assert counts(second) == (3, 0, 0, 3)
    assert [line.partition('",')[2] for line in rejected(store, second).decode().splitlines()[1:]] == [
        line.partition('",')[2] for line in lines[1:]
    ]
    corrected = rejected(store, second).replace(b",yes", b",true").replace(b",no", b",false")
    corrected = corrected.replace(b".d@example.com", b".d@example.com,true")
    assert counts(announced(stack, store, corrected, **declared)) == (3, 3, 0, 0)
    # And the whole corrected file as well.
    whole = (
        body.replace(b",yes", b",true").replace(b",no", b",false").replace(b".d@example.com", b".d@example.com,true")
    )
    assert counts(announced(stack, store, whole, **declared)) == (4, 0, 4, 0)


def test_reason_tells_place_and_value_in_the_words_of_the_file(stack: Stack, store: ObjectStore) -> None:
    array = json.dumps([{}, event(f"{name()}@e.com", colour=1, size=2), event("x", occurred_at="31/01/2024")], indent=1)
    found = [
        json.loads(line)["rejected"] for line in rejected(store, announced(stack, store, array.encode())).splitlines()
    ]
    assert [(one["item"], one["detail"].partition(";")[0]) for one in found] == [
        (1, "is missing"),
        (2, "has 2 unknown fields: colour, size"),
        (3, 'is "31/01/2024"'),
    ]
    long = b"email,consent,enabled,occurred_at\na@e.com,nothing,true,2024-01-31T10:00:00Z\n Ada <a@e.com>,x,true,\n"
    mapped: dict[str, Any] = {
        "id": "crm",
        "user": {"email": "E-Mail"},
        "occurred_at": {"from": ["Changed"], "format": "%d.%m.%Y"},
    }
    mapped["consents"] = [{"consent": "email_notifications", "from": "OK"}]
    for body, mapping, expected in (
        (long, None, ["line 2, column consent: unknown_consent", "line 3, column occurred_at: undated"]),
        (b"OK;E-Mail;Changed\ntrue;a@e.com b@e.com;31.1.24\n", mapped, ["line 2, column Changed: invalid_instant"]),
        (b"OK;E-Mail;Changed\ntrue;a@e.com b@e.com;31.01.2024\n", mapped, ["line 2, column E-Mail: invalid_email"]),
    ):
        made = imports.create(database.connect(), {"dry_run": False}, "tester", mapping)
        imports.handle_notification(store.put(f"imports/{made['id']}.ndjson", body), Context())
        _, *lines = store.get(f"rejects/{made['id']}.csv").decode().splitlines()
        assert [":".join(line[1:].split(":")[:2]) for line in lines] == expected
    assert "more than one @" in lines[0]


def test_line_that_the_database_finds_wrong_is_kept_with_its_text(stack: Stack, store: ObjectStore) -> None:
    line = {**event("x@example.com"), "user": {"id": str(uuid.uuid4())}}
    job = announced(stack, store, ndjson([*generated(10, 91), line, {}]))
    found = [json.loads(one) for one in rejected(store, job).splitlines()]
    assert [one["rejected"]["code"] for one in found] == ["unknown_user", "missing"]
    assert found[0]["user"] == line["user"]
    assert stack.cluster.psql(f"SELECT count(*) FROM pmp.import_reject WHERE import_id = '{job['id']}'") == "0"


def test_rejects_leave_the_database_part_by_part(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over several invocations; the file is whole, and the database never holds much of it."""
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 500)
    monkeypatch.setattr(objects, "PART_BYTES", 30_000)
    monkeypatch.setattr(objects, "LEAST_PART_BYTES", 30_000)
    key = f"imports/{name()}.ndjson"
    body = b"".join(b'{"n": %d}\n' % number for number in range(10_000)) + ndjson([event("r@example.com")])
    imports.handle_notification(store.put(key, body), Context(remaining_seconds=5))
    most = 0
    while store.invocations:
        most = max(most, int(stack.cluster.psql("SELECT count(*) FROM pmp.import_reject")))
        imports.run(json.loads(store.invocations.pop(0))["job"], Context(remaining_seconds=5))
    job = job_of(stack, key)
    assert (job["state"], counts(job)) == ("succeeded", (10_001, 1, 0, 10_000))
    assert [json.loads(line)["n"] for line in rejected(store, job).splitlines()] == list(range(10_000))
    assert 0 < most < 5000


def test_rejects_are_bounded_and_all_are_counted(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 100)
    monkeypatch.setattr(rejects, "MOST", 250)
    job = announced(stack, store, b"{x\n" * 1000 + ndjson([event("b@example.com")]))
    assert (counts(job), job["reasons"], job["rejects_kept"]) == ((1001, 1, 0, 1000), {"invalid_json": 1000}, 250)
    assert rejected(store, job).count(b"\n") == 250


def test_import_fails_when_more_lines_are_rejected_than_allowed(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 100)
    monkeypatch.setattr(worker, "LONGEST_BATCH_BYTES", 1)
    body = ndjson([event(f"{name()}@example.com"), {}, {}])
    assert announced(stack, store, body, max_rejected=2)["state"] == "succeeded"
    job = announced(stack, store, body, max_rejected=1)
    assert job["state"] == "failed"
    assert job["error"].startswith("2 lines were rejected, and max_rejected is 1; nothing after line 3 was imported")
    assert rejected(store, job).count(b"\n") == 2


def test_file_of_rejects_is_named_by_an_erasure_and_deleted_after_seven_days(stack: Stack, store: ObjectStore) -> None:
    job = announced(stack, store, ndjson([event(f"{name()}@example.com"), {}]))
    shown = imports.get(database.connect(), job["id"])
    assert shown is not None
    kept = stack.cluster.psql(
        f"SELECT pmp.instant(finished_at + interval '7 days') FROM pmp.import_job WHERE id = '{job['id']}'"
    )
    assert shown["rejects_kept_until"] == kept
    now = stack.cluster.psql("SELECT pmp.instant(clock_timestamp())")
    told = {one["place"]: one["until"] for one in erasures.remains(database.connect(), now, files_are_gone=True)}
    assert told["rejects"] >= kept
    for days, there in (("6 days 23 hours", True), ("7 days", False)):
        stack.cluster.psql(
            f"UPDATE pmp.import_job SET finished_at = now() - interval '{days}' WHERE id = '{job['id']}'"
        )
        housekeeping.run(database.connect(), Context())
        assert (job["rejects_key"] in store.versions) == there
        assert (imports.rejects_url(database.connect(), job["id"]) is not None) == there


# -- uploads -----------------------------------------------------------------------------------------------------------


def upload(made: dict[str, Any], body: bytes, **headers: str) -> int:
    put = urllib.request.Request(made["upload"]["url"], body, made["upload"]["headers"] | headers, method="PUT")
    try:
        with urllib.request.urlopen(put) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def new_import(**request: Any) -> dict[str, Any]:
    return imports.create(database.connect(), {"format": "ndjson", "compression": "none", **request}, "tester")


def test_address_signs_size_and_type_and_takes_one_upload(stack: Stack, store: ObjectStore) -> None:
    body = ndjson([event(f"{name()}@example.com")])
    made = new_import(size=len(body), content_type="application/x-ndjson")
    signed = made["upload"]["url"].partition("X-Amz-SignedHeaders=")[2].partition("&")[0]
    assert set(signed.split("%3B")) == {"host", "content-length", "content-type", "if-none-match"}
    assert upload({"upload": {**made["upload"], "headers": {}}}, body) == 403
    assert [upload(made, body), upload(made, body)] == [200, 412]
    assert stack.cluster.psql(f"SELECT state FROM pmp.import_job WHERE id = '{made['id']}'") == "waiting"


@pytest.mark.parametrize("end", ["cancelled", "succeeded"])
def test_upload_for_an_ended_import_is_deleted_and_not_imported(stack: Stack, store: ObjectStore, end: str) -> None:
    address, made = f"{name()}@example.com", new_import()
    key = f"imports/{made['id']}.ndjson"
    if end == "cancelled":
        imports.cancel(database.connect(), made["id"], "tester")
    else:
        imports.handle_notification(store.put(key, ndjson([event(f"{name()}@example.com")])), Context())
    imports.handle_notification(store.put(key, ndjson([event(address)])), Context())
    assert stack.cluster.psql(f"SELECT count(*) FROM pmp.subject WHERE email_key = '{address}'") == "0"
    assert stack.cluster.psql(f"SELECT count(*) FROM pmp.import_job WHERE object_key = '{key}'") == "1"
    assert not store.versions.get(key)
    shown = imports.get(database.connect(), made["id"])
    assert shown is not None
    assert shown["state"] == end


def test_job_tells_file_and_uploader(stack: Stack, store: ObjectStore) -> None:
    key = f"imports/{name()}/list of May.ndjson"
    notice = store.put(key, ndjson([event(f"{name()}@example.com")]))
    notice["Records"][0]["userIdentity"] = {"principalId": "AWS:AROAEXAMPLE:crm"}  # type: ignore[index]
    imports.handle_notification(notice, Context())
    shown = imports.get(database.connect(), job_of(stack, key)["id"])
    assert shown is not None
    assert (shown["key"], shown["file_name"], shown["client"]) == (key, "list of May.ndjson", "s3")
    assert (shown["uploader"], shown["dry_run"]) == ("AWS:AROAEXAMPLE:crm", False)
    assert BUCKET not in json.dumps(shown)


@pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled", "given up", "never uploaded", "tried"])
def test_end_of_an_import_is_one_line_without_personal_data(
    stack: Stack, store: ObjectStore, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    person = f"{name()}@example.com"
    body = ndjson([event(person, consent="email_notifications" if end != "failed" else person), {"x": person}])
    if end in {"succeeded", "failed"}:
        job = announced(stack, store, body)["id"]
    elif end == "tried":
        job = announced(stack, store, body, dry_run=True)["id"]
    else:
        job = new_import()["id"]
        if end == "cancelled":
            imports.cancel(database.connect(), job, "tester")
        else:
            age = "created_at = now() - interval '2 days'"
            killed = "state = 'running', started_at = now() - interval '1 hour', stalled = 3"
            change = killed if end == "given up" else age
            stack.cluster.psql(f"UPDATE pmp.import_job SET {change} WHERE id = '{job}'")
            imports.restart(database.connect())
    output = capsys.readouterr().out
    (line,) = [one for one in map(json.loads, output.splitlines()) if one.get("job") == job and "lines" in one]
    assert line["message"] == ("dry run ended" if end == "tried" else "import ended")
    state = {"given up": "failed", "never uploaded": "failed", "tried": "succeeded"}.get(end, end)
    assert (line["state"], line["level"]) == (state, "error" if state == "failed" else "info")
    expected = {"succeeded": (2, 1, 0, 1), "tried": (2, 1, 0, 1), "failed": (2, 0, 0, 2)}.get(end, (0, 0, 0, 0))
    assert (line["lines"], line["accepted"], line["skipped"], line["rejected"]) == expected
    assert line["seconds"] >= (3600 if end == "given up" else 0)
    assert person not in output
