"""Fixtures of the import tests: the real database stack, a small S3, and a fake Lambda context."""

import gzip
import json
import random
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from checks import stack as stacks
from checks.object_store import ObjectStore


@dataclass
class Context:
    """The part of Lambda's context that the worker uses."""

    remaining_seconds: float = 900
    aws_request_id: str = "test"

    def get_remaining_time_in_millis(self) -> int:
        return int(self.remaining_seconds * 1000)


@pytest.fixture(scope="session")
def stack() -> Iterator[stacks.Stack]:
    # A killed server must keep its commits, as RDS does. The tests never cut the power of the machine itself.
    with stacks.stack(settings=stacks.CALM | {"synchronous_commit": "on", "full_page_writes": "on"}) as running:
        yield running


@pytest.fixture(scope="module")
def own_stack() -> Iterator[stacks.Stack]:
    """A record that only one file's tests write to: they count what is in it."""
    with stacks.stack(settings=stacks.CALM) as running:
        yield running


@pytest.fixture
def store(stack: stacks.Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """Start an empty S3, and point the function's modules at it and at the stack."""
    from pmp import database

    store = ObjectStore()
    for name, value in (stack.environment | {"AWS_ENDPOINT_URL": store.url, "AWS_DEFAULT_REGION": "eu-west-1"}).items():
        monkeypatch.setenv(name, value)
    stacks.forget()
    yield store
    database.disconnect()
    store.shutdown()
    store.server_close()
    stacks.forget()


def event(email: str, *, enabled: bool = True, consent: str = "email_notifications", **fields: Any) -> dict[str, Any]:
    """Return a line; ``occurred_at=None`` for one that tells no instant."""
    choice = {"id": consent, "enabled": enabled}
    return {"user": {"email": email}, "consents": [choice], "occurred_at": "2026-02-01T00:00:00.5Z", **fields}


def announced(stack: stacks.Stack, store: ObjectStore, body: bytes, **request: Any) -> dict[str, Any]:
    """Announce an import by the API, upload its file, run it, and return the row of its job."""
    from pmp import database, imports

    made = imports.create(
        database.connect(), {"format": "ndjson", "compression": "none", "dry_run": False, **request}, "tester"
    )
    key = stack.cluster.psql(f"SELECT object_key FROM pmp.import_job WHERE id = '{made['id']}'")
    imports.handle_notification(store.put(key, body), Context())
    return job_of(stack, key)


def generated(count: int, seed: int = 1, users: int | None = None) -> list[dict[str, Any]]:
    """Return ``count`` reproducible events with ids, for users named after the seed."""
    source = random.Random(seed)
    people = users or max(1, count // 3)
    return [
        {
            "id": str(uuid.UUID(int=source.getrandbits(128), version=4)),
            "user": {"email": f"user{source.randrange(people)}.{seed}@example.com"},
            "consents": [
                {"id": consent, "enabled": source.random() < 0.5}
                for consent in source.choice((["email_notifications"], ["sms_notifications", "email_notifications"]))
            ],
            "occurred_at": f"2025-0{source.randrange(1, 10)}-1{source.randrange(10)}T10:00:{source.randrange(60):02}Z",
        }
        for _ in range(count)
    ]


def ndjson(events: Iterable[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


def zipped(body: bytes) -> bytes:
    return gzip.compress(body, 1)


def job_of(stack: stacks.Stack, key: str) -> dict[str, Any]:
    """Return the row of an object's newest import job, and check that its counts add up."""
    row = stack.cluster.psql(
        f"SELECT to_jsonb(j) FROM pmp.import_job AS j WHERE object_key = '{key}' ORDER BY created_at DESC LIMIT 1"
    )
    job: dict[str, Any] = json.loads(row)
    assert job["accepted"] + job["skipped"] + job["rejected"] == job["lines"]
    return job


def counts(job: dict[str, Any]) -> tuple[int, int, int, int]:
    return job["lines"], job["accepted"], job["skipped"], job["rejected"]


def assert_projection_equals_replay(stack: stacks.Stack) -> None:
    """Assert that the projection and a replay of the events hold the same choices for all users."""
    differences = stack.cluster.psql(
        """
        WITH replayed AS (
          SELECT r.* FROM pmp.subject AS s CROSS JOIN LATERAL pmp.replay(s.subject_key) AS r WHERE s.erased_at IS NULL
        )
        SELECT count(*) FROM (
          (SELECT * FROM replayed EXCEPT SELECT * FROM pmp.current_choice)
          UNION ALL (SELECT * FROM pmp.current_choice EXCEPT SELECT * FROM replayed)
        ) AS difference
        """
    )
    assert differences == "0"
