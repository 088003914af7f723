"""Imports from S3 to the projection, in every accepted file format."""

import datetime as dt
import hashlib
import json
import re
import urllib.request
import uuid
from typing import Any

import pytest
from pmp import database

from checks.object_store import BUCKET, ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import (
    Context,
    announced,
    assert_projection_equals_replay,
    counts,
    event,
    generated,
    job_of,
    ndjson,
    zipped,
)


def imported(stack: Stack, store: ObjectStore, key: str, body: bytes) -> dict[str, Any]:
    from pmp import imports

    imports.handle_notification(store.put(key, body), Context())
    return job_of(stack, key)


def consents(stack: Stack, email: str) -> Any:
    listed = stack.cluster.psql(f"SELECT pmp.find_user('{email}')")
    return {choice["id"]: choice["enabled"] for choice in json.loads(listed)[0]["consents"]}


def rejects(store: ObjectStore, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the file of rejects says of each line: "line", "code", "pointer", "detail"; of CSV, the first two."""
    text = store.get(job["rejects_key"]).decode(errors="replace")
    if job["rejects_key"].endswith(".csv"):
        return [
            {"line": int(found[1]), "code": found[2]}
            for found in re.finditer(r'^"line (\d+)[^:]*: (\w+)', text, re.MULTILINE)
        ]
    reader = json.JSONDecoder()
    return [reader.raw_decode(line, len('{"rejected": '))[0] for line in text.splitlines()]


def test_gzip_file_is_imported_once_and_skipped_the_second_time(stack: Stack, store: ObjectStore) -> None:
    body = zipped(ndjson(generated(30_000)))
    first = imported(stack, store, "imports/first.ndjson.gz", body)
    assert (first["state"], counts(first)) == ("succeeded", (30_000, 30_000, 0, 0))
    assert first["bytes_read"] == first["bytes_total"] == len(body)
    again = imported(stack, store, "imports/again.ndjson.gz", body)
    assert (again["state"], counts(again)) == ("succeeded", (30_000, 0, 30_000, 0))
    assert_projection_equals_replay(stack)


def test_same_file_without_event_ids_is_skipped(stack: Stack, store: ObjectStore) -> None:
    body = ndjson([event(f"no-id-{number}@example.com") for number in range(10)])
    assert counts(imported(stack, store, "imports/no-ids.ndjson", body)) == (10, 10, 0, 0)
    assert counts(imported(stack, store, "imports/no-ids-again.ndjson", body)) == (10, 0, 10, 0)
    # An equal line is the same event, in another file and in the same one.
    one = ndjson([event("no-id-new@example.com")])
    assert counts(imported(stack, store, "imports/no-ids-more.ndjson", one + body + one)) == (12, 1, 11, 0)


def test_corrected_file_skips_what_was_accepted_and_a_withdrawal_in_between_stands(
    stack: Stack, store: ObjectStore
) -> None:
    name, instant = uuid.uuid4().hex, "2026-01-15T09:00:00Z"
    first = f"email,email_notifications\n{name}.a@example.com,true\n{name}.b@example.com,yes\n".encode()
    job = announced(stack, store, first, format="csv", occurred_at=instant)
    assert counts(job) == (2, 1, 0, 1)
    assert count_of(stack, f"{name}.b@%") == 0
    person = stack.cluster.psql(f"SELECT id FROM pmp.subject WHERE email_key = '{name}.a@example.com'")
    withdrawal = json.dumps([{"id": "email_notifications", "enabled": False}])
    stack.cluster.psql(f"SELECT pmp.create_event('{uuid.uuid4()}', '{person}', '{withdrawal}', NULL, 'centre')")
    job = announced(stack, store, first.replace(b"yes", b"true"), format="csv", occurred_at=instant)
    assert counts(job) == (2, 1, 1, 0)
    assert consents(stack, f"{name}.a@example.com") == {"email_notifications": False}
    assert consents(stack, f"{name}.b@example.com") == {"email_notifications": True}
    assert_projection_equals_replay(stack)


def test_file_without_instants_is_rejected_unless_it_is_declared(stack: Stack, store: ObjectStore) -> None:
    body = ndjson([event(f"{uuid.uuid4().hex}@example.com", occurred_at=None, id=str(uuid.uuid4()))])
    job = announced(stack, store, body)
    assert counts(job) == (1, 0, 0, 1)
    assert [(r["code"], r["pointer"]) for r in rejects(store, job)] == [("undated", "/occurred_at")]
    assert counts(announced(stack, store, body, occurred_at="2026-01-15T09:00:00Z")) == (1, 1, 0, 0)
    # The id says which event it is, whatever instant is declared.
    assert counts(announced(stack, store, body, occurred_at="2026-01-16T09:00:00Z")) == (1, 0, 1, 0)


def test_rest_of_a_truncated_gzip_is_imported_without_doubling(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 1000)
    name = uuid.uuid4().hex
    events = [event(f"{number}.{name}@example.com", enabled=number % 3 == 0) for number in range(45_000)]
    whole = zipped(ndjson(events))
    job = imported(stack, store, f"imports/{name}-cut.ndjson.gz", whole[: len(whole) * 97 // 100])
    assert job["state"] == "failed"
    again = imported(stack, store, f"imports/{name}-whole.ndjson.gz", whole)
    assert counts(again) == (45_000, 45_000 - job["accepted"], job["accepted"], 0)
    assert (
        stack.cluster.psql(
            f"SELECT count(*) FROM pmp.event JOIN pmp.subject USING (subject_key) WHERE email_key LIKE '%.{name}@%'"
        )
        == "45000"
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["bare", "bom"])
@pytest.mark.parametrize("last", [True, False], ids=["newline", "no-newline"])
def test_line_ends_byte_order_mark_and_blank_lines_are_accepted(
    stack: Stack, store: ObjectStore, end: bytes, bom: bytes, last: bool
) -> None:
    name = f"{len(end)}{len(bom)}{last}".lower()
    lines = [json.dumps(event(f"form-{name}-{number}@example.com")).encode() for number in range(3)]
    body = bom + lines[0] + end + end + b"  " + end + lines[1] + end + lines[2] + (end if last else b"")
    assert counts(imported(stack, store, f"imports/form {name}.ndjson", body)) == (3, 3, 0, 0)


def test_gzip_file_with_several_members_and_padding_is_imported(stack: Stack, store: ObjectStore) -> None:
    lines = ndjson(generated(300, seed=2))
    body = zipped(lines[:5000]) + zipped(b"") + zipped(lines[5000:]) + b"\0" * 512
    assert counts(imported(stack, store, "imports/members.gz", body)) == (300, 300, 0, 0)


@pytest.mark.parametrize("key", ["imports/a+b c.ndjson", "imports/größe/ñandú ☃.ndjson", "imports/100%25.ndjson"])
def test_object_key_is_decoded(stack: Stack, store: ObjectStore, key: str) -> None:
    assert counts(imported(stack, store, key, ndjson([event(f"{uuid.uuid4()}@example.com")])))[1] == 1


def test_notification_of_another_bucket_is_ignored(stack: Stack, store: ObjectStore) -> None:
    from pmp import imports

    key = f"imports/{uuid.uuid4()}.ndjson"
    body = ndjson([event(f"{uuid.uuid4().hex}@example.com")])
    notification = store.put(key, body)
    foreign = json.loads(json.dumps(notification).replace(BUCKET, "somebody-elses-bucket"))
    imports.handle_notification(foreign, Context())
    jobs = f"SELECT count(*) FROM pmp.import_job WHERE object_key = '{key}'"
    assert stack.cluster.psql(jobs) == "0"
    imports.handle_notification(notification, Context())
    assert stack.cluster.psql(jobs) == "1"


def test_csv_is_accepted_in_wide_and_long_form(stack: Stack, store: ObjectStore) -> None:
    wide = (
        b"\xef\xbb\xbfemail,occurred_at,email_notifications,sms_notifications\r\n"
        b'wide-1@example.com,2025-01-01T00:00:00Z,true,false\r\n"wide-2@example.com",,TRUE,\r\n'
        b"wide-3@example.com,,,\r\nwide-4@example.com,,maybe,\r\nwide-5@example.com,true\r\n"
    )
    job = announced(stack, store, wide, format="csv", occurred_at="2025-01-01T00:00:00Z")
    assert (job["state"], counts(job)) == ("succeeded", (5, 2, 0, 3))
    assert consents(stack, "wide-1@example.com") == {"email_notifications": True, "sms_notifications": False}
    assert consents(stack, "wide-2@example.com") == {"email_notifications": True}
    assert [(r["line"], r["code"]) for r in rejects(store, job)] == [
        (4, "invalid_choices"),
        (5, "invalid_type"),
        (6, "wrong_columns"),
    ]
    instant = b"2025-01-01T00:00:00Z"
    long = b"email,consent,enabled,occurred_at\nlong@e.com,sms_notifications,true,%b\nlong@e.com,none,true,%b\n"
    assert counts(imported(stack, store, "imports/long.csv.gz", zipped(long % (instant, instant)))) == (2, 1, 0, 1)
    bad = imported(stack, store, "imports/bad.csv", b"email,colour\na@example.com,red\n")
    assert bad["state"] == "failed"
    assert "CSV header" in bad["error"]


def test_reject_has_a_code_and_does_not_repeat_a_value(
    stack: Stack, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    good = event("good@example.com")
    bad: list[tuple[bytes, str, str]] = [
        (b"{", "invalid_json", ""),
        (b"[]", "invalid_type", ""),
        (b"[" * 100_000, "invalid_json", ""),
        (b'{"consents": []}', "missing", "/user"),
        (json.dumps({**good, "colour": 1}).encode(), "unknown_field", ""),
        (json.dumps({**good, "user": {}}).encode(), "invalid_user", "/user"),
        (json.dumps({**good, "user": {"id": "secret"}}).encode(), "invalid_uuid", "/user/id"),
        (json.dumps({**good, "user": {"id": str(uuid.uuid4())}}).encode(), "unknown_user", "/user/id"),
        (json.dumps({**good, "user": {"email": "secret\0@example.com"}}).encode(), "invalid_email", "/user/email"),
        (json.dumps({**good, "user": {"email": "\ud800secret@example.com"}}).encode(), "invalid_email", "/user/email"),
        (json.dumps({**good, "user": {"email": "secret" * 11 + "@e.com"}}).encode(), "invalid_email", "/user/email"),
        (json.dumps({**good, "user": {"email": "é" * 33 + "@e.com"}}).encode(), "invalid_email", "/user/email"),
        (json.dumps({**good, "id": "secret"}).encode(), "invalid_uuid", "/id"),
        (json.dumps({**good, "occurred_at": "2025-02-30T00:00:00Z"}).encode(), "invalid_instant", "/occurred_at"),
        (json.dumps({**good, "occurred_at": "2025-02-20T00:00:00"}).encode(), "invalid_instant", "/occurred_at"),
        (json.dumps({**good, "occurred_at": "2999-01-01T00:00:00Z"}).encode(), "instant_in_future", "/occurred_at"),
        (json.dumps({**good, "consents": []}).encode(), "invalid_choices", "/consents"),
        (json.dumps({**good, "consents": good["consents"] * 2}).encode(), "repeated_consent", "/consents/1/id"),
        (json.dumps(event("a@example.com", consent="secret")).encode(), "unknown_consent", "/consents/0/id"),
        (
            json.dumps({**good, "consents": [{"id": "email_notifications", "enabled": 1}]}).encode(),
            "invalid_type",
            "/consents/0/enabled",
        ),
        (
            json.dumps({**good, "consents": [{**good["consents"][0], "version": 9}]}).encode(),
            "unknown_version",
            "/consents/0/version",
        ),
        (json.dumps(good).encode().replace(b'"user"', b'"id": null, "id": null, "user"'), "repeated_field", ""),
        (b'"' + b"x" * (1 << 20) + b'"', "line_too_long", ""),
    ]
    body = ndjson([good]) + b"\n".join(line for line, _, _ in bad) + b"\n" + ndjson([event("good-2@example.com")])
    job = imported(stack, store, "imports/bad.ndjson", body)
    assert (job["state"], counts(job)) == ("succeeded", (len(bad) + 2, 2, 0, len(bad)))
    found = rejects(store, job)
    assert [(r["line"], r["code"], r["pointer"]) for r in found] == [
        (number, code, pointer) for number, (_, code, pointer) in enumerate(bad, 2)
    ]
    assert "secret" not in json.dumps(found)
    log = capsys.readouterr().out
    assert "secret" not in log
    assert stack.cluster.psql(f"SELECT count(*) FROM pmp.import_reject WHERE import_id = '{job['id']}'") == "0"


@pytest.mark.parametrize("offset", ["+15:59", "+16:00", "+23:59", "-16:00"])
def test_offset_that_postgresql_refuses_is_imported(stack: Stack, store: ObjectStore, offset: str) -> None:
    far, near = (f"offset{offset.replace(':', '')}.{name}@example.com" for name in ("far", "near"))
    lines = [event(near), event(far, occurred_at=f"2025-12-30T12:00:00{offset}"), event(near, enabled=False)]
    job = imported(stack, store, f"imports/offset{offset}.ndjson", ndjson(lines))
    assert (job["state"], counts(job)) == ("succeeded", (3, 3, 0, 0))
    assert consents(stack, far) == {"email_notifications": True}


def test_late_line_never_overrides_and_denial_wins_a_tie(stack: Stack, store: ObjectStore) -> None:
    lines = [
        event("order@example.com", enabled=False, occurred_at="2025-05-02T00:00:00Z"),
        event("order@example.com", enabled=True, occurred_at="2025-05-01T00:00:00Z"),
        event("order@example.com", enabled=True, occurred_at="2025-05-02T02:00:00+02:00"),
    ]
    assert counts(imported(stack, store, "imports/order.ndjson", ndjson(lines)))[1] == 3
    assert consents(stack, "ORDER@example.com") == {"email_notifications": False}
    # Lines without an instant have the same one, whatever their order.
    for name, choices in (("flow", (False, True)), ("ebb", (True, False))):
        lines = [event(f"{name}@example.com", enabled=choice, occurred_at=None) for choice in choices]
        assert counts(announced(stack, store, ndjson(lines), occurred_at="2025-05-01T00:00:00Z")) == (2, 2, 0, 0)
        assert consents(stack, f"{name}@example.com") == {"email_notifications": False}
    assert_projection_equals_replay(stack)


def test_line_counts_by_the_same_rules_as_an_api_event(stack: Stack, store: ObjectStore) -> None:
    second, ahead = "2025-06-01T10:00:00", dt.datetime.now(dt.UTC) + dt.timedelta(minutes=4)
    lines = [
        event("second@example.com", enabled=True, occurred_at=f"{second}.5Z"),
        event("second@example.com", enabled=False, occurred_at=f"{second}Z"),
        event("ahead@example.com", enabled=True, occurred_at=ahead.isoformat()),
    ]
    assert counts(imported(stack, store, "imports/rule.ndjson", ndjson(lines)))[1] == 3
    assert consents(stack, "second@example.com") == {"email_notifications": False}
    denial = event("ahead@example.com", enabled=False, occurred_at=dt.datetime.now(dt.UTC).isoformat())
    imported(stack, store, "imports/rule-2.ndjson", ndjson([denial]))
    assert consents(stack, "ahead@example.com") == {"email_notifications": False}
    assert_projection_equals_replay(stack)


def test_repeated_event_in_one_file_is_imported_once(stack: Stack, store: ObjectStore) -> None:
    one = event("twice@example.com", id=str(uuid.uuid4()))
    upper = {**one, "id": one["id"].upper()}
    assert counts(imported(stack, store, "imports/twice.ndjson", ndjson([one, upper, one]))) == (3, 1, 2, 0)


def count_of(stack: Stack, addresses: str) -> int:
    return int(stack.cluster.psql(f"SELECT count(*) FROM pmp.subject WHERE email_key LIKE '{addresses}'"))


def test_known_event_id_with_other_content_is_rejected(stack: Stack, store: ObjectStore) -> None:
    dated = event("known@example.com", id=str(uuid.uuid4()), occurred_at="2025-01-01T00:00:00Z")
    undated = event("known@example.com", id=str(uuid.uuid4()), consent="sms_notifications", occurred_at=None)
    declared = dt.datetime.now(dt.UTC).isoformat()
    assert counts(announced(stack, store, ndjson([dated, undated]), occurred_at=declared)) == (2, 2, 0, 0)
    person = stack.cluster.psql("SELECT id FROM pmp.subject WHERE email_key = 'known@example.com'")
    choice = dated["consents"][0]
    same = [
        {**dated, "occurred_at": "2025-01-01T01:00:00.000+01:00"},
        {**dated, "user": {"email": "KNOWN@example.com"}},
        {**dated, "user": {"id": person}},
        {**undated, "consents": [{**undated["consents"][0], "version": 1}]},
        undated,
    ]
    other = [
        {**dated, "consents": [{**choice, "enabled": False}]},
        {**dated, "consents": [{**choice, "id": "sms_notifications"}]},
        {**dated, "consents": [choice, {**choice, "id": "sms_notifications"}]},
        {**dated, "occurred_at": "2025-01-01T00:00:01Z"},
        {name: value for name, value in dated.items() if name != "occurred_at"},
        {**dated, "user": {"email": "known-other@example.com"}},
        {**undated, "occurred_at": "2025-01-01T00:00:00Z"},
    ]
    new = event("known-new@example.com", id=str(uuid.uuid4()))
    job = announced(stack, store, ndjson([*same, *other, new]), occurred_at=declared)
    assert counts(job) == (len(same) + len(other) + 1, 1, len(same), len(other))
    assert [(r["line"], r["code"], r["pointer"]) for r in rejects(store, job)] == [
        (line, "event_conflict", "/id") for line in range(len(same) + 1, len(same) + len(other) + 1)
    ]
    assert consents(stack, "known@example.com") == {"email_notifications": True, "sms_notifications": True}
    assert count_of(stack, "known%") == 2
    assert_projection_equals_replay(stack)


def test_repeated_event_id_with_other_content_is_rejected(stack: Stack, store: ObjectStore) -> None:
    one, two = (event("z-repeat@example.com", id=str(uuid.uuid4())) for _ in range(2))
    unknown = {**two, "user": {"id": str(uuid.uuid4())}}
    other = event("a-repeat@example.com", id=one["id"])
    job = imported(stack, store, "imports/repeat.ndjson", ndjson([one, unknown, other, one, two]))
    assert counts(job) == (5, 2, 1, 2)
    assert [(r["line"], r["code"]) for r in rejects(store, job)] == [(2, "unknown_user"), (3, "event_conflict")]
    assert count_of(stack, "%-repeat@example.com") == 1


def test_skipped_line_does_not_restore_an_erased_user(stack: Stack, store: ObjectStore) -> None:
    body = ndjson([event("gone@example.com", id=str(uuid.uuid4()))])
    imported(stack, store, "imports/gone.ndjson", body)
    person = stack.cluster.psql("SELECT id FROM pmp.subject WHERE email_key = 'gone@example.com'")
    stack.cluster.psql(f"SELECT pmp.erase_user('{person}', 'tester', ARRAY[sha256('x')], now())")
    assert counts(imported(stack, store, "imports/gone-2.ndjson", body)) == (1, 0, 1, 0)
    assert count_of(stack, "gone@example.com") == 0


def test_import_by_api_supports_a_checksum_and_a_dry_run(stack: Stack, store: ObjectStore) -> None:
    from pmp import imports

    body = ndjson([*generated(100, seed=3), {"user": 1}])

    def upload(content: bytes, **request: Any) -> dict[str, Any]:
        made = imports.create(database.connect(), {"format": "ndjson", "compression": "none", **request}, "tester")
        assert made["state"] == "waiting"
        path = made["upload"]["url"].split("?")[0].removeprefix(f"{store.url}/{BUCKET}/")
        put = urllib.request.Request(
            made["upload"]["url"], content, made["upload"]["headers"], method=made["upload"]["method"]
        )
        with urllib.request.urlopen(put) as answer:
            assert answer.status == 200
        version, _, _ = store.versions[path][-1]
        item = {"key": path, "size": len(content), "versionId": version, "eTag": ""}
        imports.handle_notification({"Records": [{"s3": {"bucket": {"name": BUCKET}, "object": item}}]}, Context())
        shown = imports.get(database.connect(), made["id"])
        assert shown is not None
        return shown

    dry = upload(body, dry_run=True)
    assert (dry["state"], counts(dry)) == ("succeeded", (101, 100, 0, 1))
    assert stack.cluster.psql("SELECT count(*) FROM pmp.subject WHERE email LIKE '%.3@example.com'") == "0"
    done = upload(body, sha256=hashlib.sha256(body).hexdigest())
    assert (done["state"], counts(done)) == ("succeeded", (101, 100, 0, 1))
    address = imports.rejects_url(database.connect(), done["id"])
    assert address is not None
    with urllib.request.urlopen(address) as answer:
        assert json.loads(answer.read())["rejected"]["line"] == 101
    with pytest.raises(urllib.error.HTTPError, match="400"):
        upload(b"other bytes", sha256=hashlib.sha256(body).hexdigest())
    page, following = imports.list_jobs(database.connect(), None, 1)
    assert len(page) == 1
    assert following == page[0]["id"]
    assert imports.list_jobs(database.connect(), following, 1)[0] != page


def test_file_with_a_wrong_checksum_fails_before_any_write(stack: Stack, store: ObjectStore) -> None:
    from pmp import imports

    made = imports.create(database.connect(), {"format": "ndjson", "compression": "none", "sha256": "0" * 64}, "tester")
    key = f"imports/{made['id']}.ndjson"
    job = imported(stack, store, key, ndjson([event("other@example.com")]))
    assert job["state"] == "failed"
    assert "SHA-256" in job["error"]
    assert counts(job) == (0, 0, 0, 0)


def test_cancelled_import_stops_after_a_complete_batch(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmp import imports
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 1000)
    notice = store.put("imports/cancel.ndjson", ndjson([*generated(500, seed=4), {}, *generated(20_000, seed=5)]))

    class Cancelling(Context):
        def get_remaining_time_in_millis(self) -> int:
            stack.cluster.psql(
                "UPDATE pmp.import_job SET state = 'cancelled', finished_at = now()"
                " WHERE state = 'running' AND lines > 0"
            )
            return 900_000

    imports.handle_notification(notice, Cancelling())
    job = job_of(stack, "imports/cancel.ndjson")
    assert job["state"] == "cancelled"
    assert 0 < job["lines"] < 20_501
    assert [r["line"] for r in rejects(store, job)] == [501]
    assert imports.cancel(database.connect(), job["id"], "test-client") == imports.get(database.connect(), job["id"])
    assert_projection_equals_replay(stack)


@pytest.mark.parametrize("compression", ["", ".gz"])
def test_job_is_handed_over_until_it_is_finished(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    from pmp import imports
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 500)
    events = generated(12_000, seed=6 + len(compression))
    header = b"id,email,occurred_at,consent,enabled\n"
    rows = [
        f"{e['id']},{e['user']['email']},{e['occurred_at']},{e['consents'][0]['id']},{e['consents'][0]['enabled']}\n"
        for e in events
    ]
    body = header + "".join(rows).encode()
    key = f"imports/handover.csv{compression}"
    imports.handle_notification(store.put(key, zipped(body) if compression else body), Context(remaining_seconds=5))
    invocations = 1
    while store.invocations:
        task = json.loads(store.invocations.pop(0))
        assert job_of(stack, key)["state"] == "running"
        imports.run(task["job"], Context(remaining_seconds=5))
        invocations += 1
    assert invocations > 5
    job = job_of(stack, key)
    assert (job["state"], counts(job)) == ("succeeded", (12_000, 12_000, 0, 0))
    assert_projection_equals_replay(stack)


def test_line_of_an_erased_user_is_rejected(stack: Stack, store: ObjectStore) -> None:
    imported(stack, store, "imports/to-erase.ndjson", ndjson([event("erase-me@example.com")]))
    person = stack.cluster.psql("SELECT id FROM pmp.subject WHERE email_key = 'erase-me@example.com'")
    stack.cluster.psql(f"SELECT pmp.erase_user('{person}', 'tester', ARRAY[sha256('x')], now())")
    line = {**event("x@example.com"), "user": {"id": person}}
    job = imported(stack, store, "imports/erased.ndjson", ndjson([line]))
    assert counts(job) == (1, 0, 0, 1)
    assert rejects(store, job)[0]["code"] == "erased_user"


def test_housekeeping_restarts_orphans_and_fails_missing_uploads(stack: Stack, store: ObjectStore) -> None:
    from pmp import imports
    from pmp.imports import jobs

    notice = store.put("imports/left.ndjson", ndjson([event("left@example.com")]))
    item = notice["Records"][0]["s3"]["object"]  # type: ignore[index]
    left = jobs.for_object(database.connect(), BUCKET, "imports/left.ndjson", item["versionId"], item["size"])
    assert left is not None
    never = imports.create(database.connect(), {"format": "csv", "compression": "none"}, "tester")["id"]
    stack.cluster.psql("UPDATE pmp.import_job SET created_at = now() - interval '2 days' WHERE state = 'waiting'")
    imports.restart(database.connect())
    shown = imports.get(database.connect(), never)
    assert shown is not None
    assert shown["state"] == "failed"
    assert "nothing was uploaded" in shown["error"]
    # Other tests leave imports, too.
    assert {"task": "import", "job": left} in [json.loads(task) for task in store.invocations]
    imports.run(left, Context())
    assert job_of(stack, "imports/left.ndjson")["state"] == "succeeded"
