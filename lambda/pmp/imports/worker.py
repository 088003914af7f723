"""The work of an import: stream the object, validate its lines, merge them in batches, hand over in time."""

import datetime as dt
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote_plus

from pmp import database, erasures, instants, leases, objects, tasks
from pmp.database import Connection
from pmp.imports import columns, form, jobs
from pmp.imports.errors import FileError
from pmp.imports.lines import Batch, Catalogue, Parser, Version
from pmp.imports.mapping import Mapped
from pmp.logging import log

LONGEST_BATCH_BYTES = 8 << 20
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.3
_EXAMINATION_RESERVE_MS = 3000
"""An invocation that has less time left while it examines a file fails the job: the next one would not get further."""

R = TypeVar("R")

_KIND = leases.Kind(
    "pmp.import_job",
    progress="'line ' || line",
    advice="upload the object again: lines already imported are skipped",
    startable="object_version IS NOT NULL",
)

_PASSING_CODES = ("40", "53", "55P03", "57014", "58")
"""SQLSTATEs, or classes of them, that may pass: conflicts, resources, locks, timeouts, the system."""


_DATA_CODES = ("22", "23")
"""Classes of SQLSTATEs that cannot pass: data exceptions and violated constraints. The same lines would fail again."""


class BehindError(Exception):
    """The database lost batches that it had committed (a failover); resume from its recorded position."""


class FailedError(Exception):
    """The job cannot succeed; the text is shown to the client."""


def handle_notification(event: dict[str, Any], context: Any) -> None:
    """Import each object that an S3 notification names; objects outside the uploads' folder are ignored.

    Raises:
        Exception: S3 or the database failed; the job keeps its position, and Lambda tries again.
    """
    for record in event.get("Records", []):
        bucket, item = record["s3"]["bucket"]["name"], record["s3"]["object"]
        key = unquote_plus(item["key"])
        if not key.startswith(jobs.UPLOAD_PREFIX) or key.endswith("/"):
            continue
        version = item.get("versionId")
        if not version or version == "null":
            version = f"etag:{item['eTag'].strip(chr(34))}"
        run(jobs.for_object(database.verified(), bucket, key, version, item.get("size")), context)


def run(job: str, context: Any) -> None:
    """Work on an import until it ends, is cancelled, or the invocation's time runs short and another one resumes it.

    Raises:
        Exception: see ``handle_notification``.
    """
    owner = str(uuid.uuid4())
    claimed = _retried(lambda connection: leases.claim(connection, _KIND, job, owner))
    if claimed is None:
        log("import is not free", job=job)
        return
    worker = _Worker(*claimed, context)
    try:
        finished = worker.work()
    except leases.LostError:
        worker.stop()
    except (FailedError, objects.ObjectGoneError, FileError) as reason:
        worker.finish("failed", str(reason))
    except Exception:
        worker.release()
        raise
    else:
        if finished:
            worker.finish("succeeded")
        else:
            worker.release()
            log("import handed over", job=job, line=worker.last_line)
            tasks.begin({"task": "import", "job": job}, context)


def restart(connection: Connection, context: Any) -> None:
    """Fail imports that have used up their invocations or got no upload, and restart those that nobody works on."""
    never_uploaded = connection.run(
        "UPDATE pmp.import_job SET state = 'failed', finished_at = clock_timestamp(),"
        " error = 'nothing was uploaded within a day; request a new import and upload to its URL'"
        " WHERE state = 'waiting' AND object_version IS NULL AND created_at < now() - interval '1 day'"
        " RETURNING id, error"
    )
    for job, error in [*never_uploaded, *leases.give_up(connection, _KIND)]:
        log("import failed", level="error", job=str(job), reason=error)
    for job in leases.orphans(connection, _KIND):
        log("import restarted", level="warning", job=job)
        tasks.begin({"task": "import", "job": job}, context)


def remove_uploads(connection: Connection, after: leases.Place | None) -> leases.Place | None:
    """Delete some uploads that nobody needs any more. Arguments and result: see ``leases.remove``.

    Each version of an object has its own import, so the last of them takes the object with it.
    """
    return leases.remove(
        connection,
        _KIND,
        "object_version IS NOT NULL AND finished_at <="
        f" CASE state WHEN 'succeeded' THEN now() ELSE now() - interval '{objects.UPLOAD_KEPT}' END",
        _remove_upload,
        after,
    )


def _remove_upload(row: dict[str, Any]) -> None:
    objects.remove_version(row["bucket"], row["object_key"], row["object_version"])


class _Worker:
    """One invocation's work on one job. It outlives its database connections: see ``_retried``.

    Args:
        lease: on the job.
        row: of ``import_job``.
        context: Lambda's context object.
    """

    def __init__(self, lease: leases.Lease, row: dict[str, Any], context: Any) -> None:
        self.job: str = row["id"]
        self.last_line: int = row["line"]
        self._lease, self._row, self._context = lease, row, context
        self._renewed = time.monotonic()

    def work(self) -> bool:
        """Resume from the job's position. True: the whole object is imported; False: it is time to hand over."""
        if self._row["object_version"] is None:
            raise FailedError("nothing was uploaded for this import")
        if self._row["form"] is None:
            self._identify()
        pending: Future[None] | None = None
        with ThreadPoolExecutor(max_workers=1) as sender:
            # While the database merges a batch, the next one is read and parsed; at most two are in memory.
            for batch in self._batches(form.Form(**self._row["form"])):
                arguments = self._arguments(batch)
                if pending is not None:
                    pending.result()
                    if tasks.is_late(self._context):
                        return False
                pending = sender.submit(self._send, arguments, batch.last_line)
            if pending is not None:
                pending.result()
        return True

    def finish(self, state: str, error: str | None = None) -> None:
        """Move the rejects to S3 and end the job."""
        key = self.publish_rejects()
        row = _retried(lambda connection: self._lease.finish(connection, state, error=error, rejects_key=key))
        if row is None:
            log("import was taken over before it ended", job=self.job)
            return
        counts = {name: row[name] for name in ("accepted", "skipped", "rejected")}
        if state == "failed":
            log("import failed", level="error", job=self.job, reason=error, **counts)
        else:
            log("import finished", job=self.job, **counts)
            self._remove_upload()
        self._forget_rejects()

    def _remove_upload(self) -> None:
        try:
            _remove_upload(self._row)
            self._run("UPDATE pmp.import_job SET removed_at = clock_timestamp() WHERE id = :job")
        except Exception as error:  # noqa: BLE001 - the import is done; housekeeping deletes its upload
            log("upload not deleted", level="warning", error=error, job=self.job)

    def stop(self) -> None:
        """After the lease was lost: if the job was cancelled, publish what it had rejected until then."""
        ((state,),) = self._run("SELECT state FROM pmp.import_job WHERE id = :job")
        log("import stopped", job=self.job, state=state)
        if state == "cancelled":
            self.publish_rejects()
            self._forget_rejects()

    def publish_rejects(self) -> str | None:
        """Write the rejected lines to S3; the object's key, or None if there are none."""
        ((some,),) = self._run("SELECT EXISTS (SELECT FROM pmp.import_reject WHERE import_id = :job)")
        if not some:
            return self._row["rejects_key"]  # type: ignore[no-any-return]
        key = f"rejects/{self.job}.ndjson"
        objects.write(self._row["bucket"], key, "application/x-ndjson", self._rejects())
        self._run("UPDATE pmp.import_job SET rejects_key = :key WHERE id = :job", key=key)
        return key

    def _forget_rejects(self) -> None:
        self._run("DELETE FROM pmp.import_reject WHERE import_id = :job")

    def release(self) -> None:
        """Give the job back, so that the next invocation need not wait until the lease expires."""
        try:
            connection = database.connect()
        except Exception as error:  # noqa: BLE001 - the lease expires by itself
            log("lease not released", level="warning", error=error, job=self.job)
        else:
            self._lease.release(connection)

    def _run(self, statement: str, **parameters: object) -> Any:
        return _retried(lambda connection: connection.run(statement, job=self.job, **parameters))

    def _rejects(self) -> Iterator[bytes]:
        after = 0
        while rows := self._run(
            "SELECT line, code, pointer, detail FROM pmp.import_reject"
            " WHERE import_id = :job AND line > :after ORDER BY line LIMIT 10000",
            after=after,
        ):
            fields = ("line", "code", "pointer", "detail")
            yield b"".join(
                json.dumps(dict(zip(fields, row, strict=True)), ensure_ascii=False).encode() + b"\n" for row in rows
            )
            after = rows[-1][0]

    def _identify(self) -> None:
        """Read the object once, to tell what it is, and to compare its SHA-256.

        It costs a second read. In return nothing is imported from a file that cannot be imported as a whole, or that is
        not the announced one.
        """
        digest, facts = hashlib.sha256(), dict[str, Any]()
        found = form.examine(
            lambda start: self._read(start, facts.update if start == 0 else None),
            lambda: facts.get("ContentLength", 0),
            delimiter=(self._row["mapping"] or {}).get("delimiter"),
            observe=digest.update,
            beat=self._check_time,
        )
        size = facts.get("ContentLength", 0)
        expected = self._row["expected_sha256"]
        if expected and digest.hexdigest() != expected:
            raise FailedError(
                f"the object's SHA-256 is {digest.hexdigest()}, but {expected} was announced; nothing was imported; "
                "upload the right file"
            )
        self._update(
            sha256=digest.hexdigest(),
            bytes_total=size,
            form=json.dumps(found.document()),
            position=found.body,
            line=found.body_line,
        )
        self._row["form"], self.last_line = found.document(), found.body_line

    def _check_time(self) -> None:
        if time.monotonic() - self._renewed < 1:
            return
        if self._context.get_remaining_time_in_millis() < _EXAMINATION_RESERVE_MS:
            raise FailedError(
                "reading the file once takes longer than an invocation lasts; nothing was imported; upload it in parts"
            )
        self._update()

    def _read(self, start: int, describe: Callable[[dict[str, Any]], None] | None = None) -> Iterator[bytes]:
        row = self._row
        return objects.read(row["bucket"], row["object_key"], row["object_version"], start=start, describe=describe)

    def _batches(self, found: form.Form) -> Iterator[Batch]:
        number, position, size = self._row["line"], self._row["position"], self._row["bytes_total"]
        count = objects.Count()

        def read(start: int) -> Iterator[bytes]:
            count.bytes_read = start
            return objects.counted(self._read(start), count)

        parser = self._parser(found)
        batch = Batch(from_position=position)
        for block in form.contents(found, read, size, position, self._renew):
            for line in block.lines:
                number += 1
                parser.add(batch, number, line)
            batch.last_line, batch.up_to_position, batch.up_to_byte = number, block.end, min(count.bytes_read, size)
            if batch.is_full or block.end - batch.from_position > LONGEST_BATCH_BYTES:
                yield batch
                batch = Batch(from_position=block.end)
        if batch.up_to_position:
            batch.up_to_byte = size
            yield batch

    def _parser(self, found: form.Form) -> Parser:
        rows = _retried(
            lambda connection: connection.run(
                "SELECT k.id, v.version, pmp.instant(v.created_at), v.version_key FROM pmp.consent AS k"
                " JOIN pmp.consent_version AS v USING (consent_key) ORDER BY v.version"
            )
        )
        versions: dict[str, list[Version]] = {}
        for consent, number, created_at, key in rows:
            versions.setdefault(consent, []).append(Version(number, instants.read(created_at)[0], key))
        catalogue, mapping = Catalogue(versions), self._row["mapping"]
        table = None
        if found.header is not None:
            read_header = columns.Table if mapping else partial(columns.of_events, catalogue=catalogue)
            table = read_header(found.header, found.delimiter)
        return Parser(
            catalogue,
            dt.datetime.now(dt.UTC),
            self._row["occurred_at"],
            table,
            mapped=Mapped(mapping, table) if mapping else None,
            address_hash=erasures.address_hash,
        )

    def _arguments(self, batch: Batch) -> dict[str, object]:
        """The parameters of ``_MERGE``."""
        return {
            "job": self.job,
            "owner": self._lease.owner,
            "seconds": leases.SECONDS,
            "start": batch.from_position,
            "line": batch.last_line,
            "position": batch.up_to_position,
            "byte": batch.up_to_byte,
            "lines": _array(map(str, batch.line_numbers)),
            "ids": _array(batch.event_ids),
            "users": _array(batch.user_ids),
            "emails": _array(batch.emails),
            "instants": _array(batch.instants),
            "fractions": _array(batch.fractions),
            "versions": _array(f'"{pair}"' for pair in batch.versions),
            "choices": _array(f'"{pair}"' for pair in batch.choices),
            "named": _array(batch.named),
            "repeats": batch.has_repeats,
            "bad": _array(str(number) for number, _ in batch.bad),
            "codes": [error.code for _, error in batch.bad],
            "pointers": [error.pointer for _, error in batch.bad],
            "details": [error.detail for _, error in batch.bad],
            "hashes": bytes(batch.address_hashes),
        }

    def _send(self, arguments: dict[str, object], last_line: int) -> None:
        try:
            # One implicit transaction: without the round trips of BEGIN and COMMIT the database does not wait.
            ((answer,),) = _retried(lambda connection: connection.run(_MERGE, **arguments))
        except database.DatabaseError as error:
            code = database.error_code(error)
            if code in {"53100", "53200"}:
                raise FailedError(
                    f"the database is out of {'disk space' if code == '53100' else 'memory'}; "
                    f"nothing after line {self.last_line} was imported; upload the object again when there is room: "
                    "lines already imported are skipped"
                ) from error
            if code.startswith(_DATA_CODES):
                raise FailedError(
                    f"the database refuses a line from {self.last_line + 1} to {last_line} (SQLSTATE {code}); nothing "
                    f"after line {self.last_line} was imported; report this with the import's id, and upload the "
                    "object again without that line: lines already imported are skipped"
                ) from error
            raise
        if answer["state"] == "behind":
            raise BehindError(
                f"import {self.job}: the database has lost committed batches; resuming from its recorded position"
            )
        if answer["state"] != "running":
            raise leases.LostError
        self.last_line = last_line
        self._renewed = time.monotonic()

    def _renew(self) -> None:
        if time.monotonic() - self._renewed > leases.SECONDS / 3:
            self._update()

    def _update(self, **columns: object) -> None:
        """Set columns of the job and renew the lease.

        Raises:
            LostError: the lease is not ours any more.
        """
        _retried(lambda connection: self._lease.renew(connection, **columns))
        self._row.update(columns)
        self._renewed = time.monotonic()


_MERGE = """
SELECT pmp.import_batch(
  :job, :owner, :seconds, :start, :line, :position, :byte,
  CAST(:lines AS bigint[]), CAST(:ids AS uuid[]), CAST(:users AS uuid[]), CAST(:emails AS text[]),
  CAST(:instants AS timestamptz[]), CAST(:fractions AS boolean[]), CAST(:versions AS text[]), CAST(:choices AS text[]),
  CAST(:named AS text[]), :repeats,
  CAST(:bad AS bigint[]), CAST(:codes AS text[]), CAST(:pointers AS text[]), CAST(:details AS text[]), :hashes
)
"""


def _array(elements: Iterable[str]) -> str:
    """An array literal, built by str.join for speed; the elements must already be quoted where necessary."""
    return "{" + ",".join(elements) + "}"


def _retried(work: Callable[[Connection], R]) -> R:
    """Call ``work`` with the connection, up to five times if its errors may pass; with a new one where it was lost.

    Everything done here may be repeated: claims and updates name the state that they expect, and a batch that was
    committed although its answer was lost is recognised by its position.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return work(database.connect())
        except Exception as error:
            code = database.error_code(error) if isinstance(error, database.DatabaseError) else ""
            if not (database.is_lost(error) or code.startswith(_PASSING_CODES)) or attempt == _ATTEMPTS - 1:
                raise
            if database.is_lost(error):
                database.disconnect()
            log("database error, trying again", level="warning", reason=str(error)[:300])
            time.sleep(_PAUSE_SECONDS * 2**attempt)
    raise AssertionError("unreachable")
