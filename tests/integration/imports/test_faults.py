"""Faults during an import: no event is lost or recorded twice, and the job reports the cause.

``PMP_FAULT_ROUNDS`` is the number of faults at random points (20 in ``make test-import-faults``).
"""

import contextlib
import json
import os
import random
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pmp import leases

from checks import object_store
from checks.object_store import Fault, ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import (
    Context,
    assert_projection_equals_replay,
    counts,
    event,
    generated,
    job_of,
    ndjson,
    zipped,
)

ROUNDS = int(os.environ.get("PMP_FAULT_ROUNDS", "4"))
ROOT = Path(__file__).parents[3]


def imported(stack: Stack, store: ObjectStore, key: str, body: bytes) -> dict[str, Any]:
    from pmp import imports

    imports.handle_notification(store.put(key, body), Context())
    return job_of(stack, key)


def started(notice: dict[str, object], lease_seconds: int = 0) -> "subprocess.Popen[bytes]":
    """Start a worker process with small batches; its lease expires at once by default, so the next need not wait."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.imports.worker_process", "200", str(lease_seconds)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'lambda'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(notice).encode())
    process.stdin.close()
    process.stdin = None
    return process


def progressed(stack: Stack, key: str, process: "subprocess.Popen[bytes]", lines: int) -> bool:
    """Wait until the job has processed ``lines`` lines (True) or the worker has ended (False)."""
    query = f"SELECT coalesce(max(lines), 0) FROM pmp.import_job WHERE object_key = '{key}'"
    while process.poll() is None:
        if int(stack.cluster.psql(query)) >= lines:
            return True
        time.sleep(0.01)
    return False


def finished(stack: Stack, key: str, notice: dict[str, object]) -> dict[str, Any]:
    """Start workers until the job has ended, as Lambda and the housekeeping do, and return the job."""
    for _ in range(10):
        process = started(notice)
        output = process.communicate()[0]
        job = job_of(stack, key)
        if job["state"] != "running":
            return job
    raise AssertionError(output.decode())


def assert_exactly_once(stack: Stack, events: list[dict[str, Any]]) -> None:
    ids = ",".join(f"'{one['id']}'" for one in events)
    assert stack.cluster.psql(f"SELECT count(*) FROM pmp.event WHERE id IN ({ids})") == str(len(events))
    assert_projection_equals_replay(stack)


@pytest.fixture
def seed() -> int:
    """Return a random number per test that names its users and events; the report of a failure shows it.

    It is large: an event of another test with the same number, or the next ones, would be skipped.
    """
    return random.SystemRandom().randrange(10**12)


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "whole"])
@pytest.mark.parametrize("compression", ["", ".gz"])
@pytest.mark.parametrize(
    "fault",
    [
        object_store.truncate(70_000),
        object_store.reset(70_000),
        object_store.stall(70_000, 1.5),
        object_store.unavailable,
    ],
    ids=["truncated", "reset", "stalled", "unavailable"],
)
def test_interrupted_s3_read_is_retried_without_loss(  # noqa: PLR0917
    stack: Stack,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
    compression: str,
    ranges: bool,
    seed: int,
) -> None:
    from pmp import objects

    monkeypatch.setattr(objects, "READ_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(store, "honours_ranges", ranges)
    body = ndjson(generated(2000, seed))
    # One fault in the read that computes the checksum, and one in the read that imports.
    store.faults = [fault, lambda *_: False, fault]
    key = f"imports/fault-{seed}{compression}"
    job = imported(stack, store, key, zipped(body) if compression else body)
    assert (job["state"], counts(job)) == ("succeeded", (2000, 2000, 0, 0))


def test_job_waits_for_the_next_invocation_while_s3_is_down(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    from pmp import imports, objects

    monkeypatch.setattr(objects, "_PAUSE_SECONDS", 0.001)
    notice = store.put(f"imports/down-{seed}", ndjson(generated(100, seed)))
    store.faults = [object_store.truncate(10)] + [object_store.unavailable] * 40
    with pytest.raises(objects.ObjectUnreadableError):
        imports.handle_notification(notice, Context())
    assert job_of(stack, f"imports/down-{seed}")["state"] == "running"
    store.faults = []
    imports.handle_notification(notice, Context())
    assert counts(job_of(stack, f"imports/down-{seed}")) == (100, 100, 0, 0)


def test_overwritten_object_is_imported_in_its_notified_version(stack: Stack, store: ObjectStore, seed: int) -> None:
    from pmp import imports

    key = f"imports/overwritten-{seed}"
    first, second = store.put(key, ndjson(generated(50, seed))), store.put(key, ndjson(generated(70, seed + 1)))
    imports.handle_notification(first, Context())
    assert counts(job_of(stack, key)) == (50, 50, 0, 0)
    imports.handle_notification(second, Context())
    assert counts(job_of(stack, key)) == (70, 70, 0, 0)


def _interrupted(change: Callable[[ObjectStore], object]) -> Fault:
    """Change the object in S3 and send only the beginning of the body, so that the rest is requested again."""

    def fault(handler: object_store.Handler, body: bytes) -> bool:
        change(handler.server)
        return object_store.truncate(70_000)(handler, body)

    return fault


@pytest.mark.parametrize(
    ("bucket", "strike"),
    [("versioned", "overwrite"), ("versioned", "delete"), ("unversioned", "overwrite"), ("unversioned", "delete")],
)
def test_object_changed_during_its_import_never_mixes_two_contents(  # noqa: PLR0917
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, seed: int, bucket: str, strike: str
) -> None:
    from pmp import imports
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LONGEST_BATCH_BYTES", 1 << 14)
    monkeypatch.setattr("pmp.imports.records._BLOCK_RECORDS", 100)
    key, events = f"imports/changed-{seed}", generated(2000, seed)
    notice = store.put(key, ndjson(events))
    if bucket == "unversioned":
        del notice["Records"][0]["s3"]["object"]["versionId"]  # type: ignore[index]

    def change(server: ObjectStore) -> None:
        if strike == "delete":
            del server.versions[key]
        else:
            server.put(key, ndjson(generated(70, seed + 1)))

    # The first read computes the checksum.
    store.faults = [lambda *_: False, _interrupted(change)]
    imports.handle_notification(notice, Context())
    job = job_of(stack, key)
    if (bucket, strike) == ("versioned", "overwrite"):
        assert (job["state"], counts(job)) == ("succeeded", (2000, 2000, 0, 0))
    else:
        assert (job["state"], job["accepted"]) == ("failed", job["lines"])
        assert 0 < job["lines"] < 2000
        assert "deleted, replaced" in job["error"]
        again = imported(stack, store, f"{key}-again", ndjson(events))
        assert counts(again) == (2000, 2000 - job["accepted"], job["accepted"], 0)
    assert_exactly_once(stack, events)


@pytest.mark.parametrize("bucket", ["versioned", "unversioned"])
def test_import_of_a_missing_object_fails_with_a_reason(
    stack: Stack, store: ObjectStore, seed: int, bucket: str
) -> None:
    from pmp import imports

    key = f"imports/gone-{seed}"
    notice = store.put(key, ndjson(generated(50, seed)))
    if bucket == "versioned":
        store.versions.clear()
    else:
        del notice["Records"][0]["s3"]["object"]["versionId"]  # type: ignore[index]
        store.put(key, b"other")
    imports.handle_notification(notice, Context())
    job = job_of(stack, key)
    assert (job["state"], counts(job)) == ("failed", (0, 0, 0, 0))
    assert "deleted, replaced" in job["error"]


def _cut(body: bytes) -> bytes:
    return body[: len(body) * 2 // 3]


def _corrupted(body: bytes) -> bytes:
    middle = len(body) * 2 // 3
    return body[:middle] + bytes(255 - byte for byte in body[middle : middle + 64]) + body[middle + 64 :]


@pytest.mark.parametrize(
    ("damage", "reason"), [(_cut, "incomplete"), (_corrupted, "corrupt"), (lambda _: b"no gzip", "CSV header")]
)
def test_damaged_gzip_fails_and_the_intact_file_completes_it(  # noqa: PLR0917
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, seed: int, damage: Any, reason: str
) -> None:
    monkeypatch.setattr("pmp.imports.containers._PIECE_BYTES", 20_000)
    events = generated(3000, seed)
    whole = zipped(ndjson(events))
    job = imported(stack, store, f"imports/damaged-{seed}.gz", damage(whole))
    assert job["state"] == "failed"
    assert reason in job["error"]
    # The fault is found before the first line is imported.
    assert counts(job) == (0, 0, 0, 0)
    again = imported(stack, store, f"imports/whole-{seed}.gz", whole)
    assert counts(again) == (3000, 3000, 0, 0)
    assert_exactly_once(stack, events)


def test_line_of_200_megabytes_is_one_reject_in_160_mib(stack: Stack, store: ObjectStore, seed: int) -> None:
    good = ndjson(generated(2, seed))
    notice = store.put(
        f"imports/long-{seed}.gz", zipped(good + b"x" * 200_000_000 + b"\n" + ndjson([event("l@e.com")]))
    )
    process = started(notice)
    peak = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max([peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))])
        time.sleep(0.02)
    job = job_of(stack, f"imports/long-{seed}.gz")
    assert (job["state"], counts(job)) == ("succeeded", (4, 3, 0, 1))
    assert "line_too_long" in store.get(f"rejects/{job['id']}.ndjson").decode()
    assert peak < 160 * 1024


def test_file_of_only_bad_lines_fails_and_one_without_lines_succeeds(
    stack: Stack, store: ObjectStore, seed: int
) -> None:
    job = imported(stack, store, f"imports/all-bad-{seed}", b"{bad\n" * 30_000)
    assert (job["state"], counts(job)) == ("failed", (30_000, 0, 0, 30_000))
    assert job["error"] == "no line was accepted; rejected: 30000 invalid_json"
    assert store.get(f"rejects/{job['id']}.ndjson").count(b"\n") == 30_000
    for name, body in (("empty", b""), ("blank", b"\n\n \n"), ("empty.gz", zipped(b"")), ("mark", b"\xef\xbb\xbf")):
        job = imported(stack, store, f"imports/{seed}-{name}", body)
        assert (job["state"], counts(job)) == ("succeeded", (0, 0, 0, 0))


def test_batch_lost_by_the_database_is_imported_again(stack: Stack, store: ObjectStore, seed: int) -> None:
    """After a failover to a lagging replica that lost commits, the worker must stop before it sends a later batch."""
    from pmp import imports
    from pmp.imports import worker

    key, events = f"imports/forgot-{seed}", generated(3000, seed)
    notice = store.put(key, ndjson(events))

    class Forgetting(Context):
        def get_remaining_time_in_millis(self) -> int:
            stack.cluster.psql(
                "UPDATE pmp.import_job SET position = 0, position_line = 0, line = 0 WHERE state = 'running'"
            )
            return 900_000

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "LONGEST_BATCH_BYTES", 1 << 14)
        patch.setattr("pmp.imports.records._BLOCK_RECORDS", 200)
        with pytest.raises(worker.BehindError):
            imports.handle_notification(notice, Forgetting())
    imports.handle_notification(notice, Context())
    assert job_of(stack, key)["state"] == "succeeded"
    assert_exactly_once(stack, events)


def test_five_concurrent_notifications_run_one_import(stack: Stack, store: ObjectStore, seed: int) -> None:
    key, events = f"imports/five-{seed}", generated(3000, seed)
    notice = store.put(key, ndjson(events))
    workers = [started(notice, lease_seconds=50) for _ in range(5)]
    outputs = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 5
    assert sum(b"import ended" in output for output in outputs) == 1
    assert stack.cluster.psql(f"SELECT count(*) FROM pmp.import_job WHERE object_key = '{key}'") == "1"
    assert counts(job_of(stack, key)) == (3000, 3000, 0, 0)
    assert_exactly_once(stack, events)


def test_concurrent_imports_of_the_same_events_record_each_once(stack: Stack, store: ObjectStore, seed: int) -> None:
    events = generated(3000, seed)
    keys = [f"imports/twin-{seed}-{number}" for number in range(2)]
    workers = [
        started(store.put(key, ndjson(events[::step])), lease_seconds=50)
        for key, step in zip(keys, (1, -1), strict=True)
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    jobs = [job_of(stack, key) for key in keys]
    assert sum(job["accepted"] for job in jobs) == 3000
    assert sum(job["skipped"] for job in jobs) == 3000
    assert_exactly_once(stack, events)


def _killed_within(process: "subprocess.Popen[bytes]", store: ObjectStore, seconds: float) -> bool:
    """Kill a worker ``seconds`` after its first read from S3; False if it had already ended."""
    before = store.reads
    while store.reads == before and process.poll() is None:
        time.sleep(0.001)
    try:
        process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True
    return False


def _may_fail(stack: Stack, key: str) -> bool:
    """Whether one more attempt without progress would fail the import of an object."""
    stalled = stack.cluster.psql(f"SELECT max(stalled) FROM pmp.import_job WHERE object_key = '{key}'")
    return int(stalled or 0) >= leases.MOST_STALLED - 1


def test_killed_worker_loses_and_repeats_no_event(stack: Stack, store: ObjectStore, seed: int) -> None:
    """Kill the workers of one file after another, until all rounds are done and a kill hit a half-imported file.

    Some attempts are killed before they got on. As many as fail an import are left out.
    """
    source, lines_when_killed, files = random.Random(seed), list[int](), 0
    while len(lines_when_killed) < ROUNDS or not any(0 < lines < 6000 for lines in lines_when_killed):
        key, events = f"imports/killed-{seed}-{files}.gz", generated(6000, seed + files)
        notice, files = store.put(key, zipped(ndjson(events))), files + 1
        while not _may_fail(stack, key) and _killed_within(started(notice), store, source.random()):
            lines_when_killed.append(job_of(stack, key)["lines"])
        job = finished(stack, key, notice)
        assert (job["state"], counts(job)) == ("succeeded", (6000, 6000, 0, 0))
        assert_exactly_once(stack, events)
    print(f"killed after lines {lines_when_killed} of {files} files")


def _restart_server(stack: Stack) -> None:
    stack.cluster.kill()
    stack.cluster.start()


def _restart_pooler(stack: Stack) -> None:
    stack.bouncer.stop()
    stack.bouncer.start()


def _cut_connections(stack: Stack) -> None:
    stack.cluster.psql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'pmp_app'")


@pytest.mark.parametrize("strike", [_restart_server, _restart_pooler, _cut_connections], ids=lambda f: f.__name__[1:])
def test_import_survives_database_outages_during_a_batch(
    stack: Stack, store: ObjectStore, seed: int, strike: Callable[[Stack], None]
) -> None:
    """Import one file after another, until an outage hit one: a worker may end before it is seen at work."""
    strikes = files = 0
    while strikes == 0:
        key, events = f"imports/{strike.__name__[1:]}-{seed}-{files}", generated(6000, seed + files)
        notice, files = store.put(key, ndjson(events)), files + 1
        process = started(notice)
        for number in range(min(ROUNDS, 5)):
            if progressed(stack, key, process, 1 + number * 1000):
                strike(stack)
                strikes += 1
        process.wait()
        job = finished(stack, key, notice) if job_of(stack, key)["state"] == "running" else job_of(stack, key)
        assert (job["state"], counts(job)) == ("succeeded", (6000, 6000, 0, 0))
        assert_exactly_once(stack, events)


class _CuttingRelay(socketserver.ThreadingTCPServer):
    """A relay in front of the pooler; cuts connection n after ``cuts[n]`` bytes from the client, later ones never."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, port: int, cuts: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _RelayHandler)
        self.port, self.cuts = port, cuts
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _RelayHandler(socketserver.BaseRequestHandler):
    server: _CuttingRelay

    def handle(self) -> None:
        left = self.server.cuts.pop(0) if self.server.cuts else sys.maxsize
        with socket.create_connection(("127.0.0.1", self.server.port)) as behind:
            threading.Thread(target=self._answers, args=(behind,), daemon=True).start()
            while left > 0 and (piece := self.request.recv(1 << 14)):
                behind.sendall(piece[:left])
                left -= len(piece)
            for end in (behind, self.request):
                end.shutdown(socket.SHUT_RDWR)

    def _answers(self, behind: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := behind.recv(1 << 14):
                self.request.sendall(piece)


def test_import_survives_a_connection_cut_during_a_batch(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    from pmp import configuration, database
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 1000)
    events = generated(6000, seed)
    # A batch is about 130 kB: cut within the first batch, then after two complete batches, then almost at once.
    with _CuttingRelay(stack.bouncer.port, [60_000, 400_000, 20_000]) as relay:
        monkeypatch.setenv("PMP_DATABASE_PORT", str(relay.server_address[1]))
        configuration.configuration.cache_clear()
        database.disconnect()
        job = imported(stack, store, f"imports/cut-{seed}", ndjson(events))
        database.disconnect()
        assert relay.cuts == []
        relay.shutdown()
    assert (job["state"], counts(job)) == ("succeeded", (6000, 6000, 0, 0))
    assert_exactly_once(stack, events)


def test_batch_whose_commit_was_not_answered_keeps_its_rejects_once(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    from pmp import database

    real = database.Connection._commit
    lost: list[bool] = []

    def commit(connection: database.Connection) -> None:
        rejects = connection.run("SELECT EXISTS (SELECT FROM pmp.import_reject)")
        real(connection)
        if rejects[0][0] and not lost:
            lost.append(True)
            raise database.LostCommitError("the answer to COMMIT is lost")

    monkeypatch.setattr(database.Connection, "_commit", commit)
    events = generated(20, seed)
    unknown = event("") | {"user": {"id": "00000000-0000-4000-8000-00000000dead"}}
    body = ndjson([*events, unknown]) + b"no JSON\n"
    job = imported(stack, store, f"imports/unanswered-{seed}", body)
    assert lost == [True]
    assert (job["state"], counts(job), job["rejects_kept"]) == ("succeeded", (22, 20, 0, 2), 2), job["error"]
    assert_exactly_once(stack, events)


@pytest.mark.parametrize("code", ["22009", "23514"])
def test_database_that_refuses_every_line_ends_the_import_at_once(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, seed: int, code: str
) -> None:
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 1000)
    monkeypatch.setattr(worker, "LONGEST_BATCH_BYTES", 1 << 18)
    events = generated(10_000, seed)
    body = ndjson(events)
    # No line is known that passes validation and is refused here, so a trigger refuses a batch.
    stack.cluster.psql(
        f"""
        CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF EXISTS (SELECT FROM pmp.import_job WHERE state = 'running' AND lines >= 3000) THEN
            RAISE EXCEPTION 'refused' USING ERRCODE = '{code}';
          END IF;
          RETURN NULL;
        END $$;
        GRANT EXECUTE ON FUNCTION public.refuse TO PUBLIC;
        CREATE TRIGGER refuse AFTER INSERT ON pmp.event FOR EACH STATEMENT EXECUTE FUNCTION public.refuse();
        """
    )
    key = f"imports/refused-{code}-{seed}"
    try:
        job = imported(stack, store, key, body)
    finally:
        stack.cluster.psql("DROP TRIGGER refuse ON pmp.event; DROP FUNCTION public.refuse();")
    assert (job["state"], job["attempts"]) == ("failed", 1)
    found = re.search(r"refuses lines from (\d+) to (\d+) \(SQLSTATE (\w+)\)", job["error"])
    assert found, job["error"]
    first, last = int(found[1]), int(found[2])
    assert (first - 1, found[3]) == (job["lines"], code)
    assert first < last <= 10_000
    assert imported(stack, store, key, body)["state"] == "succeeded"
    assert_exactly_once(stack, events)


def test_full_disk_fails_and_the_same_file_completes_the_import(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 1000)
    monkeypatch.setattr(worker, "LONGEST_BATCH_BYTES", 1 << 18)
    monkeypatch.setattr(worker, "_PAUSE_SECONDS", 0.01)
    events = generated(10_000, seed)
    body = ndjson(events)
    # Filling the disk would fill the machine's disk, so a trigger raises the error of a full disk instead.
    stack.cluster.psql(
        """
        CREATE FUNCTION public.full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF EXISTS (SELECT FROM pmp.import_job WHERE state = 'running' AND lines >= 3000) THEN
            RAISE EXCEPTION 'could not extend file "base/1/2": No space left on device' USING ERRCODE = 'disk_full';
          END IF;
          RETURN NULL;
        END $$;
        GRANT EXECUTE ON FUNCTION public.full_disk TO PUBLIC;
        CREATE TRIGGER full_disk AFTER INSERT ON pmp.event FOR EACH STATEMENT EXECUTE FUNCTION public.full_disk();
        """
    )
    try:
        job = imported(stack, store, f"imports/full-{seed}", body)
    finally:
        stack.cluster.psql("DROP TRIGGER full_disk ON pmp.event; DROP FUNCTION public.full_disk();")
    assert job["state"] == "failed"
    assert "out of disk space" in job["error"]
    assert 3000 <= job["accepted"] < 10_000
    again = imported(stack, store, f"imports/full-{seed}-again", body)
    assert counts(again) == (10_000, 10_000 - job["accepted"], job["accepted"], 0)
    assert_exactly_once(stack, events)
