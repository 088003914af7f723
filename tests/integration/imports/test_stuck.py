"""Jobs that cannot get on: one line does not keep a file from being imported, and no job runs for days."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pmp import database, exports, imports, leases, objects
from pmp.imports import worker
from pmp.imports.lines import Batch

from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import (
    Context,
    announced,
    assert_projection_equals_replay,
    counts,
    event,
    generated,
    job_of,
    ndjson,
)


@pytest.fixture
def refusing(stack: Stack) -> Iterator[None]:
    """Make the database refuse choices of one address: no line is known that passes validation and is refused here."""
    stack.cluster.psql(
        """
        CREATE FUNCTION public.refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF EXISTS (
            SELECT FROM pmp.subject AS s WHERE s.subject_key = NEW.subject_key AND s.email_key LIKE 'poison%'
          ) THEN
            RAISE EXCEPTION 'refused' USING ERRCODE = '22009';
          END IF;
          RETURN NULL;
        END $$;
        GRANT EXECUTE ON FUNCTION public.refuse_poison TO PUBLIC;
        CREATE TRIGGER refuse_poison AFTER INSERT ON pmp.event FOR EACH ROW EXECUTE FUNCTION public.refuse_poison();
        """
    )
    yield
    stack.cluster.psql("DROP TRIGGER refuse_poison ON pmp.event; DROP FUNCTION public.refuse_poison();")


@pytest.mark.usefixtures("refusing")
def test_line_that_the_database_refuses_is_rejected_and_the_others_are_imported(
    stack: Stack, store: ObjectStore
) -> None:
    events = generated(700, seed=uuid.uuid4().int % 10**12)
    for place in (0, 333, 699):
        events[place]["user"] = {"email": f"poison.{uuid.uuid4().hex}@example.com"}
    job = announced(stack, store, ndjson(events[:200]) + b"{bad\n" + ndjson(events[200:]))
    assert (job["state"], counts(job)) == ("succeeded", (701, 697, 0, 4))
    assert job["reasons"] == {"refused": 3, "invalid_json": 1}
    found = [
        json.loads(line)
        for line in store.get(job["rejects_key"]).splitlines()
        if b"{bad" not in line and not line.endswith(b"bad")
    ]
    assert [one["rejected"]["line"] for one in found] == [1, 335, 701]
    assert all("SQLSTATE 22009" in one["rejected"]["detail"] for one in found)
    assert stack.cluster.psql("SELECT count(*) FROM pmp.subject WHERE email_key LIKE 'poison%'") == "0"
    assert_projection_equals_replay(stack)


def broken(*_: object, **__: object) -> Any:
    raise objects.ObjectUnreadableError("S3 is out of order")


def test_import_without_progress_fails_in_words_after_three_attempts(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"imports/{uuid.uuid4().hex}.ndjson"
    notice = store.put(key, ndjson([event("stuck@example.com")]))
    with monkeypatch.context() as patch:
        patch.setattr(objects, "read", broken)
        for attempt in (1, 2):
            with pytest.raises(objects.ObjectUnreadableError):
                imports.handle_notification(notice, Context())
            shown = imports.get(database.connect(), job_of(stack, key)["id"])
            assert shown is not None
            assert (shown["state"], shown["attempts"]) == ("running", attempt)
            assert shown["last_error"] == "ObjectUnreadableError: S3 is out of order"
        imports.handle_notification(notice, Context())
    job = job_of(stack, key)
    assert (job["state"], job["attempts"]) == ("failed", 3)
    assert job["error"].startswith(
        "made no progress after line 0 in 3 attempts: ObjectUnreadableError: S3 is out of order;"
    )


def test_import_that_gets_on_may_fail_often(stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    from pmp.imports import worker

    monkeypatch.setattr(worker, "LARGEST_BATCH_LINES", 100)
    monkeypatch.setattr("pmp.imports.records._BLOCK_RECORDS", 100)
    key, seed = f"imports/{uuid.uuid4().hex}.ndjson", uuid.uuid4().int % 10**12
    notice, real, sent = store.put(key, ndjson(generated(700, seed))), worker._Worker._send, list[int]()

    def send(self: worker._Worker, batch: Batch, arguments: dict[str, object]) -> None:
        real(self, batch, arguments)
        sent.append(batch.last_line)
        if len(sent) < 6:
            raise objects.ObjectUnreadableError("S3 is out of order")

    monkeypatch.setattr(worker._Worker, "_send", send)
    for _ in range(5):
        with pytest.raises(objects.ObjectUnreadableError):
            imports.handle_notification(notice, Context())
    imports.handle_notification(notice, Context())
    job = job_of(stack, key)
    assert (job["state"], job["attempts"], counts(job)) == ("succeeded", 6, (700, 700, 0, 0))


@pytest.mark.parametrize("kind", ["import", "export"])
def test_job_whose_invocations_are_killed_fails_in_words(stack: Stack, store: ObjectStore, kind: str) -> None:
    """They can say nothing themselves."""
    if kind == "import":
        key = f"imports/{uuid.uuid4().hex}.ndjson"
        item = store.put(key, b"{}\n")["Records"][0]["s3"]["object"]  # type: ignore[index]
        from pmp.imports import jobs

        job = str(jobs.for_object(database.connect(), "b", key, item["versionId"], item["size"]))
        kind_of_job = worker._KIND
    else:
        job, kind_of_job = exports.create(database.connect(), {}, "t")["id"], exports._KIND
    for _ in range(3):
        assert leases.claim(database.connect(), kind_of_job, job, str(uuid.uuid4())) is not None
        stack.cluster.psql(f"UPDATE {kind_of_job.table} SET lease_until = now() - interval '1 s' WHERE id = '{job}'")
    if kind == "import":
        imports.run(job, Context())
    else:
        exports.run(database.connect(), job, Context())
    state, error = stack.cluster.psql(f"SELECT state, error FROM {kind_of_job.table} WHERE id = '{job}'").split("|")
    assert state == "failed"
    assert "in 3 attempts: each was killed, or ran out of time or memory" in error


def test_ten_stuck_jobs_do_not_starve_an_eleventh(stack: Stack, store: ObjectStore) -> None:
    stuck = [f"imports/{uuid.uuid4().hex}" for _ in range(10)]
    for key in stuck:
        stack.cluster.psql(
            "INSERT INTO pmp.import_job (id, format, compression, client, bucket, object_key, object_version, state,"
            f" stalled, created_at) VALUES (gen_random_uuid(), 'csv', 'none', 'stalled', 'b', '{key}', 'v',"
            " 'running', 3, now() - interval '3 hours')"
        )
    key = f"imports/{uuid.uuid4().hex}.ndjson"
    notice = store.put(key, ndjson([event("honest@example.com")]))
    item = notice["Records"][0]["s3"]["object"]  # type: ignore[index]
    from pmp.imports import jobs

    honest = jobs.for_object(database.connect(), "b", key, item["versionId"], item["size"])
    stack.cluster.psql(f"UPDATE pmp.import_job SET created_at = now() - interval '1 hour' WHERE id = '{honest}'")
    imports.restart(database.connect())
    assert honest in [json.loads(one)["job"] for one in store.invocations]
    assert stack.cluster.psql("SELECT DISTINCT state FROM pmp.import_job WHERE client = 'stalled'").split() == [
        "failed"
    ]
