"""Erasure and files: lists do not bring an erased person back, and files that hold addresses are deleted in time."""

import json
import threading
import uuid
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pmp import database, erasures, exports, housekeeping, imports, objects
from pmp.imports.lines import Batch

from checks.object_store import BUCKET, ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context, assert_projection_equals_replay, counts, event, job_of, ndjson


def imported(stack: Stack, store: ObjectStore, key: str, lines: list[dict[str, Any]]) -> dict[str, Any]:
    imports.handle_notification(store.put(key, ndjson(lines)), Context())
    job = job_of(stack, key)
    assert job["state"] == "succeeded"
    return job


def erase(stack: Stack, email: str, at: str = "clock_timestamp()") -> str:
    """Erase a user as the API does, and return the instant."""
    mark = erasures.address_hash(email).hex()
    user = stack.cluster.psql(f"SELECT id FROM pmp.subject WHERE email_key = pmp.fold_email('{email}')")
    assert stack.cluster.psql(f"SELECT pmp.erase_user('{user}', 't', ARRAY[bytea '\\x{mark}'], {at})") == "t"
    return stack.cluster.psql(f"SELECT pmp.instant(erased_at) FROM pmp.erasure WHERE user_id = '{user}'")


def users(stack: Stack, email: str) -> int:
    return int(stack.cluster.psql(f"SELECT count(*) FROM pmp.subject WHERE email_key = pmp.fold_email('{email}')"))


def new_address() -> str:
    return f"{uuid.uuid4().hex}@example.com"


# -- older lists -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_repeats", [False, True])
def test_older_list_does_not_bring_an_erased_person_back(
    stack: Stack, store: ObjectStore, *, has_repeats: bool
) -> None:
    address, other = new_address(), new_address()
    key = f"imports/{uuid.uuid4().hex}"
    line = event(address, id=str(uuid.uuid4()), occurred_at="2026-01-01T00:00:00Z")
    imported(stack, store, f"{key}-1.ndjson", [line])
    erase(stack, address)
    lines = [
        line,  # known
        {**line, "id": str(uuid.uuid4())},
        event(address.upper(), occurred_at="2026-02-01T00:00:00Z"),
        event(address, occurred_at="2026-01-01T00:00:00.5Z"),
        event(other, id=str(uuid.uuid4()), occurred_at="2026-01-01T00:00:00Z"),
    ]
    job = imported(stack, store, f"{key}-2.ndjson", lines + lines[-1:] * has_repeats)
    assert counts(job) == (5 + has_repeats, 1, int(has_repeats), 4)
    told = [json.loads(one)["rejected"] for one in store.get(job["rejects_key"]).splitlines()]
    assert {(one["code"], one["pointer"]) for one in told} == {("erased_user", "/user/email")}
    assert [one["line"] for one in told] == [1, 2, 3, 4]
    assert (users(stack, address), users(stack, other)) == (0, 1)
    assert_projection_equals_replay(stack)


def test_later_choice_or_registration_starts_anew(stack: Stack, store: ObjectStore) -> None:
    address, again = new_address(), new_address()
    key = f"imports/{uuid.uuid4().hex}"
    imported(
        stack, store, f"{key}-1.ndjson", [event(one, occurred_at="2026-01-01T00:00:00Z") for one in (address, again)]
    )
    for one in (address, again):
        erase(stack, one, "'2026-03-01T00:00:00.5Z'")
    stack.cluster.psql(f"SELECT pmp.create_user('{again}', 't')")
    lines = [
        event(address, occurred_at="2026-03-01T00:00:00.5Z"),
        event(address, occurred_at="2026-03-01T00:00:00.500001Z", enabled=False),
        event(again, occurred_at="2026-01-01T00:00:00Z"),
        event(again, enabled=False, occurred_at="2026-04-01T00:00:00Z"),
    ]
    job = imported(stack, store, f"{key}-2.ndjson", lines)
    assert counts(job) == (4, 2, 0, 2)
    told = [json.loads(one)["rejected"]["line"] for one in store.get(job["rejects_key"]).splitlines()]
    assert told == [1, 3]
    assert (users(stack, address), users(stack, again)) == (1, 1)


def test_batch_without_its_hashes_is_refused(stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a caller that forgets them would bring everybody back."""
    from pmp.imports import worker

    address = new_address()
    imported(stack, store, f"imports/{uuid.uuid4().hex}.ndjson", [event(address)])
    erase(stack, address)
    real = worker._Worker._arguments
    monkeypatch.setattr(worker._Worker, "_arguments", lambda self, batch: {**real(self, batch), "hashes": b""})
    with pytest.raises(database.DatabaseError):
        imports.handle_notification(
            store.put(f"imports/{uuid.uuid4().hex}.ndjson", ndjson([event("a@example.com")])), Context()
        )


def test_erasure_during_an_import_leaves_nothing_of_the_person(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person is on every tenth line; the erasure comes between two batches, and waits for the one under way."""
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 100)
    monkeypatch.setattr(worker, "LONGEST_BATCH_BYTES", 1)
    address = new_address()
    body = [
        event(
            address if number % 10 == 0 else f"{number % 30}.{address}",
            occurred_at="2026-01-01T00:00:00Z",
            enabled=True,
        )
        for number in range(3000)
    ]
    key = f"imports/{uuid.uuid4().hex}.ndjson"
    notice, begun, erased = store.put(key, ndjson(body)), threading.Event(), threading.Event()
    real = worker._Worker._send

    def erase_once() -> None:
        erase(stack, address)
        erased.set()

    def send(self: worker._Worker, batch: Batch, arguments: dict[str, object]) -> None:
        real(self, batch, arguments)
        if not begun.is_set() and users(stack, address):
            begun.set()
            threading.Thread(target=erase_once).start()

    monkeypatch.setattr(worker._Worker, "_send", send)
    imports.handle_notification(notice, Context())
    assert erased.wait(30)
    job = job_of(stack, key)
    assert job["state"] == "succeeded"
    assert users(stack, address) == 0
    left = "SELECT count(*) FROM pmp.current_choice JOIN pmp.subject USING (subject_key) WHERE erased_at IS NOT NULL"
    assert stack.cluster.psql(left) == "0"
    assert_projection_equals_replay(stack)


def test_erasure_waits_for_an_open_batch(stack: Stack, store: ObjectStore) -> None:
    address = new_address()
    imported(stack, store, f"imports/{uuid.uuid4().hex}.ndjson", [event(address)])
    batch = database.connect()
    batch.run("BEGIN")
    batch.run("SELECT pg_advisory_xact_lock_shared(hashtextextended('erasure', 0))")
    erasing = threading.Thread(target=erase, args=(stack, address))
    erasing.start()
    erasing.join(0.5)
    assert erasing.is_alive()
    batch.run("COMMIT")
    erasing.join(10)
    assert users(stack, address) == 0


# -- uploads and exports -----------------------------------------------------------------------------------------------


def versions(store: ObjectStore, key: str) -> list[str]:
    return [version for version, _, _ in store.versions.get(key, [])]


def test_upload_is_deleted_when_its_import_has_succeeded(stack: Stack, store: ObjectStore) -> None:
    key = f"imports/{uuid.uuid4().hex}.ndjson"
    first = store.put(key, ndjson([event(new_address())]))
    second = store.put(key, ndjson([event(new_address())]))
    imports.handle_notification(first, Context())
    # The other version still has to be imported.
    assert versions(store, key) == [second["Records"][0]["s3"]["object"]["versionId"]]  # type: ignore[index]
    imports.handle_notification(second, Context())
    assert key not in store.versions
    shown = imports.get(database.connect(), job_of(stack, key)["id"])
    assert shown is not None
    assert (shown["state"], shown["upload_kept_until"]) == ("succeeded", None)


def test_upload_of_a_failed_import_is_kept_for_seven_days(stack: Stack, store: ObjectStore) -> None:
    key = f"imports/{uuid.uuid4().hex}.ndjson.gz"
    imports.handle_notification(store.put(key, b"no gzip"), Context())
    job = job_of(stack, key)
    shown = imports.get(database.connect(), job["id"])
    assert shown is not None
    assert shown["state"] == "failed"
    assert shown["upload_kept_until"] == stack.cluster.psql(
        f"SELECT pmp.instant(finished_at + interval '7 days') FROM pmp.import_job WHERE id = '{job['id']}'"
    )
    age = f"UPDATE pmp.import_job SET finished_at = now() - interval '{{}}' WHERE id = '{job['id']}'"
    for days, left in (("6 days 23 hours", 1), ("7 days", 0)):
        stack.cluster.psql(age.format(days))
        imports.remove_uploads(database.connect(), None)
        assert len(versions(store, key)) == left
    shown = imports.get(database.connect(), job["id"])
    assert shown is not None
    assert shown["upload_kept_until"] is None


def test_upload_that_could_not_be_deleted_is_deleted_by_housekeeping(stack: Stack, store: ObjectStore) -> None:
    key = f"imports/{uuid.uuid4().hex}.ndjson"
    store.refused.add(key)
    imported(stack, store, key, [event(new_address())])
    assert len(versions(store, key)) == 1
    store.refused.clear()
    housekeeping.run(database.connect(), Context())
    assert versions(store, key) == []


def test_export_is_deleted_a_day_after_its_end(stack: Stack, store: ObjectStore) -> None:
    job = exports.create(database.connect(), {}, "t")["id"]
    exports.run(database.connect(), job, Context())
    store.put(f"exports/{job}.ndjson.gz.77", b"tail")
    store.put(f"exports/{job}.ndjson.gz", b"older version")
    shown = exports.get(database.connect(), job)
    assert shown is not None
    assert shown["download"]
    age = f"UPDATE pmp.export_job SET finished_at = now() - interval '{{}}' WHERE id = '{job}'"
    for hours, left in (("23 hours", 2), ("24 hours", 0)):
        stack.cluster.psql(age.format(hours))
        housekeeping.run(database.connect(), Context())
        assert len([key for key in store.versions if key.startswith(f"exports/{job}")]) == left
    shown = exports.get(database.connect(), job)
    assert shown is not None
    assert (shown["state"], shown["download"], shown["kept_until"]) == ("succeeded", None, None)


# -- housekeeping ------------------------------------------------------------------------------------------------------


def expired_keys(stack: Stack, count: int) -> None:
    stack.cluster.psql(
        "INSERT INTO pmp.idempotency_key (client, key, fingerprint, status, headers, body, expires_at)"
        f" SELECT 'old', n::text, '', 201, '{{}}', '', now() - interval '1 hour' FROM generate_series(1, {count}) AS n"
    )


def left_keys(stack: Stack) -> int:
    return int(stack.cluster.psql("SELECT count(*) FROM pmp.idempotency_key WHERE expires_at <= now()"))


class Short(Context):
    """Time runs short after a number of looks at it."""

    looks = 0

    def get_remaining_time_in_millis(self) -> int:
        self.looks -= 1
        return 900_000 if self.looks >= 0 else 1000


def test_housekeeping_stops_when_its_time_is_short_and_goes_on_later(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store
    monkeypatch.setattr(housekeeping, "PORTION_KEYS", 10)
    expired_keys(stack, 95)
    left = [left_keys(stack)]
    while left[-1]:
        context = Short()
        context.looks = 2
        housekeeping.run(database.connect(), context)
        left.append(left_keys(stack))
    assert left == [95, 65, 35, 5, 0]


def test_each_kind_of_housekeeping_gets_its_turn(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much there is of another kind, and although one fails."""
    monkeypatch.setattr(housekeeping, "PORTION_KEYS", 10)
    expired_keys(stack, 1000)
    key = f"imports/{uuid.uuid4().hex}.ndjson"
    store.refused.add(key)
    imported(stack, store, key, [event(new_address())])
    store.refused.clear()
    export = exports.create(database.connect(), {}, "t")["id"]
    exports.run(database.connect(), export, Context())
    stack.cluster.psql(f"UPDATE pmp.export_job SET finished_at = now() - interval '2 days' WHERE id = '{export}'")

    def fail(_connection: database.Connection) -> None:
        raise database.InterfaceError("broken")

    monkeypatch.setattr(imports, "restart", fail)
    context = Short()
    with pytest.raises(database.InterfaceError):
        housekeeping.run(database.connect(), context)
    assert left_keys(stack) == 990
    assert key not in store.versions
    assert not [one for one in store.versions if one.startswith(f"exports/{export}")]
    stack.cluster.psql("DELETE FROM pmp.idempotency_key")


def test_file_that_s3_refuses_to_delete_does_not_stop_the_rest(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmp import leases

    monkeypatch.setattr(leases, "_MOST_FILES", 1)
    keys = [f"imports/{number}-{uuid.uuid4().hex}.ndjson" for number in range(3)]
    store.refused.update(keys)
    for key in keys:
        imported(stack, store, key, [event(new_address())])
    store.refused.discard(keys[1])
    store.refused.discard(keys[2])
    housekeeping.run(database.connect(), Context())
    assert [key in store.versions for key in keys] == [True, False, False]
    store.refused.clear()


def test_stuck_jobs_do_not_keep_others_from_being_restarted(stack: Stack, store: ObjectStore) -> None:
    stack.cluster.psql(
        "INSERT INTO pmp.import_job"
        " (id, format, compression, client, bucket, object_key, object_version, state, created_at)"
        " SELECT gen_random_uuid(), 'csv', 'none', 'stuck', 'b', gen_random_uuid()::text, 'v', 'running',"
        "  now() - n * interval '1 hour' FROM generate_series(1, 25) AS n"
    )
    stuck = set(stack.cluster.psql("SELECT id FROM pmp.import_job WHERE client = 'stuck'").splitlines())
    restarted = set()
    for _ in range(4):
        store.invocations.clear()
        imports.restart(database.connect())
        restarted |= {json.loads(one)["job"] for one in store.invocations}
    assert len(stuck) == 25
    assert stuck <= restarted
    stack.cluster.psql(
        "UPDATE pmp.import_job SET state = 'failed', error = 'x', finished_at = now() WHERE state = 'running'"
    )


def test_remove_all_deletes_every_version_below_the_prefix_only(store: ObjectStore) -> None:
    for key in ("exports/a.gz", "exports/a.gz", "exports/a.gz.1", "exports/b.gz"):
        store.put(key, b"x")
    objects.remove_all(BUCKET, "exports/a.gz")
    assert list(store.versions) == ["exports/b.gz"]
    store.refused.add("exports/b")
    with pytest.raises(ClientError):
        objects.remove_all(BUCKET, "exports/b")
