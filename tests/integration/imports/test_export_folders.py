"""Exports as folders of files by day: their days, their size, interruptions, and their end."""

import gzip
import itertools
import json
from collections import Counter
from typing import Any

import pytest
from pmp import database, export_files, exports, housekeeping, objects

from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context
from tests.integration.imports.test_data_exports import exported, read

PEOPLE = 150
DAYS = 40


@pytest.fixture
def stack(own_stack: Stack) -> Stack:
    return own_stack


@pytest.fixture(autouse=True)
def people(stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make users whose events were received on 40 days, in the order of the feed but for a few."""
    monkeypatch.setattr(exports, "PAGE_USERS", 7)
    monkeypatch.setattr(export_files, "FILE_BYTES", 1)  # a page fills a file
    if stack.cluster.psql("SELECT count(*) FROM pmp.subject WHERE email LIKE 'folder-%'") != "0":
        return
    stack.cluster.psql(
        "INSERT INTO pmp.subject (id, email, created_by, created_at)"
        " SELECT gen_random_uuid(), 'folder-' || n || '@example.com', pmp.source_key('t'), '2025-01-01'"
        f" FROM generate_series(0, {PEOPLE - 1}) AS n;"
        "INSERT INTO pmp.event (id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction,"
        "  versions, enabled)"
        " SELECT gen_random_uuid(), subject_key, '2025-01-01', timestamptz '2025-03-01T23:59:59.5Z'"
        f"  + (n * {DAYS} / {PEOPLE} + CASE WHEN n % 50 = 0 THEN 1 ELSE 0 END) * interval '1 day',"
        "  created_by, true, true, '{1}', '{t}'"
        " FROM (SELECT *, substr(split_part(email, '@', 1), 8)::integer AS n FROM pmp.subject"
        "  WHERE email LIKE 'folder-%') AS s ORDER BY n"
    )


def addresses(store: ObjectStore, job: str) -> Counter[str]:
    """Return how often each user is in the files of a folder, whether it is complete or not."""
    found: Counter[str] = Counter()
    for key, versions in store.versions.items():
        if key.startswith(f"exports/{job}/date="):
            for line in gzip.decompress(versions[-1][1]).splitlines():
                one = json.loads(line)
                found[one["email"] if "email" in one else one["user"]["email"]] += 1
    return found


def test_event_is_in_the_folder_of_the_day_on_which_it_was_received(store: ObjectStore) -> None:
    done, text = exported(store, contents="events", partitioned=True)
    assert text.count(b'"folder-') == PEOPLE
    days = set()
    for one in done["files"]:
        lines = [json.loads(line) for line in gzip.decompress(read(one["download"])).splitlines()]
        assert {line["received_at"][:10] for line in lines} == {one["date"]}
        days |= {one["date"]} if b"folder-" in gzip.decompress(store.get(one["key"])) else set()
    assert len(days) == DAYS
    # All are in the order of the feed within a day.
    assert done["resume"] is not None


def test_state_is_in_the_folder_of_its_day(store: ObjectStore) -> None:
    for contents in ("users", "choices"):
        done, text = exported(store, contents=contents, partitioned=True, as_of="2025-12-31T23:30:00-01:00")
        assert {one["date"] for one in done["files"]} == {"2026-01-01"}
        assert len(done["files"]) > PEOPLE / 7
        assert max(one["lines"] for one in done["files"]) <= 7
        assert text.count(b'"folder-') == PEOPLE


def test_folder_without_lines_is_complete(store: ObjectStore) -> None:
    done, text = exported(
        store, partitioned=True, format="csv", as_of="2000-01-01T00:00:00Z", consent="x", enabled=True
    )
    assert (text, done["files"], done["lines"]) == (b"", [], 0)
    assert f"exports/{done['id']}/_SUCCESS" in store.versions


class Killed(BaseException):
    """The invocation ended without another statement."""


def until_killed(job: str, remaining: float) -> None:
    while True:
        exports.run(database.connect(), job, Context(remaining_seconds=remaining))


@pytest.mark.parametrize(("place", "remaining"), list(itertools.product((1, 2, 5, 9, 14), (5, 900))))
def test_folder_is_whole_after_a_kill_at_any_request(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, stack: Stack, place: int, remaining: float
) -> None:
    """What was written before the checkpoint is written again, although pages are of another size then."""
    job, real, left = (
        exports.create(database.connect(), {"contents": "events", "partitioned": True}, "t")["id"],
        *(
            objects.put_new,
            place,
        ),
    )

    def die(*arguments: Any) -> str | None:
        nonlocal left
        version = real(*arguments)
        if (left := left - 1) == 0:
            raise Killed
        return version

    monkeypatch.setattr(objects, "put_new", die)
    with pytest.raises(Killed):
        until_killed(job, remaining)
    before = addresses(store, job)
    assert before
    assert f"exports/{job}/_SUCCESS" not in store.versions
    stack.cluster.psql(f"UPDATE pmp.export_job SET lease_until = now() WHERE id = '{job}'")
    monkeypatch.setattr(exports, "FIRST_PAGE_USERS", 3)
    exports.run(database.connect(), job, Context())
    found = addresses(store, job)
    assert {found[f"folder-{number}@example.com"] for number in range(PEOPLE)} == {1}
    done = exports.get(database.connect(), job)
    assert done is not None
    assert (done["state"], done["lines"]) == ("succeeded", found.total())
    assert {key for key in store.versions if key.startswith(f"exports/{job}/date=")} == {
        one["key"] for one in json.loads(read(done["download"]))["files"]
    }


def test_invocation_that_lost_its_lease_leaves_no_file(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one of its own, nor one in place of its successor's."""
    job, real = exports.create(database.connect(), {"partitioned": True}, "t")["id"], objects.put_new
    puts: list[str | None] = []

    def overtaken(bucket: str, key: str, body: bytes, content_type: str) -> str | None:
        version = real(bucket, key, body, content_type)
        puts.append(version)
        if len(puts) == 2:
            stack.cluster.psql(f"UPDATE pmp.export_job SET lease_owner = NULL, lease_until = now() WHERE id = '{job}'")
            exports.run(database.connect(), job, Context())
            # As if it had written only now.
            assert real(bucket, key, body, content_type) is None
        return version

    monkeypatch.setattr(objects, "put_new", overtaken)
    exports.run(database.connect(), job, Context())
    done = exports.get(database.connect(), job)
    assert done is not None
    assert done["state"] == "succeeded"
    assert puts[2] is None, "the successor found the file"
    assert {addresses(store, job)[f"folder-{number}@example.com"] for number in range(PEOPLE)} == {1}


def test_deleted_folder_leaves_nothing(store: ObjectStore, stack: Stack) -> None:
    kept, _ = exported(store, partitioned=True)
    job = exports.create(database.connect(), {"contents": "choices", "partitioned": True}, "t")["id"]
    exports.run(database.connect(), job, Context(remaining_seconds=5))
    assert addresses(store, job)
    exports.delete(database.connect(), job, "t")
    assert not [key for key in store.versions if key.startswith(f"exports/{job}")]
    stack.cluster.psql(f"UPDATE pmp.export_job SET finished_at = now() - interval '25 hours' WHERE id = '{kept['id']}'")
    housekeeping.run(database.connect(), Context())
    assert not [key for key in store.versions if key.startswith(f"exports/{kept['id']}")]
    gone = exports.get(database.connect(), kept["id"])
    assert gone is not None
    assert (gone["location"], gone["download"], gone["files"]) == (None, None, None)
