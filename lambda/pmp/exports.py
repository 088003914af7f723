"""Exports: users and their choices as of an instant, as NDJSON.gz in S3.

An export takes constant memory and as many invocations as it needs: the file is a sequence of gzip members (RFC 1952,
section 2.2), which are the parts of one S3 upload, and an invocation resumes after the last part (docs/adr/0205).
"""

import json
import time
import uuid
import zlib
from typing import Any, cast

from pmp import identifiers, leases, objects, portions, tasks
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.logging import log

PAGE_USERS = 5000
"""Users per statement at most."""

FIRST_PAGE_USERS = 500
"""Of the first statement, before it is known how fast the database is."""

_KIND = leases.Kind(
    "pmp.export_job", progress="'user ' || users", advice="request a new export", transient=("checkpoint",)
)
_DOWNLOAD_SECONDS = 900


def create(connection: Connection, request: dict[str, Any], client: str) -> dict[str, Any]:
    """POST /exports: insert the job and start an invocation that works on it.

    Args:
        connection: to the database.
        request: ``{"consent"?, "enabled"?, "as_of"?, "known_at"?}``, validated; ``consent`` and ``enabled`` come
            together. ``known_at`` defaults to now, so that all pages show one state, and ``as_of`` to ``known_at``.
        client: id of the requesting OAuth client.

    Returns:
        As ``get``.
    """
    job = identifiers.new()
    connection.run(
        "INSERT INTO pmp.export_job (id, consent, enabled, as_of, known_at, client, bucket, object_key)"
        " SELECT CAST(:id AS uuid), :consent, CAST(:enabled AS boolean),"
        "  coalesce(CAST(:as_of AS timestamptz), k.known_at), k.known_at, :client, :bucket, :key"
        " FROM (SELECT least(CAST(:known_at AS timestamptz), clock_timestamp()) AS known_at) AS k",
        id=job,
        consent=request.get("consent"),
        enabled=request.get("enabled"),
        as_of=request.get("as_of"),
        known_at=request.get("known_at"),
        client=client,
        bucket=configuration().imports_bucket,
        key=f"exports/{job}.ndjson.gz",
    )
    # This may run inside the request's transaction, and the other invocation must find the row.
    connection.after_commit(lambda: tasks.begin({"task": "export", "job": job}))
    return cast("dict[str, Any]", get(connection, job))


def get(connection: Connection, job: str) -> dict[str, Any] | None:
    """GET /exports/{id}: ``{"id", "state", "users", "as_of", "known_at", "download", …}``; None if it does not exist.

    ``download`` is a URL that is valid for 15 minutes; null until the export has succeeded, and when its file is gone.
    """
    rows = connection.run(
        "SELECT jsonb_build_object('id', id, 'state', state, 'consent', consent, 'enabled', enabled,"
        " 'as_of', pmp.instant(as_of), 'known_at', pmp.instant(known_at), 'users', users, 'bytes', bytes,"
        " 'started_at', pmp.instant(started_at), 'finished_at', pmp.instant(finished_at), 'error', error,"
        " 'kept_until', CASE WHEN removed_at IS NULL THEN pmp.instant(finished_at + CAST(:kept AS interval)) END),"
        " bucket, object_key"
        " FROM pmp.export_job WHERE id = :id",
        id=job,
        kept=objects.EXPORT_KEPT,
    )
    if not rows:
        return None
    document, bucket, key = rows[0]
    there = document["state"] == "succeeded" and document["kept_until"] is not None
    download = objects.download_url(bucket, key, _DOWNLOAD_SECONDS) if there else None
    return cast("dict[str, Any]", document | {"download": download})


def run(connection: Connection, job: str, context: Any) -> None:
    """Work on an export until it is complete, or until the invocation's time runs short and another one resumes it.

    Args:
        connection: to the database.
        job: the export's id.
        context: Lambda's context object.

    Raises:
        LookupError: there is no such job yet: the transaction that inserts it is not committed; Lambda tries again.
        Exception: S3 or the database failed; Lambda tries again, and the export resumes after its last part.
    """
    claimed = leases.claim(connection, _KIND, job, str(uuid.uuid4()))
    if claimed is None:
        if get(connection, job) is None:
            raise LookupError(f"export {job} does not exist yet")
        log("export is not free", job=job)
        return
    lease, row = claimed
    export = _Export(connection, lease, row)
    if export.stalled > leases.MOST_STALLED:
        _give_up(connection, export, lease, row["last_error"] or leases.KILLED)
        return
    try:
        finished = export.work(context)
    except leases.LostError:
        log("export was taken over", job=job)
        return
    except objects.UploadGoneError as reason:
        log("export begins again", level="warning", job=job, reason=reason)
        lease.renew(connection, users=0, checkpoint=None)
        finished = False
    except Exception as error:
        if export.stalled < leases.MOST_STALLED:
            lease.release(connection, error)
            raise
        log("export gave up", level="error", error=error, job=job)
        _give_up(connection, export, lease, leases.told(error))
        return
    if finished:
        log("export succeeded", job=job, users=export.users)
    else:
        lease.release(connection)
        log("export handed over", job=job, users=export.users)
        tasks.begin({"task": "export", "job": job}, context)


def _give_up(connection: Connection, export: "_Export", lease: leases.Lease, reason: str) -> None:
    error = leases.stalled_error(_KIND, f"user {export.users}", reason)
    if lease.finish(connection, "failed", error=error):
        log("export failed", level="error", job=lease.job, reason=error)


def restart(connection: Connection, context: Any) -> None:
    """Fail exports that have used up their invocations, and restart those that nobody works on."""
    for job, error in leases.give_up(connection, _KIND):
        log("export failed", level="error", job=job, reason=error)
    for job in leases.orphans(connection, _KIND):
        log("export restarted", level="warning", job=job)
        tasks.begin({"task": "export", "job": job}, context)


def remove_files(connection: Connection, after: leases.Place | None) -> leases.Place | None:
    """Delete the files of some exports whose retention is over. Arguments and result: see ``leases.remove``."""
    return leases.remove(
        connection,
        _KIND,
        f"finished_at <= now() - interval '{objects.EXPORT_KEPT}'",
        # Its name ends in .ndjson.gz; what was too short for a part lies beside it.
        lambda row: objects.remove_all(row["bucket"], row["object_key"]),
        after,
    )


class _Export:
    """One invocation's work on one job.

    Args:
        connection: to the database.
        lease: on the job.
        row: of ``export_job``.
    """

    def __init__(self, connection: Connection, lease: leases.Lease, row: dict[str, Any]) -> None:
        before = row["checkpoint"] or {}
        self._connection, self._lease, self._row = connection, lease, row
        self._upload = objects.Upload(
            row["bucket"], row["object_key"], "application/gzip", before.get("upload_id", ""), before.get("etags", [])
        )
        self._after: int = before.get("after", 0)
        self.users: int = before.get("users", 0)
        self._sent: int = before.get("bytes", 0)
        self._has_tail: bool = before.get("tail", False)
        self.stalled: int = row["stalled"]
        self._portion = portions.Portion(FIRST_PAGE_USERS, PAGE_USERS)

    def work(self, context: Any) -> bool:
        """Resume after the checkpoint. True: the file is complete; False: it is time to hand over.

        Each invocation exports at least one page, however little time it has.
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
                self._lease.renew(self._connection, users=self.users)
            if tasks.is_late(context):
                part += member.flush()
                self._write_tail(bytes(part))
                return False
        part += member.flush()
        self._upload.finish(bytes(part))
        self._lease.finish(self._connection, "succeeded", users=self.users, bytes=self._sent + len(part))
        return True

    def _page(self) -> tuple[int | None, int, str]:
        """The next page, of as many users as the database describes in time.

        Raises:
            TooSlowError: a single user takes too long.
        """
        while True:
            size, began = self._portion.size, time.monotonic()
            try:
                with portions.told():
                    page = self._read_page(size)
            except portions.TooSlowError as error:
                if size == 1:
                    raise
                log("page took too long", level="warning", job=self._lease.job, users=size, reason=error)
                self._portion.halve(size)
                self._lease.renew(self._connection)
            else:
                self._portion.adapt(size, time.monotonic() - began)
                return page

    def _read_page(self, size: int) -> tuple[int | None, int, str]:
        ((last_key, users, lines),) = self._connection.run(
            "SELECT last_key, users, lines FROM pmp.export_page("
            " :after, :size, CAST(:consent AS text), CAST(:enabled AS boolean),"
            " CAST(:as_of AS timestamptz), CAST(:known_at AS timestamptz))",
            after=self._after,
            size=size,
            consent=self._row["consent"],
            enabled=self._row["enabled"],
            as_of=self._row["as_of"],
            known_at=self._row["known_at"],
        )
        return last_key, users, lines

    def _send(self, part: bytes) -> None:
        self._upload.send(part)
        self._sent += len(part)
        self._save(tail=False)

    def _write_tail(self, rest: bytes) -> None:
        """Keep for the next invocation what is too short to be a part of the upload."""
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
        # Named after its last user: the tail that a failed attempt wrote is never taken for another one.
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
        self._lease.renew(self._connection, users=self.users, checkpoint=json.dumps(checkpoint), stalled=0)
        self.stalled = 0


def _member() -> Any:
    """A compressor of one gzip member, without a timestamp: the same users give the same bytes."""
    return zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
