"""Exports: their users, their instant, and how they continue after an interruption."""

import gzip
import itertools
import json
import os
import subprocess
import sys
import time
import urllib.request
from typing import Any

import pytest
from pmp import database, exports

from checks import stack as stacks
from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context, event, ndjson


def exported(store: ObjectStore, **request: Any) -> dict[str, Any]:
    """Run an export in one invocation and return its users by email address."""
    made = exports.create(database.connect(), request, "tester")
    assert (made["state"], made["download"]) == ("waiting", None)
    task = json.loads(store.invocations.pop())
    assert task == {"task": "export", "job": made["id"]}
    exports.run(database.connect(), task["job"], Context())
    return users_of(made["id"])


def users_of(job: str) -> dict[str, Any]:
    """Return the users in the file of a finished export by email address."""
    done = exports.get(database.connect(), job)
    assert done is not None
    assert (done["state"], done["error"]) == ("succeeded", None)
    with urllib.request.urlopen(done["download"]) as answer:
        content = answer.read()
    assert done["bytes"] == len(content)
    users = [json.loads(line) for line in gzip.decompress(content).splitlines()]
    assert done["users"] == len(users)
    return {user["email"]: user for user in users}


def test_export_is_filtered_by_choice_and_instant(stack: Stack, store: ObjectStore, monkeypatch: Any) -> None:
    from pmp import imports

    monkeypatch.setattr(exports, "PAGE_USERS", 7)
    people = [event(f"export-{number}@example.com", enabled=number % 2 == 0) for number in range(20)]
    imports.handle_notification(store.put("imports/export.ndjson", ndjson(people)), Context())
    before = stack.cluster.psql("SELECT pmp.instant(clock_timestamp())")
    time.sleep(0.01)
    after = stack.cluster.psql("SELECT pmp.instant(clock_timestamp())")
    late = event("export-0@example.com", enabled=False, occurred_at=after)
    imports.handle_notification(store.put("imports/export-2.ndjson", ndjson([late])), Context())
    stack.cluster.psql(
        "SELECT pmp.erase_user(id, 'tester', ARRAY[sha256('x')], now()) FROM pmp.subject"
        " WHERE email = 'export-19@example.com'"
    )
    everybody = {e for e in exported(store) if e.startswith("export-")}
    assert everybody == {f"export-{number}@example.com" for number in range(19)}
    granted = exported(store, consent="email_notifications", enabled=True)
    assert {e for e in granted if e.startswith("export-")} == {f"export-{n}@example.com" for n in range(2, 19, 2)}
    assert granted["export-2@example.com"]["consents"] == [{"id": "email_notifications", "enabled": True}]
    assert "export-0@example.com" in exported(store, consent="email_notifications", enabled=True, as_of=before)


PEOPLE = 200


@pytest.fixture
def people(stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Create 200 users, exported in many pages and parts, and return their email addresses."""
    from pmp import objects

    monkeypatch.setattr(exports, "PAGE_USERS", 7)
    monkeypatch.setattr(objects, "PART_BYTES", 1000)
    addresses = {f"many-{number}@example.com" for number in range(PEOPLE)}
    stack.cluster.psql(
        "INSERT INTO pmp.subject (id, email, created_by)"
        " SELECT gen_random_uuid(), 'many-' || n || '@example.com', pmp.source_key('t')"
        f" FROM generate_series(0, {PEOPLE - 1}) AS n"
        " ON CONFLICT DO NOTHING"
    )
    return addresses


def new_export() -> str:
    """Create an export of all users that no invocation has claimed, and return its job id."""
    job: str = exports.create(database.connect(), {}, "tester")["id"]
    return job


def run_to_end(store: ObjectStore, job: str, context: Context | None = None) -> int:
    """Run one invocation after another until an export ends, and return the number of invocations."""
    store.invocations.clear()
    exports.run(database.connect(), job, context or Context())
    count = 1
    while store.invocations:
        assert count < 10 * PEOPLE, "the export makes no progress"  # other tests' users are exported as well
        assert json.loads(store.invocations.pop()) == {"task": "export", "job": job}
        exports.run(database.connect(), job, context or Context())
        count += 1
    return count


def checkpoint(stack: Stack, job: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        stack.cluster.psql(f"SELECT coalesce(checkpoint, '{{}}') FROM pmp.export_job WHERE id = '{job}'")
    )
    return document


def test_export_continues_in_as_many_invocations_as_it_needs(store: ObjectStore, people: set[str]) -> None:
    job = new_export()
    # Never enough time: each invocation exports a page, and hands over data too short for a part.
    assert run_to_end(store, job, Context(remaining_seconds=5)) > PEOPLE / 7
    assert people <= users_of(job).keys()
    assert not store.parts


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(("place", "remaining"), list(itertools.product(range(1, 12, 2), [5, 900])))
def test_export_resumes_from_its_checkpoint_after_a_crash(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, place: int, remaining: float
) -> None:
    job, real, left = new_export(), database.Connection.run, place

    def die(connection: database.Connection, statement: str, **parameters: Any) -> Any:
        nonlocal left
        if "SET users" in statement and (left := left - 1) == 0:
            raise database.InterfaceError("network error")
        return real(connection, statement, **parameters)

    monkeypatch.setattr(database.Connection, "run", die)
    with pytest.raises(database.InterfaceError):
        run_to_end(store, job, Context(remaining_seconds=remaining))
    before = checkpoint(stack, job)
    seen: list[exports.Place] = []
    page = exports._Export._page

    def watched(export: exports._Export) -> tuple[exports.Place | None, int, int, str]:
        seen.append(export._after)
        return page(export)

    monkeypatch.setattr(exports._Export, "_page", watched)
    run_to_end(store, job)
    assert seen[0] == before.get("after", [0])
    assert len(users_of(job)) >= PEOPLE


@pytest.mark.parametrize("fault", ["upload aborted", "part replaced", "tail deleted"])
def test_export_with_missing_parts_starts_again(stack: Stack, store: ObjectStore, people: set[str], fault: str) -> None:
    job = new_export()
    for _ in range(PEOPLE):
        exports.run(database.connect(), job, Context(remaining_seconds=5))
        if (before := checkpoint(stack, job)).get("etags") and before["tail"]:
            break
    if fault == "upload aborted":
        store.parts.clear()
    elif fault == "part replaced":
        store.parts[before["upload_id"]][1] = b"of another invocation"
    else:
        del store.versions[f"exports/{job}.ndjson.gz.{'-'.join(map(str, before['after']))}"]
    assert run_to_end(store, job) == 2
    assert people <= users_of(job).keys()


def test_invocation_that_lost_its_lease_stops(stack: Stack, store: ObjectStore, people: set[str]) -> None:
    job = new_export()

    class Taken(Context):
        def get_remaining_time_in_millis(self) -> int:
            stack.cluster.psql(f"UPDATE pmp.export_job SET lease_owner = gen_random_uuid() WHERE id = '{job}'")
            return 900_000

    exports.run(database.connect(), job, Taken())
    held = exports.get(database.connect(), job)
    assert held is not None
    assert held["state"] == "running"
    exports.run(database.connect(), job, Context())
    assert exports.get(database.connect(), job) == held
    assert not [key for key in store.versions if key.startswith(f"exports/{job}")]
    stack.cluster.psql(f"UPDATE pmp.export_job SET lease_until = now() - interval '1 second' WHERE id = '{job}'")
    run_to_end(store, job)
    assert people <= users_of(job).keys()


def test_housekeeping_resumes_orphans_and_fails_exhausted_exports(
    stack: Stack, store: ObjectStore, people: set[str]
) -> None:
    lost, young, died, held, hopeless = (new_export() for _ in range(5))
    for job, columns in {
        lost: "created_at = now() - interval '6 minutes'",
        died: "state = 'running', lease_until = now() - interval '1 second'",
        held: "state = 'running', lease_until = now() + interval '1 minute'",
        hopeless: "state = 'running', attempts = 1000, users = 3",
    }.items():
        stack.cluster.psql(f"UPDATE pmp.export_job SET {columns} WHERE id = '{job}'")
    store.invocations.clear()
    exports.restart(database.connect())
    asked = [json.loads(task)["job"] for task in store.invocations]
    assert set(asked) & {lost, young, died, held, hopeless} == {lost, died}
    given_up = exports.get(database.connect(), hopeless)
    assert given_up is not None
    assert (given_up["state"], given_up["error"]) == (
        "failed",
        "gave up at user 3 after 1000 attempts; request a new export",
    )


def test_export_memory_does_not_grow_with_the_number_of_users(store: ObjectStore) -> None:
    peaks = []
    with stacks.stack() as own:
        for total in (20_000, 160_000):
            own.cluster.psql(
                "INSERT INTO pmp.subject (id, email, created_by)"
                " SELECT gen_random_uuid(), md5(n::text) || '@example.com', pmp.source_key('t')"
                f" FROM generate_series((SELECT count(*) FROM pmp.subject) + 1, {total}) AS n"
            )
            command = [sys.executable, "-m", "tests.integration.imports.export_process", str(1 << 18)]
            environment = os.environ | own.environment | {"PYTHONPATH": "lambda"}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            state, users, peak = done.stdout.splitlines()[-1].split()
            assert (state, int(users)) == ("succeeded", total)
            peaks.append(float(peak))
    assert peaks[1] < peaks[0] + 5, peaks
