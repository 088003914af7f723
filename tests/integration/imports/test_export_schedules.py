"""Daily exports by schedule: their days, what a missed day costs, and what a failed export does."""

import datetime as dt
import itertools
import json
from typing import Any

import pytest
from pmp import database, export_schedules, exports, objects
from pmp.handler import handler

from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context, event, generated, ndjson
from tests.integration.imports.test_data_exports import imported

NOW = dt.datetime.now(dt.UTC)
NEXT = (NOW + dt.timedelta(hours=12)).strftime("%H:%M")
"""A time of day that does not come while the tests run; it came last up to half a day before."""


@pytest.fixture
def stack(own_stack: Stack) -> Stack:
    return own_stack


def fire(store: ObjectStore, name: str, contents: str, at: str | None = None) -> list[dict[str, Any]]:
    """Deliver a schedule's event, run the exports that it made, and return them from the first day on."""
    schedule = {"name": name, "contents": contents, "format": "ndjson", "folder": f"data/{name}", "at": at or NEXT}
    handler({"task": "scheduled_export", "schedule": schedule}, Context())
    jobs = [json.loads(task)["job"] for task in store.invocations]
    store.invocations.clear()
    for job in jobs:
        exports.run(database.connect(), job, Context())
    made = [exports.get(database.connect(), job) for job in jobs]
    return [one for one in made if one is not None]


def due(stack: Stack, name: str) -> list[str]:
    return stack.cluster.psql(
        "SELECT pmp.instant(due_at) FROM pmp.export_job"
        f" WHERE schedule = '{name}' AND state = 'succeeded' ORDER BY due_at"
    ).splitlines()


def back(stack: Stack, name: str, days: int) -> None:
    """Make all exports of a schedule some days older."""
    stack.cluster.psql(f"UPDATE pmp.export_job SET due_at = due_at - interval '{days} days' WHERE schedule = '{name}'")


def test_state_is_exported_once_a_day_into_the_folder_of_the_schedule(stack: Stack, store: ObjectStore) -> None:
    stack.cluster.psql(
        "INSERT INTO pmp.subject (id, email, created_by) VALUES"
        " (gen_random_uuid(), 'daily@example.com', pmp.source_key('t')) ON CONFLICT DO NOTHING"
    )
    (one,) = fire(store, "state", "users")
    assert (one["state"], one["schedule"], one["partitioned"]) == ("succeeded", "state", True)
    moment = dt.datetime.fromisoformat(one["as_of"])
    assert (moment.strftime("%H:%M"), one["known_at"]) == (NEXT, one["as_of"])
    assert dt.timedelta() < NOW - moment < dt.timedelta(days=1)
    folder = f"exports/scheduled/data/state/export={one['id']}/"
    assert one["location"].endswith(f"/{folder}")
    assert f"{folder}_SUCCESS" in store.versions
    kept = dt.datetime.fromisoformat(one["kept_until"]) - dt.datetime.fromisoformat(one["finished_at"])
    assert kept == dt.timedelta(days=7)
    assert fire(store, "state", "users") == []
    listed, _ = exports.list_jobs(database.connect(), None, 100)
    assert [job["schedule"] for job in listed if job["id"] == one["id"]] == ["state"]


def test_missed_days_are_made_up_with_their_own_state(stack: Stack, store: ObjectStore) -> None:
    fire(store, "missed", "choices")
    back(stack, "missed", 3)
    made = fire(store, "missed", "choices")
    moments = [dt.datetime.fromisoformat(one["as_of"]) for one in made]
    assert [later - earlier for earlier, later in itertools.pairwise(moments)] == [dt.timedelta(days=1)] * 2
    assert len(due(stack, "missed")) == 4
    back(stack, "missed", 60)
    assert len(fire(store, "missed", "choices")) == export_schedules.MOST_MADE_UP


def test_export_of_events_begins_where_the_last_successful_one_ended(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(store, "imports/scheduled-1.ndjson", ndjson(generated(10, seed=91)))
    store.invocations.clear()
    (first,) = fire(store, "feed", "events")
    assert first["as_of"] is None
    back(stack, "feed", 1)
    imported(store, "imports/scheduled-2.ndjson", ndjson(generated(7, seed=92)))
    with monkeypatch.context() as broken:
        broken.setattr(objects, "put_new", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fire(store, "feed", "events")
    # It has not ended: nobody knows where the next one would begin.
    assert fire(store, "feed", "events") == []
    stack.cluster.psql(
        "UPDATE pmp.export_job SET state = 'failed', error = 'x', finished_at = now(), lease_until = NULL"
        " WHERE schedule = 'feed' AND state = 'running'"
    )
    imported(store, "imports/scheduled-3.ndjson", ndjson(generated(5, seed=93)))
    back(stack, "feed", 2)
    (second,) = fire(store, "feed", "events")
    assert (second["state"], second["lines"]) == ("succeeded", 12)
    back(stack, "feed", 1)
    (third,) = fire(store, "feed", "events")
    assert (third["lines"], third["resume"]) == (0, second["resume"])


def test_day_whose_export_failed_is_made_again(stack: Stack, store: ObjectStore) -> None:
    imported(store, "imports/again.ndjson", ndjson([event("again@example.com")]))
    (one,) = fire(store, "again", "users")
    stack.cluster.psql(f"UPDATE pmp.export_job SET state = 'failed', error = 'x' WHERE id = '{one['id']}'")
    (other,) = fire(store, "again", "users")
    assert (other["as_of"], other["state"]) == (one["as_of"], "succeeded")


@pytest.mark.parametrize(
    ("now", "latest"),
    [
        ("2026-03-01T02:30:00", "2026-03-01"),
        ("2026-03-01T02:29:30", "2026-03-01"),
        ("2026-03-01T02:28:00", "2026-02-28"),
    ],
)
def test_clock_that_is_a_little_behind_the_scheduler_takes_the_same_day(now: str, latest: str) -> None:
    found = export_schedules._latest("02:30", dt.datetime.fromisoformat(f"{now}+00:00"))
    assert found.isoformat() == f"{latest}T02:30:00+00:00"
