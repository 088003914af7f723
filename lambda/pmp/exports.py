"""Exports: people and their choices as of an instant, as NDJSON.gz in S3, in memory that does not grow with them."""

import gzip
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any, cast

from pmp import database, identifiers
from pmp.configuration import configuration
from pmp.imports import storage
from pmp.logging import log

PAGE_USERS = 5000
"""People a statement looks at: well below the role's statement_timeout, whoever they are."""

_LEASE_SECONDS = 60
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
    database.after_commit(lambda: storage.invoke_self({"task": "export", "job": job}))
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
    download = storage.download_url(bucket, key, _DOWNLOAD_SECONDS) if done else None
    return cast("dict[str, Any]", document | {"download": download})


def run(job: str, context: Any) -> None:
    """Write the export's file; what an earlier attempt left is replaced, for the file appears whole or not at all.

    Raises:
        LookupError: the job is not there yet: the transaction that made it has not been committed; Lambda tries again.
        Exception: what may pass (S3, the database); Lambda tries again.
    """
    connection = database.connect()
    rows = connection.run(
        "UPDATE pmp.export_job SET state = 'running', started_at = coalesce(started_at, clock_timestamp()),"
        " lease_until = clock_timestamp() + :seconds * interval '1 second'"
        " WHERE id = :id AND state IN ('waiting', 'running') AND coalesce(lease_until, '-infinity') < clock_timestamp()"
        " RETURNING bucket, object_key, consent, enabled, as_of",
        id=job,
        seconds=_LEASE_SECONDS,
    )
    if not rows:
        if get(job) is None:
            raise LookupError(f"export {job} is not known yet")
        log("export is not free", job=job)
        return
    bucket, key, consent, enabled, as_of = rows[0]
    users = 0

    def lines() -> Iterator[bytes]:
        nonlocal users
        after: int | None = 0
        while after is not None:
            if context.get_remaining_time_in_millis() < 10_000:
                raise TimeoutError(
                    f"{users} users were all that fitted into one invocation: raise the function's timeout_seconds"
                )
            page = connection.run(
                "SELECT last_key, users, lines FROM pmp.export_page("
                " :after, :size, CAST(:consent AS text), CAST(:enabled AS boolean), CAST(:at AS timestamptz))",
                after=after,
                size=PAGE_USERS,
                consent=consent,
                enabled=enabled,
                at=as_of.isoformat() if isinstance(as_of, datetime) else as_of,
            )[0]
            connection.run(
                "UPDATE pmp.export_job SET lease_until = clock_timestamp() + :seconds * interval '1 second',"
                " users = :users WHERE id = :id",
                seconds=_LEASE_SECONDS,
                users=users + page[1],
                id=job,
            )
            after, users = page[0], users + page[1]
            yield page[2].encode()

    try:
        size = storage.write(bucket, key, "application/gzip", _zipped(lines()))
    except TimeoutError as reason:
        _end(job, "failed", users, 0, str(reason))
        return
    _end(job, "succeeded", users, size, None)


def _end(job: str, state: str, users: int, size: int, error: str | None) -> None:
    database.connect().run(
        "UPDATE pmp.export_job SET state = :state, users = :users, bytes = :bytes, error = :error,"
        " finished_at = clock_timestamp(), lease_until = NULL WHERE id = :id AND state = 'running'",
        state=state,
        users=users,
        bytes=size,
        error=error,
        id=job,
    )
    log(f"export {state}", level="error" if error else "info", job=job, users=users, reason=error)


def _zipped(chunks: Iterator[bytes]) -> Iterator[bytes]:
    buffer = io.BytesIO()
    # No file name and no time of day: the same people at the same instant give the same bytes.
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=6, mtime=0, filename="") as archive:
        for chunk in chunks:
            archive.write(chunk)
            if buffer.tell() > storage.CHUNK_BYTES:
                yield buffer.getvalue()
                buffer.seek(0)
                buffer.truncate()
    yield buffer.getvalue()
