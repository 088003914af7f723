"""Exports for a data team: choices and events that an import reads again, changes since a place, list and deletion."""

import gzip
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from pmp import database, exports, imports, leases, objects

from checks import stack as stacks
from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context, event, generated, job_of, ndjson


def exported(store: ObjectStore, after: tuple[int, int] = (0, 0), **request: Any) -> tuple[dict[str, Any], bytes]:
    """Run an export to its end and return it with its text."""
    job = exports.create(database.connect(), request, "tester", after)["id"]
    while store.invocations:
        exports.run(database.connect(), json.loads(store.invocations.pop())["job"], Context())
    done = exports.get(database.connect(), job)
    assert done is not None
    assert (done["state"], done["error"]) == ("succeeded", None)
    with urllib.request.urlopen(done["download"]) as answer:
        content = gzip.decompress(answer.read())
    assert done["lines"] == len(content.splitlines())
    return done, content


def imported(store: ObjectStore, key: str, body: bytes) -> None:
    imports.handle_notification(store.put(key, body), Context())


def choices(stack: Stack, like: str) -> dict[str, Any]:
    """Return the choices in effect by address: consent, answer, version and the instant from which they count."""
    return {
        row.split("|")[0]: row.split("|")[1]
        for row in stack.cluster.psql(
            "SELECT s.email, jsonb_agg(jsonb_build_array(k.id, c.enabled, v.version, c.counts_at) ORDER BY k.id)"
            " FROM pmp.current_choice AS c JOIN pmp.subject AS s USING (subject_key)"
            " JOIN pmp.consent_version AS v USING (version_key) JOIN pmp.consent AS k ON k.consent_key = v.consent_key"
            f" WHERE s.email LIKE '{like}' GROUP BY s.email"
        ).splitlines()
    }


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Start a second, empty record."""
    with stacks.stack() as running:
        yield running


def use(stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the function at another record; the objects stay."""
    from pmp import configuration

    for name, value in (stack.environment | {"AWS_ENDPOINT_URL": store.url}).items():
        monkeypatch.setenv(name, value)
    configuration.configuration.cache_clear()
    database.tls.cache_clear()
    database.disconnect()


@pytest.mark.parametrize("contents", ["choices", "events"])
def test_what_was_exported_can_be_imported_into_an_empty_record(
    stack: Stack, other: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, contents: str
) -> None:
    monkeypatch.setattr(exports, "PAGE_USERS", 20)
    lines = [
        *generated(300, seed=81),
        # A denial without a fraction counts at the end of its second, and one from the future at its receipt.
        event("edge.81@example.com", enabled=False, occurred_at="2025-05-05T10:00:00Z"),
        event("edge.81@example.com", enabled=True, occurred_at="2025-05-05T10:00:00.5Z"),
        event("future.81@example.com", occurred_at=stack.cluster.psql("SELECT pmp.instant(now() + interval '2 min')")),
        event("erased.81@example.com"),
    ]
    imported(store, f"imports/{contents}-source.ndjson", ndjson(lines))
    stack.cluster.psql(
        "SELECT pmp.erase_user(id, 'tester', sha256('x'), now()) FROM pmp.subject WHERE email = 'erased.81@example.com'"
    )
    here = choices(stack, "%.81@example.com")
    assert len(here) > 50
    _, text = exported(store, contents=contents)
    assert b"erased.81" not in text
    wanted = b"".join(line + b"\n" for line in text.splitlines() if b".81@example.com" in line)

    use(other, store, monkeypatch)
    key = f"imports/{contents}-again.ndjson"
    imported(store, key, wanted)
    job = job_of(other, key)
    assert (job["state"], job["rejected"]) == ("succeeded", 0)
    assert choices(other, "%.81@example.com") == here
    # A second time changes nothing.
    imported(store, f"imports/{contents}-twice.ndjson", wanted)
    assert job_of(other, f"imports/{contents}-twice.ndjson")["accepted"] == 0


def test_line_of_a_choice_says_version_instant_and_source(stack: Stack, store: ObjectStore) -> None:
    told = "2025-03-01T10:00:00Z"
    imported(store, "imports/said.ndjson", ndjson([event("said@example.com", occurred_at=told)]))
    _, text = exported(store, contents="choices")
    (line,) = [json.loads(one) for one in text.splitlines() if b'"said@example.com"' in one]
    person = stack.cluster.psql("SELECT id FROM pmp.subject WHERE email = 'said@example.com'")
    assert line.pop("received_at") > told
    assert line == {
        "user": {"email": "said@example.com"},
        "user_id": person,
        "consents": [{"id": "email_notifications", "enabled": True, "version": 1}],
        "occurred_at": told,
        "source": f"import:{job_of(stack, 'imports/said.ndjson')['id']}",
    }


def test_export_of_events_continues_where_the_last_one_ended(stack: Stack, store: ObjectStore) -> None:
    imported(store, "imports/first.ndjson", ndjson(generated(20, seed=82)))
    first, text = exported(store, contents="events")
    assert text.count(b".82@example.com") == 20
    imported(store, "imports/second.ndjson", ndjson(generated(5, seed=83)))
    second, text = exported(store, contents="events", after=tuple(first["resume"]))
    assert (second["lines"], text.count(b".83@example.com")) == (5, 5)
    third, text = exported(store, contents="events", after=tuple(second["resume"]))
    assert (third["lines"], third["resume"]) == (0, second["resume"])


def test_who_continues_an_export_of_events_misses_none(stack: Stack, store: ObjectStore) -> None:
    """Neither those received by a server whose clock ran ahead, nor those that a limit leaves out."""
    start, _ = exported(store, contents="events")
    address = "ahead@example.com"
    imported(store, "imports/ahead.ndjson", ndjson([event(address, occurred_at="2025-01-01T00:00:00.5Z")]))
    stack.cluster.psql(
        "INSERT INTO pmp.event"
        " (id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, versions, enabled)"
        " SELECT gen_random_uuid(), subject_key, '2024-01-01', now() + interval '1 hour', created_by, true, true,"
        f" '{{1}}', '{{t}}' FROM pmp.subject WHERE email = '{address}'"
    )
    whole, text = exported(store, contents="events", after=tuple(start["resume"]))
    assert (whole["as_of"], whole["known_at"], text.count(address.encode())) == (None, None, 2)
    for limit in ("as_of", "known_at"):
        limited, _ = exported(store, contents="events", after=tuple(start["resume"]), **{limit: "2024-06-01T00:00:00Z"})
        assert (limited["resume"], limited[limit]) == (None, "2024-06-01T00:00:00.000000Z")


def test_export_of_events_as_of_two_instants(stack: Stack, store: ObjectStore) -> None:
    old, new = "2025-01-01T00:00:00.5Z", "2025-06-01T00:00:00.5Z"
    lines = [event("times@example.com", occurred_at=old), event("times@example.com", enabled=False, occurred_at=new)]
    before = stack.cluster.psql("SELECT pmp.instant(clock_timestamp())")
    imported(store, "imports/times.ndjson", ndjson(lines))
    for contents, found in (("events", 1), ("choices", 1)):
        _, text = exported(store, contents=contents, as_of="2025-03-01T00:00:00Z")
        assert text.count(b"times@example.com") == found
        assert b'"times@example.com"}, "user_id"' in text or old[:10].encode() in text
        _, text = exported(store, contents=contents, known_at=before)
        assert b"times@example.com" not in text


def test_deleted_export_has_no_file_and_stays_listed(stack: Stack, store: ObjectStore) -> None:
    done, _ = exported(store)
    key = f"exports/{done['id']}.ndjson.gz"
    assert key in store.versions
    after = exports.delete(database.connect(), done["id"], "tester")
    assert after is not None
    assert (after["state"], after["download"], after["kept_until"]) == ("succeeded", None, None)
    assert key not in store.versions
    listed, _ = exports.list_jobs(database.connect(), None, 100)
    assert done["id"] in [one["id"] for one in listed]
    assert all("download" not in one for one in listed)


def test_running_export_that_is_deleted_leaves_nothing(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not if it is deleted between the end of its upload and the end of the job."""
    job = exports.create(database.connect(), {}, "tester")["id"]
    store.invocations.clear()
    finish = objects.Upload.finish

    def finish_late(upload: objects.Upload, body: bytes) -> None:
        finish(upload, body)
        exports.delete(database.connect(), job, "tester")
        # As if the deletion had come just before the upload's end.
        finish(objects.Upload(upload.bucket, upload.key, "application/gzip"), body)

    monkeypatch.setattr(objects.Upload, "finish", finish_late)
    exports.run(database.connect(), job, Context())
    document = exports.get(database.connect(), job)
    assert document is not None
    assert (document["state"], document["download"]) == ("cancelled", None)
    assert f"exports/{job}.ndjson.gz" not in store.versions
    assert leases.claim(database.connect(), exports._KIND, job, "00000000-0000-4000-8000-000000000001") is None
