"""Exports: users, their choices, or events as of an instant, as NDJSON or CSV, gzip-compressed in S3.

An export takes constant memory and as many invocations as it needs: an invocation resumes after what the last one sent
(docs/adr/0205, 0215).
"""

import json
import time
import uuid
from dataclasses import dataclass
from typing import Any, cast

from pmp import export_files, identifiers, leases, objects, portions, readers, tasks
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.logging import log

PAGE_USERS = 5000
"""Users, or events, per statement at most."""

FIRST_PAGE_USERS = 500
"""Of the first statement, before it is known how fast the database is."""

Place = list[int]
"""Where a page of an export ends: ``[subject_key]``, or an event's ``[transaction_number, sequence]``."""

_KIND = leases.Kind(
    "pmp.export_job", progress="'user ' || users", advice="request a new export", transient=("checkpoint",)
)
_DOWNLOAD_SECONDS = 900
MOST_SHOWN = 100
"""Files of a folder that an answer lists; the manifest lists all of them."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a schedule makes an export for.

    Attributes:
        schedule: its name.
        at: RFC 3339: the instant.
        folder: of the exports bucket, where its exports are; ends in a slash.
    """

    schedule: str
    at: str
    folder: str


def create(
    connection: Connection,
    request: dict[str, Any],
    client: str,
    after: tuple[int, int] = (0, 0),
    due: Due | None = None,
) -> dict[str, Any]:
    """POST /exports: insert the job and start an invocation that works on it.

    Args:
        connection: to the database.
        request: ``{"contents"?, "format"?, "partitioned"?, "consent"?, "enabled"?, "as_of"?, "known_at"?}``, validated;
            ``contents`` is "users" (the default), "choices" or "events"; ``format`` is "ndjson" (the default) or "csv";
            ``partitioned`` asks for a folder; ``consent`` and ``enabled`` come together, and only with users.
            ``known_at`` defaults to now, so that all pages show one state, and ``as_of`` to ``known_at``. Events have
            no such limits by default: whoever resumes after them must not have missed one.
        client: id of the requesting OAuth client.
        after: place in the feed after which exported events begin; by default its start.
        due: of a schedule's export.

    Returns:
        As ``get``.

    Raises:
        DatabaseError: the schedule has an export of this instant already (``unique_violation``).
    """
    job, text_format, is_folder = identifiers.new(), request.get("format", "ndjson"), request.get("partitioned", False)
    connection.run(
        "INSERT INTO pmp.export_job (id, contents, format, partitioned, consent, enabled,"
        "  schedule, due_at, as_of, known_at, feed_number, feed_sequence, feed_horizon, client, bucket, object_key)"
        " SELECT CAST(:id AS uuid), :contents, :format, :partitioned, :consent, CAST(:enabled AS boolean),"
        "  :schedule, CAST(:due_at AS timestamptz),"
        "  coalesce(CAST(:as_of AS timestamptz), k.known_at), k.known_at, :number, :sequence, pmp.feed_horizon(),"
        "  :client, :bucket, :key"
        " FROM (SELECT CASE WHEN CAST(:is_limited AS boolean)"
        "  THEN least(CAST(:known_at AS timestamptz), clock_timestamp()) END AS known_at) AS k",
        id=job,
        contents=request.get("contents", "users"),
        format=text_format,
        partitioned=is_folder,
        schedule=due.schedule if due else None,
        due_at=due.at if due else None,
        number=after[0],
        sequence=after[1],
        consent=request.get("consent"),
        enabled=request.get("enabled"),
        as_of=request.get("as_of"),
        known_at=request.get("known_at"),
        is_limited=request.get("contents") != "events" or "known_at" in request,
        client=client,
        bucket=configuration().imports_bucket,
        key=due.folder + f"export={job}/" if due else f"exports/{job}" + ("/" if is_folder else f".{text_format}.gz"),
    )
    # This may run inside the request's transaction, and the other invocation must find the row.
    connection.after_commit(lambda: tasks.begin({"task": "export", "job": job}))
    return cast("dict[str, Any]", get(connection, job))


_DOCUMENT = """
jsonb_build_object(
  'id', id, 'state', state, 'contents', contents, 'format', format, 'partitioned', partitioned, 'schedule', schedule,
  'consent', consent, 'enabled', enabled,
  'as_of', pmp.instant(as_of), 'known_at', pmp.instant(known_at), 'users', users, 'lines', lines, 'bytes', bytes,
  'created_at', pmp.instant(created_at), 'started_at', pmp.instant(started_at),
  'finished_at', pmp.instant(finished_at), 'error', error,
  'kept_until', CASE WHEN removed_at IS NULL THEN pmp.instant(finished_at + kept) END,
  'location', CASE WHEN state = 'succeeded' AND removed_at IS NULL THEN concat('s3://', bucket, '/', object_key) END,
  'resume', CASE WHEN contents = 'events' AND state = 'succeeded' AND num_nonnulls(as_of, known_at) = 0
    THEN jsonb_build_array(feed_number, feed_sequence) END
)
"""


def get(connection: Connection, job: str, *, lock: bool = False) -> dict[str, Any] | None:
    """GET /exports/{id}: ``{"id", "state", "users", "as_of", "known_at", "download", …}``; None if it does not exist.

    ``download`` is a URL that is valid for 15 minutes, of the file or of a folder's manifest, and ``files`` are the
    first files of a folder, each with such a URL; null until the export has succeeded, and when its files are gone.
    ``resume`` is the place in the feed where the exported events end, ``[number, sequence]``; null for other exports,
    and with ``as_of`` or ``known_at``, which leave events out.

    Args:
        connection: to the database.
        job: the export's id.
        lock: keep it as it is until the end of the transaction.
    """
    locking = " FOR UPDATE" if lock else ""
    rows = connection.run(
        f"SELECT {_DOCUMENT}, to_jsonb(j) FROM pmp.export_job AS j WHERE id = :id{locking}",  # noqa: S608
        id=job,
    )
    if not rows:
        return None
    document, row = rows[0]
    if document["location"] is None:
        return cast("dict[str, Any]", document | {"download": None, "files": None})
    bucket, key, files = row["bucket"], row["object_key"], None
    if row["partitioned"]:
        some = export_files.described(row, row["files"][:MOST_SHOWN])
        files = [one | {"download": objects.download_url(bucket, one["key"], _DOWNLOAD_SECONDS)} for one in some]
        key += export_files.MANIFEST
    return cast(
        "dict[str, Any]", document | {"download": objects.download_url(bucket, key, _DOWNLOAD_SECONDS), "files": files}
    )


def list_jobs(connection: Connection, after: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
    """GET /exports: a page, newest first, and the id after which the next page begins (None: this is the last).

    Each as ``get`` returns it, without ``download`` and ``files``: an address of all people's data is made for one
    export at a time.
    """
    rows = connection.run(
        f"SELECT {_DOCUMENT} FROM pmp.export_job AS j"  # noqa: S608
        " WHERE CAST(:after AS uuid) IS NULL"
        "  OR (j.created_at, j.id) < (SELECT b.created_at, b.id FROM pmp.export_job AS b WHERE b.id = :after)"
        " ORDER BY j.created_at DESC, j.id DESC LIMIT :row_limit",
        after=after,
        row_limit=limit + 1,
    )
    documents = [row[0] for row in rows[:limit]]
    return documents, documents[-1]["id"] if len(rows) > limit else None


def delete(connection: Connection, job: str, client: str) -> dict[str, Any] | None:
    """DELETE /exports/{id}: stop the export if it has not ended, and delete its file. As ``get``.

    Args:
        connection: to the database.
        job: the export's id.
        client: id of the requesting OAuth client; recorded if there was something to stop or to delete.

    Raises:
        BotoCoreError: S3 cannot be reached; the export has been stopped.
    """
    connection.run(
        "UPDATE pmp.export_job SET state = 'cancelled', finished_at = clock_timestamp()"  # noqa: S608
        f"{_KIND.cleared} WHERE id = :id AND state IN ('waiting', 'running')",
        id=job,
    )
    rows = connection.run("SELECT bucket, object_key FROM pmp.export_job WHERE id = :id AND removed_at IS NULL", id=job)
    if rows:
        objects.remove_all(*rows[0])
        connection.run(
            "UPDATE pmp.export_job SET removed_at = clock_timestamp(), deleted_by = :client WHERE id = :id",
            id=job,
            client=client,
        )
    return get(connection, job)


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
        export.target.discard()
        _lost(connection, job)
        return
    except objects.UploadGoneError as reason:
        log("export begins again", level="warning", job=job, reason=reason)
        lease.renew(connection, users=0, lines=0, checkpoint=None)
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
        tasks.begin({"task": "export", "job": job})


def _give_up(connection: Connection, export: "_Export", lease: leases.Lease, reason: str) -> None:
    error = leases.stalled_error(_KIND, f"user {export.users}", reason)
    if lease.finish(connection, "failed", error=error):
        log("export failed", level="error", job=lease.job, reason=error)


def _lost(connection: Connection, job: str) -> None:
    """After the lease was lost: if the export was deleted, delete what was written since."""
    ((state, bucket, key),) = connection.run(
        "SELECT state, bucket, object_key FROM pmp.export_job WHERE id = :id", id=job
    )
    log("export stopped", job=job, state=state)
    if state == "cancelled":
        objects.remove_all(bucket, key)


def restart(connection: Connection) -> None:
    """Fail exports that have used up their invocations, and restart those that nobody works on."""
    for job, error in leases.give_up(connection, _KIND):
        log("export failed", level="error", job=job, reason=error)
    for job in leases.orphans(connection, _KIND):
        log("export restarted", level="warning", job=job)
        tasks.begin({"task": "export", "job": job})


def remove_files(connection: Connection, after: leases.Place | None) -> leases.Place | None:
    """Delete the files of some exports whose retention is over. Arguments and result: see ``leases.remove``."""
    return leases.remove(
        connection,
        _KIND,
        "finished_at <= now() - kept",
        # A folder, or a name that ends in .gz: beside it is what was too short for a part.
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
        self.target = export_files.target(row, lambda: lease.renew(connection))
        is_feed = row["contents"] == "events"
        self._after: Place = before.get("after", [row["feed_number"], row["feed_sequence"]] if is_feed else [0])
        self.users: int = before.get("users", 0)
        self._lines: int = before.get("lines", 0)
        self.stalled: int = row["stalled"]
        self._portion = portions.Portion(FIRST_PAGE_USERS, PAGE_USERS)

    def work(self, context: Any) -> bool:
        """Resume after the checkpoint. True: the export is complete; False: it is time to hand over.

        Each invocation exports at least one page, however little time it has.
        """
        self.target.begin()
        while True:
            last, users, lines, content = self._page()
            if last is None:
                break
            self.target.write(content)
            self._after, self.users, self._lines = last, self.users + users, self._lines + lines
            if self.target.is_full:
                self._save(self.target.send())
            else:
                self._lease.renew(self._connection, users=self.users, lines=self._lines)
            if tasks.is_late(context):
                self._save(self.target.keep(self._after))
                return False
        columns = {"users": self.users, "lines": self._lines, **self.target.finish()}
        if self._row["contents"] == "events":
            columns["feed_number"], columns["feed_sequence"] = self._after
        if self._lease.finish(self._connection, "succeeded", error=None, **columns) is None:
            raise leases.LostError
        return True

    def _page(self) -> tuple[Place | None, int, int, str]:
        """The next page, of as many users or events as the database describes in time: see ``_read_page``.

        Raises:
            TooSlowError: a single one takes too long.
        """
        while True:
            size, began = self._portion.size, time.monotonic()
            try:
                with portions.told():
                    page = self._read_page(size)
            except portions.TooSlowError as error:
                if size == 1:
                    raise
                log("page took too long", level="warning", job=self._lease.job, size=size, reason=error)
                self._portion.halve(size)
                self._lease.renew(self._connection)
            else:
                self._portion.adapt(size, time.monotonic() - began)
                return page

    def _read_page(self, size: int) -> tuple[Place | None, int, int, str]:
        page = readers.following(lambda reader: self._read_from(reader, size), self._lease.job)
        return self._read_from(self._connection, size) if page is None else page

    def _read_from(self, connection: Connection, size: int) -> tuple[Place | None, int, int, str]:
        """A page: where it ends (None: there is none), its users (of events: 0), its lines, and their text."""
        limits = {name: self._row[name] for name in ("as_of", "known_at")}
        if self._row["contents"] == "events":
            ((number, sequence, lines, content),) = connection.run(
                "SELECT last_number, last_sequence, lines, content FROM pmp.export_events_page("
                " :number, :sequence, :horizon, :size, CAST(:as_of AS timestamptz), CAST(:known_at AS timestamptz))",
                number=self._after[0],
                sequence=self._after[1],
                horizon=self._row["feed_horizon"],
                size=size,
                **limits,
            )
            return None if number is None else [number, sequence], 0, lines, content
        if self._row["contents"] == "choices":
            ((last_key, users, lines, content),) = connection.run(
                "SELECT last_key, users, lines, content FROM pmp.export_choices_page("
                " :after, :size, CAST(:as_of AS timestamptz), CAST(:known_at AS timestamptz))",
                after=self._after[0],
                size=size,
                **limits,
            )
        else:
            ((last_key, users, content),) = connection.run(
                "SELECT last_key, users, lines FROM pmp.export_page("
                " :after, :size, CAST(:consent AS text), CAST(:enabled AS boolean),"
                " CAST(:as_of AS timestamptz), CAST(:known_at AS timestamptz))",
                after=self._after[0],
                size=size,
                consent=self._row["consent"],
                enabled=self._row["enabled"],
                **limits,
            )
            lines = users
        return None if last_key is None else [last_key], users, lines, content

    def _save(self, written: dict[str, Any]) -> None:
        checkpoint = json.dumps({"after": self._after, "users": self.users, "lines": self._lines, **written})
        self._lease.renew(self._connection, users=self.users, lines=self._lines, checkpoint=checkpoint, stalled=0)
        self.stalled = 0
        self.target.saved()
