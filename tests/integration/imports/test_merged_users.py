"""Imports, dry runs and lists of hashes by the names of a user who was merged into another."""

import uuid
from typing import Any

import pytest
from pmp import database

from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.api.test_concurrency import under_way
from tests.integration.imports.conftest import assert_projection_equals_replay, counts, event, ndjson
from tests.integration.imports.test_suppressions import digest, listed, suppressed
from tests.integration.imports.test_trials import COUNTS, ran, told

EMAIL = "email_notifications"


def user(address: str) -> str:
    ((found,),) = database.connect().run("SELECT pmp.create_user(:address, 't') ->> 'id'", address=address)
    return str(found)


def pair() -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the ids and the addresses of two users."""
    addresses = f"{uuid.uuid4().hex}@example.com", f"{uuid.uuid4().hex}@example.com"
    return (user(addresses[0]), user(addresses[1])), addresses


def merge(ids: tuple[str, str]) -> None:
    told(f"SELECT pmp.merge_users('{ids[0]}', '{ids[1]}', 't')::text")


def choice(identifier: str) -> Any:
    return told(f"SELECT pmp.get_user('{identifier}') -> 'consents'")


def test_lines_of_either_name_are_the_remaining_users(stack: Stack, store: ObjectStore) -> None:
    ids, addresses = pair()
    before = [
        event(addresses[1], id=str(uuid.uuid4()), occurred_at="2026-01-01T00:00:00Z"),
        event(addresses[0], id=str(uuid.uuid4()), enabled=False, occurred_at="2026-01-02T00:00:00Z"),
    ]
    assert counts(ran(store, ndjson(before))) == (2, 2, 0, 0)
    merge(ids)
    late = [
        *before,  # known
        {**before[0], "user": {"email": addresses[0]}},  # known under the other name
        {**before[0], "user": {"id": ids[0]}},
        {**event(addresses[1]), "user": {"id": ids[1]}, "occurred_at": "2026-01-03T00:00:00Z"},
        event(addresses[1].upper(), enabled=False, occurred_at="2026-01-04T00:00:00Z"),
    ]
    trial = ran(store, ndjson(late), dry_run=True)
    job = ran(store, ndjson(late))
    assert {name: trial[name] for name in COUNTS} == {name: job[name] for name in COUNTS}
    assert counts(job) == (6, 2, 4, 0)
    assert (job["opted_in"], job["opted_out"], job["unchanged"], job["new_users"]) == (1, 1, 0, 0)
    assert choice(ids[0]) == choice(ids[1]) == [{"id": EMAIL, "enabled": False}]
    conflict = ran(store, ndjson([{**before[0], "consents": [{"id": EMAIL, "enabled": False}]}]))
    assert conflict["reasons"] == {"event_conflict": 1}
    assert_projection_equals_replay(stack)


def test_list_of_hashes_finds_the_remaining_user(stack: Stack, store: ObjectStore) -> None:
    ids, addresses = pair()
    merge(ids)
    ran(store, ndjson([event(addresses[0], occurred_at="2026-01-01T00:00:00Z")]))
    job = suppressed(store, listed(digest(addresses[1])))
    assert counts(job) == (1, 1, 0, 0)
    assert choice(ids[0]) == [{"id": EMAIL, "enabled": False}]
    assert_projection_equals_replay(stack)


def test_batch_that_waits_for_a_merge_adds_to_the_remaining_user(stack: Stack, store: ObjectStore) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from time import sleep

    ids, addresses = pair()
    statement = "SELECT pmp.merge_users(:one, :two, 't')"
    with ThreadPoolExecutor(1) as pool, under_way(statement, one=ids[0], two=ids[1]) as first:
        job = pool.submit(ran, store, ndjson([event(addresses[1])]))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while stack.cluster.psql(waiting) == "0":
            assert not job.done()
            sleep(0.05)
        first.run("COMMIT")
        assert counts(job.result(timeout=30)) == (1, 1, 0, 0)
    assert choice(ids[0]) == [{"id": EMAIL, "enabled": True}]
    assert_projection_equals_replay(stack)


pytestmark = pytest.mark.usefixtures("store")
