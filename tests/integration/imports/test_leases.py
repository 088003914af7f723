"""The lease on an import or export job: one invocation holds it, and another can take it over when it expires."""

import uuid
from collections.abc import Callable

import pytest
from pmp import database, exports, imports, leases
from pmp.imports import worker

from checks.object_store import ObjectStore
from checks.stack import Stack


def _export() -> str:
    job: str = exports.create(database.connect(), {}, "tester")["id"]
    return job


def _import() -> str:
    job: str = imports.create(database.connect(), {"format": "csv", "compression": "none"}, "tester")["id"]
    return job


@pytest.fixture(params=[(exports._KIND, _export), (worker._KIND, _import)], ids=["export", "import"])
def waiting(
    request: pytest.FixtureRequest, stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> tuple[leases.Kind, str]:
    """Return the kind and the id of a job that no invocation has claimed."""
    kind: leases.Kind
    create: Callable[[], str]
    kind, create = request.param
    return kind, create()


def claimed(kind: leases.Kind, job: str) -> leases.Lease | None:
    found = leases.claim(database.connect(), kind, job, str(uuid.uuid4()))
    return found[0] if found else None


def expire(stack: Stack, kind: leases.Kind, job: str) -> None:
    stack.cluster.psql(f"UPDATE {kind.table} SET lease_until = now() - interval '1 second' WHERE id = '{job}'")


def test_only_one_invocation_holds_a_job_until_it_releases_it(waiting: tuple[leases.Kind, str]) -> None:
    connection, first = database.connect(), claimed(*waiting)
    assert first is not None
    assert claimed(*waiting) is None
    first.renew(connection)
    first.release(connection)
    assert claimed(*waiting) is not None


def test_former_lease_owner_cannot_change_the_job(waiting: tuple[leases.Kind, str], stack: Stack) -> None:
    connection, first = database.connect(), claimed(*waiting)
    assert first is not None
    expire(stack, *waiting)
    second = claimed(*waiting)
    assert second is not None
    with pytest.raises(leases.LostError):
        first.renew(connection, started_at=None)
    assert first.finish(connection, "failed", error="late") is None
    first.release(connection)
    second.renew(connection)
    row = second.finish(connection, "succeeded")
    assert row is not None
    assert (row["state"], row["lease_owner"], row["attempts"], row["error"]) == ("succeeded", None, 2, None)
    with pytest.raises(leases.LostError):
        second.renew(connection)
    assert claimed(*waiting) is None


def test_job_without_attempts_left_is_given_up_after_its_lease(waiting: tuple[leases.Kind, str], stack: Stack) -> None:
    kind, job = waiting
    assert claimed(kind, job) is not None
    stack.cluster.psql(f"UPDATE {kind.table} SET attempts = 1000 WHERE id = '{job}'")
    assert job not in dict(leases.give_up(database.connect(), kind))
    expire(stack, kind, job)
    assert job in leases.orphans(database.connect(), kind)
    given_up = dict(leases.give_up(database.connect(), kind))
    assert given_up[job].startswith("gave up at ")
    assert "0 after 1000 attempts; " in given_up[job]
    assert job not in leases.orphans(database.connect(), kind)
