"""Messages of the jobs queue: what the function does with them, and when they come back."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from functools import lru_cache
from typing import Any

import pytest
from pmp import leases, tasks
from pmp.handler import handler

from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context, counts, generated, job_of, ndjson

SOON = Context(remaining_seconds=5)
"""A context with so little time that each batch is handed over."""


def message(body: object, received: int = 1) -> dict[str, Any]:
    """Return the event in which Lambda hands a message over."""
    record = {
        "messageId": str(uuid.uuid4()),
        "receiptHandle": f"receipt {received}",
        "body": json.dumps(body),
        "attributes": {"ApproximateReceiveCount": str(received)},
        "eventSource": "aws:sqs",
    }
    return {"Records": [record]}


def test_job_ends_after_forty_hand_overs_through_the_queue(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmp import objects
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 100)
    monkeypatch.setattr(objects, "CHUNK_BYTES", 1 << 15)
    notice = store.put("imports/forty.ndjson", ndjson(generated(20_250, seed=41)))
    handler(message(notice), SOON)
    hand_overs = 0
    while store.invocations:
        body = json.loads(store.invocations.pop(0))
        hand_overs += 1
        before = job_of(stack, "imports/forty.ndjson")["lines"]
        handler(message(body), SOON)
        # Each hand-over follows progress: so their number is bounded.
        assert job_of(stack, "imports/forty.ndjson")["lines"] > before
    job = job_of(stack, "imports/forty.ndjson")
    assert (job["state"], counts(job)) == ("succeeded", (20_250, 20_250, 0, 0))
    assert hand_overs >= 40


def test_export_begins_through_the_queue(stack: Stack, store: ObjectStore) -> None:
    from pmp import database, exports

    job = exports.create(database.connect(), {}, "tester")["id"]
    (body,) = store.invocations
    assert json.loads(body) == {"task": "export", "job": job}
    handler(message(json.loads(body)), Context())
    document = exports.get(database.connect(), job)
    assert document is not None
    assert document["state"] == "succeeded"


def test_test_event_of_s3_does_nothing(store: ObjectStore) -> None:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    handler(message({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}), Context())


def test_uploader_is_known_from_the_message(stack: Stack, store: ObjectStore) -> None:
    notice = store.put("imports/who.ndjson", ndjson(generated(1, seed=43)))
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    notice["Records"][0]["userIdentity"] = {"principalId": "AWS:AROAEXAMPLE:crm"}  # type: ignore[index]
    handler(message(notice), Context())
    assert job_of(stack, "imports/who.ndjson")["uploader"] == "AWS:AROAEXAMPLE:crm"


def test_message_that_comes_twice_changes_nothing(stack: Stack, store: ObjectStore) -> None:
    notice = store.put("imports/twice.ndjson", ndjson(generated(3, seed=42)))
    handler(message(notice), Context())
    before = job_of(stack, "imports/twice.ndjson")
    handler(message(notice, received=2), Context())
    assert job_of(stack, "imports/twice.ndjson") == before


def test_fault_in_the_data_is_the_jobs_and_not_the_queues(stack: Stack, store: ObjectStore) -> None:
    handler(message(store.put("imports/faulty.csv.gz", b"no gzip")), Context())
    assert job_of(stack, "imports/faulty.csv.gz")["state"] == "failed"
    assert {seconds for _, seconds in store.hidden} == {tasks.HOLD_SECONDS}


@pytest.mark.parametrize(("received", "pause"), [(1, 60), (2, 120), (3, 240), (4, 480), (5, 900), (10, 900)])
def test_failed_message_comes_back_after_a_growing_pause(store: ObjectStore, received: int, pause: int) -> None:
    with pytest.raises(ValueError, match="unknown kind of event"):
        handler(message({"what": 1}, received), Context())
    assert store.hidden[-1] == (f"receipt {received}", pause)


def test_all_pauses_together_outlast_an_hour() -> None:
    assert sum(min(60 << min(received - 1, 4), tasks.LONGEST_PAUSE_SECONDS) for received in range(1, 10)) > 3600


def test_more_than_one_message_is_refused() -> None:
    event = message({"what": 1})
    with pytest.raises(ValueError, match="too many values"):
        handler({"Records": event["Records"] * 2}, Context())


def test_message_stays_hidden_while_the_invocation_works(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "BEAT_SECONDS", 0.05)
    began = time.monotonic()
    with tasks.held(message({})["Records"][0]):
        deadline = began + 60
        while len(store.hidden) < 4:
            assert time.monotonic() < deadline, "the heart has stopped"
            time.sleep(0.01)
    beats = len(store.hidden)
    # One at once, and then no more than one each time.
    assert beats <= 1 + (time.monotonic() - began) / tasks.BEAT_SECONDS
    assert set(store.hidden) == {("receipt 1", tasks.HOLD_SECONDS)}
    time.sleep(0.2)
    assert len(store.hidden) == beats


def test_queue_that_does_not_answer_stops_no_work(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_queue", lru_cache(lambda: None))
    with tasks.held(message({"task": "x"})["Records"][0]) as body:
        assert body == {"task": "x"}


def test_message_comes_back_only_when_the_lease_has_ended() -> None:
    """The last renewal may be committed by a statement that outlives its killed process, by 10 s at most."""
    statement_seconds = 10
    assert leases.SECONDS + statement_seconds < tasks.HOLD_SECONDS - tasks.BEAT_SECONDS
    assert tasks.HOLD_SECONDS <= 120


_KILLED = """
import json, sys
from pmp.handler import handler
from pmp.imports import worker
from tests.integration.imports.conftest import Context
worker.LARGEST_BATCH_LINES = 500
handler(json.loads(sys.stdin.read()), Context())
"""


def test_killed_job_is_taken_again_by_its_lease(stack: Stack, store: ObjectStore) -> None:
    key = "imports/killed.ndjson"
    notice = store.put(key, ndjson(generated(60_000, seed=43_000)))
    environment = os.environ | stack.environment | {"AWS_ENDPOINT_URL": store.url, "PYTHONPATH": "lambda:."}
    environment["PMP_JOBS_QUEUE_URL"] = f"{store.url}/000000000000/pmp-local-jobs"
    with subprocess.Popen([sys.executable, "-c", _KILLED], env=environment, stdin=subprocess.PIPE, text=True) as victim:
        assert victim.stdin is not None
        victim.stdin.write(json.dumps(message(notice)))
        victim.stdin.close()
        deadline = time.monotonic() + 60
        lines = f"SELECT coalesce(max(lines), 0) FROM pmp.import_job WHERE object_key = '{key}'"
        while stack.cluster.psql(lines) == "0" or not store.hidden:
            assert time.monotonic() < deadline, "the job does not get on"
            time.sleep(0.05)
        victim.send_signal(signal.SIGKILL)
    assert job_of(stack, key)["state"] == "running"
    # The last beat hid the message for so long; then the lease has ended, and the same message goes on with the job.
    assert store.hidden[-1][1] == tasks.HOLD_SECONDS
    left = stack.cluster.psql(
        f"SELECT extract(epoch FROM lease_until - clock_timestamp()) FROM pmp.import_job WHERE object_key = '{key}'"
    )
    assert float(left) < tasks.HOLD_SECONDS - tasks.BEAT_SECONDS
    stack.cluster.psql(f"UPDATE pmp.import_job SET lease_until = clock_timestamp() WHERE object_key = '{key}'")
    handler(message(notice, received=2), Context())
    job = job_of(stack, key)
    assert (job["state"], job["attempts"], counts(job)) == ("succeeded", 2, (60_000, 60_000, 0, 0))
