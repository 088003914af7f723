"""The work of an import: stream, validate, merge batch after batch, hand over in time, end with a reason in words."""

import datetime as dt
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import unquote_plus

from pmp import database, objects, tasks
from pmp.imports import jobs, text
from pmp.imports.lines import Batch, Catalogue, LineError, Parser
from pmp.logging import log

LEASE_SECONDS = 50
"""How long a worker that is not heard of keeps its job: less than the minute after which Lambda tries again."""

LONGEST_BATCH_BYTES = 8 << 20
_ATTEMPTS = 5
_PAUSE_SECONDS = 0.3
R = TypeVar("R")

_PASSING_CODES = ("40", "53", "55P03", "57014", "58")
"""Classes of SQLSTATE that may pass: conflicts, resources, locks, time-outs, the system."""


class StoppedError(Exception):
    """Somebody cancelled the job, or another worker has it."""


class BehindError(Exception):
    """The database stands before what it had already confirmed: begin again from its position."""


class FailedError(Exception):
    """The job cannot succeed; the message is for people."""


def handle_notification(event: dict[str, Any], context: Any) -> None:
    """An S3 notification: import each object it names. Anything outside of the uploads' folder is left alone.

    Raises:
        Exception: what may pass (S3, the database); the job keeps its position and Lambda calls again.
    """
    for record in event.get("Records", []):
        bucket, item = record["s3"]["bucket"]["name"], record["s3"]["object"]
        key = unquote_plus(item["key"])
        if not key.startswith(jobs.UPLOAD_PREFIX) or key.endswith("/"):
            continue
        version = item.get("versionId")
        if not version or version == "null":
            version = f"etag:{item['eTag'].strip(chr(34))}"
        run(jobs.for_object(bucket, key, version, item.get("size")), context)


def run(job: str, context: Any) -> None:
    """Work on an import until it ends, is cancelled, or the invocation's time runs short and another goes on.

    Raises:
        Exception: what may pass; see ``handle_notification``.
    """
    owner = str(uuid.uuid4())
    rows = _retried(
        lambda: database.connect().run(
            "SELECT pmp.claim_import(:job, :owner, :seconds)", job=job, owner=owner, seconds=LEASE_SECONDS
        )
    )
    row = rows[0][0]
    if row is None:
        log("import is not free", job=job)
        return
    worker = _Worker(row, owner, context)
    try:
        finished = worker.work()
    except StoppedError:
        worker.stop()
    except (FailedError, objects.ObjectGoneError, text.CorruptError) as reason:
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


def housekeeping(context: Any) -> None:
    """Restart imports whose worker died, give up those that never get on, and note uploads that never came."""
    connection = database.connect()
    given_up = connection.run(
        "UPDATE pmp.import_job SET state = 'failed', finished_at = clock_timestamp(), error = CASE state"
        "  WHEN 'waiting' THEN 'nothing was uploaded within a day: ask for a new import and use its address'"
        "  ELSE 'gave up after ' || attempts || ' attempts behind line ' || line || ': upload the object again,"
        " lines that are imported already are skipped' END"
        " WHERE (state = 'waiting' AND object_version IS NULL AND created_at < now() - interval '1 day')"
        "  OR (state = 'running' AND attempts >= :most AND coalesce(lease_until, '-infinity') < now())"
        " RETURNING id, error",
        most=tasks.MOST_INVOCATIONS,
    )
    for job, error in given_up:
        log("import failed", level="error", job=str(job), reason=error)
    orphans = connection.run(
        "SELECT id FROM pmp.import_job WHERE coalesce(lease_until, '-infinity') < now() AND ("
        "  state = 'running' OR (state = 'waiting' AND object_version IS NOT NULL"
        "   AND created_at < now() - interval '5 minutes'))"
        " ORDER BY created_at LIMIT 10"
    )
    for (job,) in orphans:
        log("import restarted", level="warning", job=str(job))
        tasks.begin({"task": "import", "job": str(job)}, context)


class _Worker:
    """One invocation's hold on one job.

    Args:
        row: of ``import_job``.
        owner: name of the lease.
        context: Lambda's.
    """

    def __init__(self, row: dict[str, Any], owner: str, context: Any) -> None:
        self.job: str = row["id"]
        self.last_line: int = row["line"]
        self._row, self._owner, self._context = row, owner, context
        self._renewed = time.monotonic()

    def work(self) -> bool:
        """Go on from the job's position; True when the object has been dealt with whole."""
        if self._row["object_version"] is None:
            raise FailedError("nothing was uploaded for this import")
        if self._row["sha256"] is None:
            self._identify()
        count = objects.Count()
        source = self._open(count)
        pending: Future[None] | None = None
        with ThreadPoolExecutor(max_workers=1) as sender:
            # While the database merges one batch the next is read and parsed; no third one waits in memory.
            for batch in self._batches(source, count):
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
        rows = _retried(
            lambda: database.connect().run(
                "UPDATE pmp.import_job SET state = :state, error = :error, finished_at = clock_timestamp(),"
                " rejects_key = :key, lease_owner = NULL, lease_until = NULL"
                " WHERE id = :job AND state = 'running' AND lease_owner = :owner"
                " RETURNING accepted, skipped, rejected",
                state=state,
                error=error,
                key=key,
                job=self.job,
                owner=self._owner,
            )
        )
        if not rows:
            log("import was taken over before it ended", job=self.job)
            return
        counts = dict(zip(("accepted", "skipped", "rejected"), rows[0], strict=True))
        if state == "failed":
            log("import failed", level="error", job=self.job, reason=error, **counts)
        else:
            log("import finished", job=self.job, **counts)
        database.connect().run("DELETE FROM pmp.import_reject WHERE import_id = :job", job=self.job)

    def stop(self) -> None:
        """The job is not ours any more. If it was cancelled, what it had rejected so far is still to be shown."""
        state = database.connect().run("SELECT state FROM pmp.import_job WHERE id = :job", job=self.job)[0][0]
        log("import stopped", job=self.job, state=state)
        if state == "cancelled":
            self.publish_rejects()
            database.connect().run("DELETE FROM pmp.import_reject WHERE import_id = :job", job=self.job)

    def publish_rejects(self) -> str | None:
        """Write the rejected lines to S3; its key, or None where there are none."""
        rows = database.connect().run(
            "SELECT EXISTS (SELECT FROM pmp.import_reject WHERE import_id = :job)", job=self.job
        )
        if not rows[0][0]:
            return self._row["rejects_key"]  # type: ignore[no-any-return]
        key = f"rejects/{self.job}.ndjson"
        objects.write(self._row["bucket"], key, "application/x-ndjson", self._rejects())
        database.connect().run("UPDATE pmp.import_job SET rejects_key = :key WHERE id = :job", key=key, job=self.job)
        return key

    def release(self) -> None:
        """Let go of the job, so that whoever is next need not wait for the lease to run out."""
        try:
            database.connect().run(
                "UPDATE pmp.import_job SET lease_owner = NULL, lease_until = NULL"
                " WHERE id = :job AND lease_owner = :owner",
                job=self.job,
                owner=self._owner,
            )
        except Exception as error:  # noqa: BLE001 - the lease runs out by itself
            log("lease not released", level="warning", error=error, job=self.job)

    def _rejects(self) -> Iterator[bytes]:
        after = 0
        while rows := database.connect().run(
            "SELECT line, code, pointer, detail FROM pmp.import_reject"
            " WHERE import_id = :job AND line > :after ORDER BY line LIMIT 10000",
            job=self.job,
            after=after,
        ):
            fields = ("line", "code", "pointer", "detail")
            yield b"".join(
                json.dumps(dict(zip(fields, row, strict=True)), ensure_ascii=False).encode() + b"\n" for row in rows
            )
            after = rows[-1][0]

    def _identify(self) -> None:
        """Read the object once for its SHA-256: what it is bound to, and where the ids of its lines come from.

        It costs a second read at network speed. In return nothing is written of an object that is not what was
        promised, and the same bytes give the same events however often they are uploaded.
        """
        digest, size, facts = hashlib.sha256(), 0, dict[str, Any]()
        for chunk in self._read(0, facts.update):
            digest.update(chunk)
            size += len(chunk)
            self._renew()
        expected = self._row["expected_sha256"]
        if expected and digest.hexdigest() != expected:
            raise FailedError(
                f"the object's SHA-256 is {digest.hexdigest()}, not {expected} as announced: nothing was imported; "
                "upload the right file"
            )
        uploaded_at = facts["LastModified"].astimezone(dt.UTC) if "LastModified" in facts else dt.datetime.now(dt.UTC)
        self._update(sha256=digest.hexdigest(), bytes_total=size, uploaded_at=uploaded_at.isoformat())

    def _read(self, start: int, describe: Callable[[dict[str, Any]], None] | None = None) -> Iterator[bytes]:
        row = self._row
        return objects.read(row["bucket"], row["object_key"], row["object_version"], start=start, describe=describe)

    def _open(self, count: objects.Count) -> Iterator[bytes]:
        """The text from the job's position on."""
        position = self._row["position"]
        if self._row["compression"] == "none":
            count.bytes_read = position
            if position == self._row["bytes_total"]:
                return iter(())
            return objects.counted(self._read(position), count)
        # Nobody can jump into the middle of a gzip member: what was dealt with is uncompressed once more and dropped.
        return objects.skipped(text.gunzip(objects.counted(self._read(0), count)), position, self._renew)

    def _batches(self, source: Iterator[bytes], count: objects.Count) -> Iterator[Batch]:
        number, position = self._row["line"], self._row["position"]
        parser: Parser | None = None
        batch = Batch(from_position=position)
        for block in text.blocks(source, start=position):
            lines = block.lines
            if parser is None:
                if self._row["format"] == "csv" and self._row["header"] is None:
                    while lines and not (lines[0] or b"").strip():
                        number, lines = number + 1, lines[1:]
                    if not lines:
                        continue
                    number += 1
                    self._update(header=_header(lines[0]))
                    lines = lines[1:]
                parser = self._parser()
            for line in lines:
                number += 1
                parser.add(batch, number, line)
            batch.last_line, batch.up_to_position, batch.up_to_byte = number, block.end, count.bytes_read
            if batch.is_full or block.end - batch.from_position > LONGEST_BATCH_BYTES:
                yield batch
                batch = Batch(from_position=block.end)
        if batch.up_to_position:
            batch.up_to_byte = self._row["bytes_total"]
            yield batch

    def _parser(self) -> Parser:
        rows = _retried(
            lambda: database.connect().run(
                "SELECT k.id, v.version, v.version_key FROM pmp.consent AS k JOIN pmp.consent_version AS v"
                " USING (consent_key) ORDER BY v.version"
            )
        )
        catalogue = Catalogue(
            {consent: key for consent, _, key in rows}, {(consent, version): key for consent, version, key in rows}
        )
        digest = self._row["sha256"]
        try:
            return Parser(
                catalogue,
                # Version 8 of RFC 9562: 76 bits of the digest, then the line's number.
                f"{digest[:8]}-{digest[8:12]}-8{digest[12:15]}-b{digest[15:18]}-",
                dt.datetime.fromisoformat(self._row["uploaded_at"]),
                dt.datetime.now(dt.UTC),
                self._row["header"],
            )
        except LineError as error:
            raise FailedError(f"{error.detail}: nothing was imported") from None

    def _arguments(self, batch: Batch) -> dict[str, object]:
        """Of the merge; array literals, made at the speed of str.join."""
        return {
            "job": self.job,
            "owner": self._owner,
            "seconds": LEASE_SECONDS,
            "start": batch.from_position,
            "line": batch.last_line,
            "position": batch.up_to_position,
            "byte": batch.up_to_byte,
            "lines": _array(map(str, batch.line_numbers)),
            "ids": _array(batch.event_ids),
            "users": _array(batch.user_ids),
            "emails": _array(batch.emails),
            "instants": _array(batch.instants),
            "versions": _array(f'"{pair}"' for pair in batch.versions),
            "choices": _array(f'"{pair}"' for pair in batch.choices),
            "repeats": batch.has_repeats,
            "bad": _array(str(number) for number, _ in batch.bad),
            "codes": [error.code for _, error in batch.bad],
            "pointers": [error.pointer for _, error in batch.bad],
            "details": [error.detail for _, error in batch.bad],
        }

    def _send(self, arguments: dict[str, object], last_line: int) -> None:
        try:
            # A transaction of its own, without the round trips of BEGIN and COMMIT, in which the database would idle.
            answer = _retried(lambda: database.connect().run(_MERGE, **arguments)[0][0])
        except database.DatabaseError as error:
            if database.error_code(error) in {"53100", "53200"}:
                raise FailedError(
                    f"the database is out of {'disk space' if database.error_code(error) == '53100' else 'memory'}: "
                    f"nothing behind line {self.last_line} was imported; upload the object again when there is room, "
                    "lines that are imported already are skipped"
                ) from error
            raise
        if answer["state"] == "behind":
            raise BehindError(
                f"import {self.job}: the database has lost batches that it had committed; going on from its position"
            )
        if answer["state"] != "running":
            raise StoppedError
        self.last_line = last_line
        self._renewed = time.monotonic()

    def _renew(self) -> None:
        if time.monotonic() - self._renewed > LEASE_SECONDS / 3:
            self._update()

    def _update(self, **columns: object) -> None:
        """Set columns of the job and renew the lease.

        Raises:
            StoppedError: the job is not ours any more.
        """
        settings = "".join(f", {name} = :{name}" for name in columns)
        rows = _retried(
            lambda: database.connect().run(
                "UPDATE pmp.import_job SET lease_until = clock_timestamp() + :seconds * interval '1 second'"  # noqa: S608
                f"{settings} WHERE id = :job AND lease_owner = :owner AND state = 'running' RETURNING id",
                seconds=LEASE_SECONDS,
                job=self.job,
                owner=self._owner,
                **columns,
            )
        )
        if not rows:
            raise StoppedError
        self._row.update(columns)
        self._renewed = time.monotonic()


_MERGE = """
SELECT pmp.import_batch(
  :job, :owner, :seconds, :start, :line, :position, :byte,
  CAST(:lines AS bigint[]), CAST(:ids AS uuid[]), CAST(:users AS uuid[]), CAST(:emails AS text[]),
  CAST(:instants AS timestamptz[]), CAST(:versions AS text[]), CAST(:choices AS text[]), :repeats,
  CAST(:bad AS bigint[]), CAST(:codes AS text[]), CAST(:pointers AS text[]), CAST(:details AS text[])
)
"""


def _array(elements: Iterable[str]) -> str:
    """An array literal, made at the speed of str.join; elements are quoted where they need it."""
    return "{" + ",".join(elements) + "}"


def _header(line: bytes | None) -> str:
    try:
        if line is not None:
            return line.decode()
    except UnicodeDecodeError:
        pass
    raise FailedError("the CSV header is not a line of UTF-8 text: nothing was imported")


def _retried(work: Callable[[], R]) -> R:
    """Do it again on a fresh connection while the database's trouble is of the passing kind.

    Everything done here may be repeated: claims and updates name the state they expect, and a batch that had been
    committed although its answer was lost is recognised by its position.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return work()
        except Exception as error:
            code = database.error_code(error) if isinstance(error, database.DatabaseError) else ""
            if not (database.is_lost(error) or code.startswith(_PASSING_CODES)) or attempt == _ATTEMPTS - 1:
                raise
            if database.is_lost(error):
                database.disconnect()
            log("database trouble, trying again", level="warning", reason=str(error)[:300])
            time.sleep(_PAUSE_SECONDS * 2**attempt)
    raise AssertionError("unreachable")
