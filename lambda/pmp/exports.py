"""Exports: people and their choices as of an instant, as NDJSON.gz in S3.

In memory that does not grow with them, and in as many invocations as it takes: the file is a sequence of gzip members
(RFC 1952, section 2.2), the parts of one upload, and an invocation goes on behind the last part (docs/adr/0205).
"""

import json
import uuid
import zlib
from typing import Any, cast

from pmp import database, identifiers, objects, tasks
from pmp.configuration import configuration
from pmp.logging import log

PAGE_USERS = 5000
"""People a statement looks at: well below the role's statement_timeout, whoever they are."""

LEASE_SECONDS = 50
"""How long an invocation that is not heard of keeps its job: less than the minute after which Lambda tries again."""

_DOWNLOAD_SECONDS = 900


def create(request: dict[str, Any], client: str) -> dict[str, Any]:
    """POST /exports: note the job and have a fresh invocation do it.

    Args:
        request: ``{"consent"?, "enabled"?, "as_of"?}``, validated; ``consent`` and ``enabled`` come together.
        client: who asks.

    Returns:
        As ``get``.
    """
    job = identifiers.new()
    database.connect().run(
        "INSERT INTO pmp.export_job (id, consent, enabled, as_of, client, bucket, object_key)"
        " VALUES (:id, :consent, :enabled, coalesce(CAST(:as_of AS timestamptz), clock_timestamp()), :client, :bucket,"
        " :key)",
        id=job,
        consent=request.get("consent"),
        enabled=request.get("enabled"),
        as_of=request.get("as_of"),
        client=client,
        bucket=configuration().imports_bucket,
        key=f"exports/{job}.ndjson.gz",
    )
    # Not before its row can be seen: this may run inside of the request's transaction.
    database.after_commit(lambda: tasks.begin({"task": "export", "job": job}))
    return cast("dict[str, Any]", get(job))


def get(job: str) -> dict[str, Any] | None:
    """GET /exports/{id}: ``{"id", "state", "users", "bytes", "as_of", "download", …}``; None: there is no such export.

    ``download`` is an address that is good for a quarter of an hour, or null until the export has succeeded.
    """
    rows = database.connect().run(
        "SELECT jsonb_build_object('id', id, 'state', state, 'consent', consent, 'enabled', enabled,"
        " 'as_of', pmp.instant(as_of), 'users', users, 'bytes', bytes, 'started_at', pmp.instant(started_at),"
        " 'finished_at', pmp.instant(finished_at), 'error', error), bucket, object_key"
        " FROM pmp.export_job WHERE id = :id",
        id=job,
    )
    if not rows:
        return None
    document, bucket, key = rows[0]
    done = document["state"] == "succeeded"
    download = objects.download_url(bucket, key, _DOWNLOAD_SECONDS) if done else None
    return cast("dict[str, Any]", document | {"download": download})


def run(job: str, context: Any) -> None:
    """Work on an export until its file is there, or the invocation's time runs short and another goes on.

    Raises:
        LookupError: the job is not there yet: the transaction that made it has not been committed; Lambda tries again.
        Exception: what may pass (S3, the database); Lambda tries again, and goes on behind the last part.
    """
    owner = str(uuid.uuid4())
    rows = database.connect().run(
        "UPDATE pmp.export_job AS j SET state = 'running', started_at = coalesce(started_at, clock_timestamp()),"
        " attempts = attempts + 1, lease_owner = :owner,"
        " lease_until = clock_timestamp() + :seconds * interval '1 second'"
        " WHERE id = :id AND state IN ('waiting', 'running') AND coalesce(lease_until, '-infinity') < clock_timestamp()"
        " RETURNING to_jsonb(j)",
        id=job,
        owner=owner,
        seconds=LEASE_SECONDS,
    )
    if not rows:
        if get(job) is None:
            raise LookupError(f"export {job} is not known yet")
        log("export is not free", job=job)
        return
    export = _Export(rows[0][0], owner)
    try:
        finished = export.work(context)
    except _TakenError:
        log("export was taken over", job=job)
        return
    except objects.UploadGoneError as reason:
        log("export begins again", level="warning", job=job, reason=reason)
        export.note(users=0, checkpoint="null")
        finished = False
    except Exception:
        export.release()
        raise
    if finished:
        log("export succeeded", job=job, users=export.users)
    else:
        export.release()
        log("export handed over", job=job, users=export.users)
        tasks.begin({"task": "export", "job": job}, context)


def housekeeping(context: Any) -> None:
    """Go on with exports whose invocation died or never came, and give up those that never get on."""
    connection = database.connect()
    given_up = connection.run(
        "UPDATE pmp.export_job SET state = 'failed', finished_at = clock_timestamp(), checkpoint = NULL,"
        " error = 'gave up after ' || attempts || ' attempts behind ' || users || ' users: ask for a new export'"
        " WHERE state = 'running' AND attempts >= :most AND coalesce(lease_until, '-infinity') < now()"
        " RETURNING id, error",
        most=tasks.MOST_INVOCATIONS,
    )
    for job, error in given_up:
        log("export failed", level="error", job=str(job), reason=error)
    orphans = connection.run(
        "SELECT id FROM pmp.export_job WHERE coalesce(lease_until, '-infinity') < now()"
        " AND (state = 'running' OR (state = 'waiting' AND created_at < now() - interval '5 minutes'))"
        " ORDER BY created_at LIMIT 10"
    )
    for (job,) in orphans:
        log("export restarted", level="warning", job=str(job))
        tasks.begin({"task": "export", "job": str(job)}, context)


class _TakenError(Exception):
    """Another invocation has the job."""


class _Export:
    """One invocation's hold on one job.

    Args:
        row: of ``export_job``.
        owner: name of the lease.
    """

    def __init__(self, row: dict[str, Any], owner: str) -> None:
        before = row["checkpoint"] or {}
        self._row, self._owner = row, owner
        self._upload = objects.Upload(
            row["bucket"], row["object_key"], "application/gzip", before.get("upload_id", ""), before.get("etags", [])
        )
        self._after: int = before.get("after", 0)
        self.users: int = before.get("users", 0)
        self._sent: int = before.get("bytes", 0)
        self._has_tail: bool = before.get("tail", False)

    def work(self, context: Any) -> bool:
        """Go on behind the checkpoint; True when the file is there, False when it is time to hand over.

        Each invocation gets on by one page at least, however little time it has.
        """
        part, member = bytearray(self._read_tail()), _member()
        while True:
            last_key, users, lines = self._page()
            if last_key is None:
                break
            part += member.compress(lines.encode())
            self._after, self.users = last_key, self.users + users
            if len(part) >= objects.PART_BYTES:
                part += member.flush()
                self._send(bytes(part))
                part, member = bytearray(), _member()
            else:
                self.note(users=self.users)
            if tasks.is_late(context):
                part += member.flush()
                self._write_tail(bytes(part))
                return False
        part += member.flush()
        self._upload.finish(bytes(part))
        self._finish(self._sent + len(part))
        return True

    def _page(self) -> tuple[int | None, int, str]:
        ((last_key, users, lines),) = database.connect().run(
            "SELECT last_key, users, lines FROM pmp.export_page("
            " :after, :size, CAST(:consent AS text), CAST(:enabled AS boolean), CAST(:at AS timestamptz))",
            after=self._after,
            size=PAGE_USERS,
            consent=self._row["consent"],
            enabled=self._row["enabled"],
            at=self._row["as_of"],
        )
        return last_key, users, lines

    def _send(self, part: bytes) -> None:
        self._upload.send(part)
        self._sent += len(part)
        self._save(tail=False)

    def _write_tail(self, rest: bytes) -> None:
        """Keep for the next invocation what is too short for a part of an upload."""
        objects.Upload(self._upload.bucket, self._tail_key, "application/gzip").finish(rest)
        self._save(tail=True)

    def _read_tail(self) -> bytes:
        if not self._has_tail:
            return b""
        try:
            return objects.client().get_object(Bucket=self._upload.bucket, Key=self._tail_key)["Body"].read()
        except objects.client().exceptions.NoSuchKey as error:
            raise objects.UploadGoneError(f"s3://{self._upload.bucket}/{self._tail_key} is gone") from error

    @property
    def _tail_key(self) -> str:
        # Named after the place it reaches to: one that a failed attempt wrote is never taken for another's.
        return f"{self._upload.key}.{self._after}"

    def _save(self, *, tail: bool) -> None:
        checkpoint = {
            "after": self._after,
            "users": self.users,
            "bytes": self._sent,
            "upload_id": self._upload.upload_id,
            "etags": self._upload.etags,
            "tail": tail,
        }
        self.note(users=self.users, checkpoint=json.dumps(checkpoint))

    def note(self, *, users: int, checkpoint: str | None = None) -> None:
        """Renew the lease and note how far the work has come.

        Args:
            users: written so far, for those who ask.
            checkpoint: JSON, ``null`` for the start; None: as before.

        Raises:
            _TakenError: the job is not ours any more.
        """
        rows = database.connect().run(
            "UPDATE pmp.export_job SET users = :users,"
            " checkpoint = nullif(coalesce(CAST(:checkpoint AS jsonb), checkpoint), 'null'),"
            " lease_until = clock_timestamp() + :seconds * interval '1 second'"
            " WHERE id = :id AND state = 'running' AND lease_owner = :owner RETURNING id",
            users=users,
            checkpoint=checkpoint,
            seconds=LEASE_SECONDS,
            id=self._row["id"],
            owner=self._owner,
        )
        if not rows:
            raise _TakenError

    def release(self) -> None:
        """Let go of the job, so that whoever is next need not wait for the lease to run out."""
        try:
            database.connect().run(
                "UPDATE pmp.export_job SET lease_owner = NULL, lease_until = NULL"
                " WHERE id = :id AND lease_owner = :owner",
                id=self._row["id"],
                owner=self._owner,
            )
        except Exception as error:  # noqa: BLE001 - the lease runs out by itself
            log("lease not released", level="warning", error=error, job=self._row["id"])

    def _finish(self, size: int) -> None:
        database.connect().run(
            "UPDATE pmp.export_job SET state = 'succeeded', users = :users, bytes = :bytes, checkpoint = NULL,"
            " finished_at = clock_timestamp(), lease_owner = NULL, lease_until = NULL"
            " WHERE id = :id AND state = 'running' AND lease_owner = :owner",
            users=self.users,
            bytes=size,
            id=self._row["id"],
            owner=self._owner,
        )


def _member() -> Any:
    """A compressor of one gzip member, without a time of day: the same people give the same bytes."""
    return zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
