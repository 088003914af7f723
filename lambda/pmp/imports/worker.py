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

from pmp import database, erasures, instants, leases, objects, portions, tasks
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.imports import columns, folders, form, jobs, rejects, trials
from pmp.imports.errors import FileError, LineError
from pmp.imports.lines import Batch, Catalogue, Parser, Version
from pmp.imports.mapping import Mapped
from pmp.logging import log

LONGEST_BATCH_BYTES = 8 << 20
LARGEST_BATCH_LINES = 20_000
LARGEST_BATCH_WEIGHT = 60_000
"""Lines and choices together: a choice costs the database about as much as a line."""

LEAST_BATCH_WEIGHT = 6_000
"""Of the first batch, before it is known how fast the database is."""

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
    worked_on="parts IS NULL",
)

_PASSING_CODES = ("40", "53", "55P03", "57014", "58")
"""SQLSTATEs, or classes of them, that may pass: conflicts, resources, locks, timeouts, the system. A batch that took
too long is not repeated but divided."""


_DATA_CODES = ("22", "23")
"""Classes of SQLSTATEs that cannot pass: data exceptions and violated constraints. The same lines would fail again."""

_MOST_REFUSED = 100
"""Lines of a batch that the database may refuse; if it refuses more, something else is wrong."""

_FULL = {"53100": "disk space", "53200": "memory"}
"""SQLSTATEs of a database that has run out of something."""


class BehindError(Exception):
    """The database lost batches that it had committed (a failover); resume from its recorded position."""


class FailedError(Exception):
    """The job cannot succeed; the text is shown to the client."""


class _TrialError(Exception):
    """Rolls back what was only tried."""


def handle_notification(event: dict[str, Any], context: Any) -> None:
    """Import each object that an S3 notification names, and complete the folders that a marker names.

    Objects of another bucket, outside the uploads' folder, or that are not data are ignored.

    Raises:
        Exception: S3 or the database failed; the job keeps its position, and Lambda tries again.
    """
    for record in event.get("Records", []):
        bucket, item = record["s3"]["bucket"]["name"], record["s3"]["object"]
        key = unquote_plus(item["key"])
        if bucket != configuration().imports_bucket:
            # S3 never sends it; whoever may invoke the function could, and jobs would take their files from there.
            log("notification of another bucket is ignored", level="warning", bucket=bucket)
            continue
        if not key.startswith(jobs.UPLOAD_PREFIX) or key.endswith("/"):
            continue
        # The log names the version: people put names and addresses into the names of files.
        version = objects.version_of(item.get("versionId"), item["eTag"])
        uploader = record.get("userIdentity", {}).get("principalId")
        if folders.is_marker(key):
            made = folders.close(database.verified(), bucket, key, uploader)
            log("folder complete", version=version, imports=made)
            continue
        if not folders.is_data(key):
            log("object is not imported by itself", version=version)
            continue
        job = jobs.for_object(database.verified(), bucket, key, version, item.get("size"), uploader)
        if job is None:
            log("upload that no import waits for is deleted", level="warning", version=version)
            objects.remove_version(bucket, key, version)
        else:
            run(job, context)


def run(job: str, context: Any) -> None:
    """Work on an import until it ends, is cancelled, or the invocation's time runs short and another one resumes it.

    Raises:
        Exception: see ``handle_notification``.
    """
    owner = str(uuid.uuid4())
    claimed = _retried(lambda connection: leases.claim(connection, _KIND, job, owner))
    if claimed is None:
        if not _retried(lambda connection: folders.begin(connection, job)):
            log("import is not free", job=job)
        return
    worker = _Worker(*claimed, context)
    try:
        worker.require_progress()
        finished = worker.work()
        if finished:
            worker.require_accepted()
    except leases.LostError:
        worker.stop()
    except (FailedError, objects.ObjectGoneError, FileError) as reason:
        worker.finish("failed", str(reason))
    except Exception as error:
        if worker.stalled < leases.MOST_STALLED:
            worker.release(error)
            raise
        log(f"{worker.what} gave up", level="error", error=error, job=job)
        worker.finish("failed", leases.stalled_error(_KIND, f"line {worker.last_line}", leases.told(error)))
    else:
        if finished:
            worker.finish("succeeded")
        else:
            worker.release()
            log(f"{worker.what} handed over", job=job, line=worker.last_line)
            tasks.begin({"task": "import", "job": job})


def restart(connection: Connection) -> None:
    """Fail imports that have used up their invocations or got no upload, and restart those that nobody works on."""
    never_uploaded = connection.run(
        "UPDATE pmp.import_job SET state = 'failed', finished_at = clock_timestamp(),"
        " error = 'nothing was uploaded within a day; request a new import and upload to its URL'"
        " WHERE state = 'waiting' AND object_version IS NULL AND created_at < now() - interval '1 day'"
        " RETURNING id"
    )
    given_up = leases.give_up(connection, _KIND)
    jobs.log_end(connection, [*(str(job) for (job,) in never_uploaded), *(job for job, _ in given_up)])
    for job in leases.orphans(connection, _KIND):
        log("import restarted", level="warning", job=job)
        tasks.begin({"task": "import", "job": job})
    jobs.settle(connection)


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


def remove_rejects(connection: Connection, after: leases.Place | None) -> leases.Place | None:
    """Delete some files of rejected lines whose time is over. Arguments and result: see ``leases.remove``."""
    return leases.remove(
        connection,
        _KIND,
        f"rejects_kept > 0 AND finished_at <= now() - interval '{objects.UPLOAD_KEPT}'",
        lambda row: objects.remove_all(row["bucket"], f"rejects/{row['id']}."),
        after,
        column="rejects_removed_at",
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
        self.stalled: int = row["stalled"]
        self._lease, self._row, self._context = lease, row, context
        self._renewed = time.monotonic()
        self._portion = portions.Portion(LEAST_BATCH_WEIGHT, LARGEST_BATCH_WEIGHT)
        self.what = jobs.what(row["dry_run"])
        self._rejects = rejects.File(row, self._run)
        self._preview = trials.Preview(row)
        self._catalogue = Catalogue({})

    def work(self) -> bool:
        """Resume from the job's position. True: the whole object is imported; False: it is time to hand over."""
        if self._row["object_version"] is None:
            raise FailedError("nothing was uploaded for this import")
        if self._row["form"] is None:
            self._identify()
        self._rejects.resume()
        self._preview.resume(self._run)
        pending: Future[None] | None = None
        with ThreadPoolExecutor(max_workers=1) as sender:
            # While the database merges a batch, the next one is read and parsed; at most two are in memory.
            for batch in self._batches(form.Form(**self._row["form"])):
                arguments = self._arguments(batch)
                if pending is not None:
                    pending.result()
                    if tasks.is_late(self._context):
                        return False
                pending = sender.submit(self._send, batch, arguments)
            if pending is not None:
                pending.result()
        return True

    def require_progress(self) -> None:
        """Raise FailedError if the job got nowhere in its last attempts, which may all have been killed."""
        if self.stalled > leases.MOST_STALLED:
            reason = self._row["last_error"] or leases.KILLED
            raise FailedError(leases.stalled_error(_KIND, f"line {self.last_line}", reason))

    def require_accepted(self) -> None:
        """Raise FailedError if every line of the file was rejected."""
        ((accepted, skipped, reasons),) = self._run(
            "SELECT accepted, skipped, reasons FROM pmp.import_job WHERE id = :job"
        )
        if reasons and not accepted and not skipped:
            raise FailedError(f"no line was accepted; rejected: {rejects.told(reasons)}")

    def finish(self, state: str, error: str | None = None) -> None:
        """Move the rejects to S3 and end the job."""
        self._rejects.complete()
        row = _retried(lambda connection: self._lease.finish(connection, state, error=error))
        if row is None:
            log(f"{self.what} was taken over before it ended", job=self.job)
            return
        if row["parent_id"] is not None:
            _retried(lambda connection: jobs.settle(connection, row["parent_id"]))
        _retried(lambda connection: jobs.log_end(connection, [self.job]))
        if state != "failed":
            self._remove_upload()
        self._remove_trial()

    def _remove_trial(self) -> None:
        """Delete what a dry run has accepted; housekeeping deletes what is left."""
        after = trials.Place(self.job) if self._row["dry_run"] else None
        try:
            while after is not None:
                after = _retried(partial(trials.remove, after=after))
                if tasks.is_late(self._context):
                    break
        except Exception as error:  # noqa: BLE001 - see above
            log("dry run not deleted", level="warning", error=error, job=self.job)

    def _remove_upload(self) -> None:
        try:
            _remove_upload(self._row)
            self._run("UPDATE pmp.import_job SET removed_at = clock_timestamp() WHERE id = :job")
        except Exception as error:  # noqa: BLE001 - the import is done; housekeeping deletes its upload
            log("upload not deleted", level="warning", error=error, job=self.job)

    def stop(self) -> None:
        """After the lease was lost: if the job was cancelled, publish what it had rejected until then."""
        ((state,),) = self._run("SELECT state FROM pmp.import_job WHERE id = :job")
        log(f"{self.what} stopped", job=self.job, state=state)
        if state == "cancelled":
            self._rejects.complete()
            self._remove_trial()

    def release(self, reason: Exception | None = None) -> None:
        """Give the job back, so that the next invocation need not wait until the lease expires.

        Args:
            reason: why this invocation failed; None if it did not.
        """
        try:
            connection = database.connect()
        except Exception as error:  # noqa: BLE001 - the lease expires by itself
            log("lease not released", level="warning", error=error, job=self.job)
        else:
            self._lease.release(connection, reason)

    def _run(self, statement: str, **parameters: object) -> Any:
        return _retried(lambda connection: connection.run(statement, job=self.job, **parameters))

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
            position_line=found.body_line,
            line=found.body_line,
            stalled=0,
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
        number, position, size = self._row["position_line"], self._row["position"], self._row["bytes_total"]
        done: int = self._row["line"]
        count = objects.Count()

        def read(start: int) -> Iterator[bytes]:
            count.bytes_read = start
            return objects.counted(self._read(start), count)

        parser = self._parser(found)
        batch = Batch(from_position=position, from_line=done)
        for block in form.contents(found, read, size, position, self._renew):
            for line in block.lines:
                number += 1
                if number > done:
                    parser.add(batch, number, line)
            batch.last_line, batch.up_to_position, batch.up_to_position_line = number, block.end, number
            batch.up_to_byte = min(count.bytes_read, size)
            if (
                len(batch.line_numbers) + len(batch.bad) >= LARGEST_BATCH_LINES
                or batch.weight >= self._portion.size
                or block.end - batch.from_position > LONGEST_BATCH_BYTES
            ):
                yield batch
                batch = Batch(from_position=block.end, from_line=number)
        if batch.last_line > done and batch.up_to_position:
            batch.up_to_byte = size
            yield batch

    def _parser(self, found: form.Form) -> Parser:
        rows = _retried(
            lambda connection: connection.run(
                "SELECT k.id, v.version, pmp.instant(v.created_at), v.version_key,"
                " coalesce(jsonb_path_query_array(v.allowed_values, '$[*].id'), '[]'), v.multiple,"
                " k.retired_at IS NOT NULL"
                " FROM pmp.consent AS k"
                " JOIN pmp.consent_version AS v USING (consent_key) ORDER BY v.version"
            )
        )
        versions: dict[str, list[Version]] = {}
        retired = {consent for consent, *_, is_retired in rows if is_retired}
        for consent, number, created_at, *others, _ in rows:
            versions.setdefault(consent, []).append(Version(number, instants.read(created_at)[0], *others))
        self._catalogue, mapping = Catalogue(versions, retired), self._row["mapping"]
        table = None
        if found.header is not None:
            read_header = columns.Table if mapping else partial(columns.of_events, catalogue=self._catalogue)
            table = read_header(found.header, found.delimiter)
        return Parser(
            self._catalogue,
            dt.datetime.now(dt.UTC),
            self._row["occurred_at"],
            table,
            mapped=Mapped(mapping, table, is_dated=self._row["occurred_at"] is not None) if mapping else None,
            address_hash=erasures.address_hash,
        )

    def _arguments(self, batch: Batch) -> dict[str, object]:
        """The parameters of ``_MERGE``."""
        return {
            "job": self.job,
            "owner": self._lease.owner,
            "seconds": leases.SECONDS,
            "start": batch.from_line,
            "line": batch.last_line,
            "position": batch.up_to_position,
            "position_line": batch.up_to_position_line,
            "byte": batch.up_to_byte,
            "lines": _array(map(str, batch.line_numbers)),
            "ids": _array(batch.event_ids),
            "users": _array(batch.user_ids),
            "emails": _array(batch.emails),
            "instants": _array(batch.instants),
            "fractions": _array(batch.fractions),
            "versions": _array(f'"{pair}"' for pair in batch.versions),
            "choices": _array(f'"{pair}"' for pair in batch.choices),
            "chosen": _array(batch.chosen) if batch.has_values else "{}",
            "named": _array(batch.named),
            "contexts": _array(batch.contexts) if batch.has_contexts else "{}",
            "repeats": batch.has_repeats,
            "codes": [error.code for _, error, _ in batch.bad],
            "hashes": bytes(batch.address_hashes),
        }

    def _send(self, batch: Batch, arguments: dict[str, object]) -> None:
        """Merge a batch, in parts if it takes the database too long.

        Raises:
            FailedError: the database refuses many lines, or is full; or too many lines were rejected.
            BehindError, LostError: see there.
            TooSlowError: a single line took too long.
        """
        waiting = [batch]
        while waiting:
            part = waiting.pop()
            if not self._portion.fits(part.weight) and len(parts := part.parts()) > 1:
                waiting += reversed(parts)
                continue
            began = time.monotonic()
            try:
                self._send_part(part, arguments if part is batch else self._arguments(part))
            except portions.TooSlowError as error:
                self._portion.halve(part.weight)
                parts = part.parts()
                if len(parts) == 1:
                    raise
                log("batch took too long", level="warning", job=self.job, lines=len(part.line_numbers), reason=error)
                waiting += reversed(parts)
            else:
                self._portion.adapt(part.weight, time.monotonic() - began)

    def _send_part(self, batch: Batch, arguments: dict[str, object]) -> None:
        """Merge a batch. A line that the database refuses becomes a reject; the others are imported."""
        try:
            self._merge(batch, arguments)
        except database.DatabaseError as error:
            if not database.error_code(error).startswith(_DATA_CODES):
                raise
            refused = self._refused(batch)
            if not refused:
                raise FailedError(self._refusal(batch, database.error_code(error))) from error
            log("database refused lines", level="error", job=self.job, lines=len(refused), error=error)
            rest = batch.without(refused)
            self._merge(rest, self._arguments(rest))

    def _merge(self, batch: Batch, arguments: dict[str, object]) -> None:
        answer, *kept = _retried(lambda connection: self._merged(connection, batch, arguments))
        if answer["state"] == "behind":
            raise BehindError(
                f"import {self.job}: the database has lost committed batches; resuming from its recorded position"
            )
        if answer["state"] != "running":
            raise leases.LostError
        self.last_line, self.stalled = batch.last_line, 0
        self._renewed = time.monotonic()
        # Not within the batch: two imports would wait for each other, one for a row and one for the table.
        _retried(lambda connection: connection.run("SELECT pmp.analyze_grown()"))
        self._rejects.kept(*kept)
        most = self._row["max_rejected"]
        if most is not None and answer["rejected"] > most:
            raise FailedError(
                f"{answer['rejected']} lines were rejected, and max_rejected is {most}; nothing after line "
                f"{batch.last_line} was imported; correct the rejected ones and upload the file again: lines already "
                "imported are skipped"
            )

    def _merged(
        self, connection: Connection, batch: Batch, arguments: dict[str, object], *, on_trial: bool = False
    ) -> tuple[Any, int, int]:
        """Merge a batch and keep its rejected lines, in one transaction; on trial, nothing is kept.

        Returns:
            The answer of ``pmp.import_batch``, and how many rejected lines were kept, in how many bytes.
        """
        with portions.told(), connection.transaction(pipelined=True):
            try:
                ((answer,),) = connection.run(_MERGE, **arguments)
            except database.DatabaseError as error:
                if database.error_code(error) not in _FULL:
                    raise
                what = _FULL[database.error_code(error)]
                raise FailedError(
                    f"the database is out of {what}; nothing after line {self.last_line} was imported; upload the "
                    "object again when there is room: lines already imported are skipped"
                ) from error
            if on_trial:
                raise _TrialError
            if answer["state"] != "running":
                return answer, 0, 0
            found = _rejected(batch, answer["refused"])
            self._preview.keep(connection, batch, found, self._catalogue)
            return answer, *self._rejects.keep(connection, found)

    def _refused(self, batch: Batch) -> dict[int, LineError]:
        """By bisection, the places of the lines that the database refuses, and why.

        Raises:
            FailedError: there are many.
        """
        refused = dict[int, LineError]()
        waiting = [(0, len(batch.line_numbers))]
        while waiting:
            first, last = waiting.pop()
            if first == last:
                continue
            code = self._code_of(batch.part(first, last))
            self._renew()
            if code is None:
                continue
            if last - first > 1:
                middle = (first + last) // 2
                waiting += [(middle, last), (first, middle)]
                continue
            refused[first] = LineError("refused", "", f"the database refuses it (SQLSTATE {code}); report this")
            if len(refused) > _MOST_REFUSED:
                raise FailedError(self._refusal(batch, code))
        return refused

    def _code_of(self, part: Batch) -> str | None:
        """The SQLSTATE with which the database refuses the data of a part of a batch; None if it does not."""
        arguments = self._arguments(part)
        try:
            _retried(lambda connection: self._merged(connection, part, arguments, on_trial=True))
        except _TrialError:
            return None
        except database.DatabaseError as error:
            code = database.error_code(error)
            if code.startswith(_DATA_CODES):
                return code
            raise
        raise AssertionError("a trial ends with an exception")

    def _refusal(self, batch: Batch, code: str) -> str:
        return (
            f"the database refuses lines from {self.last_line + 1} to {batch.last_line} (SQLSTATE {code}); nothing "
            f"after line {self.last_line} was imported; report this with the import's id, and upload the object again "
            "without them: lines already imported are skipped"
        )

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
  :job, :owner, :seconds, :start, :line, :position, :position_line, :byte,
  CAST(:lines AS bigint[]), CAST(:ids AS uuid[]), CAST(:users AS uuid[]), CAST(:emails AS text[]),
  CAST(:instants AS timestamptz[]), CAST(:fractions AS boolean[]), CAST(:versions AS text[]), CAST(:choices AS text[]),
  CAST(:chosen AS text[]), CAST(:named AS text[]), CAST(:contexts AS jsonb[]), :repeats, CAST(:codes AS text[]), :hashes
)
"""


def _rejected(batch: Batch, refused: list[Any]) -> list[rejects.Reject]:
    """The rejected lines of a batch, with those that the database refused: ``[[line, code, pointer, detail]]``."""
    originals = dict(zip(batch.line_numbers, batch.originals, strict=True)) if refused else {}
    found = [rejects.Reject(number, error.code, error.pointer, error.detail, line) for number, error, line in batch.bad]
    found += [rejects.Reject(line, code, pointer, detail, originals[line]) for line, code, pointer, detail in refused]
    return sorted(found)


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
