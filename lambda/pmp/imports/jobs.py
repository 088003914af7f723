"""The rows of ``import_job``, as the API creates, shows, lists and cancels them, and as uploaded objects find them."""

import base64
import json
from typing import Any, cast

from pmp import identifiers, objects
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.imports import mappings

UPLOAD_PREFIX = "imports/"
UPLOAD_SECONDS = 3600

_DOCUMENT = f"""
jsonb_build_object(
  'id', j.id, 'state', j.state, 'lines', j.lines, 'accepted', j.accepted, 'skipped', j.skipped, 'rejected', j.rejected,
  'occurred_at', j.occurred_at, 'mapping', j.mapping ->> 'id',
  'warnings', coalesce(j.form -> 'warnings', '[]'), 'bytes_read', j.bytes_read, 'bytes_total', j.bytes_total,
  'rows_per_second', round((j.lines / nullif(
    extract(epoch FROM coalesce(j.finished_at, clock_timestamp()) - j.started_at), 0
  ))::numeric, 1),
  'started_at', pmp.instant(j.started_at), 'finished_at', pmp.instant(j.finished_at), 'error', j.error,
  'upload_kept_until', CASE WHEN j.removed_at IS NULL AND j.object_version IS NOT NULL THEN pmp.instant(
    CASE j.state WHEN 'succeeded' THEN j.finished_at ELSE j.finished_at + interval '{objects.UPLOAD_KEPT}' END
  ) END
)
"""


def create(
    connection: Connection, request: dict[str, Any], client: str, mapping: dict[str, Any] | None = None
) -> dict[str, Any]:
    """POST /imports: insert a job that waits for its upload.

    Args:
        connection: to the database.
        request: ``{"format"?: "ndjson" | "csv", "compression"?: "none" | "gzip", "sha256"?, "dry_run"?,
            "occurred_at"?}``, validated.
        client: id of the requesting OAuth client.
        mapping: of the file's records to events; None: they are in PMP's own form.

    Returns:
        ``{"id", "state", "upload": {"method": "PUT", "url", "headers"}}``; the URL is valid for one hour.
    """
    job, bucket = identifiers.new(), configuration().imports_bucket
    sha256, form = request.get("sha256"), request.get("format", "ndjson")
    compression = request.get("compression", "none")
    key = f"{UPLOAD_PREFIX}{job}.{form}" + (".gz" if compression == "gzip" else "")
    connection.run(
        "INSERT INTO pmp.import_job"
        " (id, format, compression, dry_run, expected_sha256, client, bucket, object_key, occurred_at, mapping)"
        " VALUES (:id, :format, :compression, :dry_run, :sha256, :client, :bucket, :key, :occurred_at,"
        "  CAST(:mapping AS jsonb))",
        id=job,
        format=form,
        compression=compression,
        dry_run=bool(request.get("dry_run", False)),
        sha256=sha256,
        client=client,
        bucket=bucket,
        key=key,
        occurred_at=request.get("occurred_at"),
        mapping=json.dumps(mapping) if mapping else None,
    )
    return {"id": job, "state": "waiting", "upload": _upload(bucket, key, sha256)}


def announced(connection: Connection, job: str) -> dict[str, Any]:
    """The answer of ``create`` again, with a new URL: the first one may have expired, and is stored nowhere."""
    ((bucket, key, sha256),) = connection.run(
        "SELECT bucket, object_key, expected_sha256 FROM pmp.import_job WHERE id = :id", id=job
    )
    return {"id": job, "state": "waiting", "upload": _upload(bucket, key, sha256)}


def _upload(bucket: str, key: str, sha256: str | None) -> dict[str, Any]:
    # S3 refuses other bytes; the worker compares again, because not every S3-compatible store does.
    checksum = {"ChecksumSHA256": base64.b64encode(bytes.fromhex(sha256)).decode()} if sha256 else {}
    url = objects.client().generate_presigned_url(
        "put_object", Params={"Bucket": bucket, "Key": key, **checksum}, ExpiresIn=UPLOAD_SECONDS
    )
    headers = {"x-amz-checksum-sha256": checksum["ChecksumSHA256"]} if checksum else {}
    return {"method": "PUT", "url": url, "headers": headers}


def get(connection: Connection, job: str, *, lock: bool = False) -> dict[str, Any] | None:
    """GET /imports/{id}: the import's status; None if there is no such import.

    Args:
        connection: to the database.
        job: the import's id.
        lock: keep it as it is until the end of the transaction.
    """
    locking = " FOR UPDATE" if lock else ""
    rows = connection.run(f"SELECT {_DOCUMENT} FROM pmp.import_job AS j WHERE j.id = :id{locking}", id=job)  # noqa: S608
    return cast("dict[str, Any]", rows[0][0]) if rows else None


def list_jobs(connection: Connection, after: str | None, limit: int) -> tuple[list[dict[str, Any]], str | None]:
    """GET /imports: a page, newest first, and the id after which the next page begins (None: this is the last)."""
    rows = connection.run(
        f"SELECT {_DOCUMENT} FROM pmp.import_job AS j"  # noqa: S608
        " WHERE CAST(:after AS uuid) IS NULL"
        "  OR (j.created_at, j.id) < (SELECT b.created_at, b.id FROM pmp.import_job AS b WHERE b.id = :after)"
        " ORDER BY j.created_at DESC, j.id DESC LIMIT :row_limit",
        after=after,
        row_limit=limit + 1,
    )
    documents = [row[0] for row in rows[:limit]]
    return documents, documents[-1]["id"] if len(rows) > limit else None


def cancel(connection: Connection, job: str, client: str) -> dict[str, Any] | None:
    """DELETE /imports/{id}: stop the import after its last whole batch; one that has ended stays as it is.

    Events that were already accepted are kept: events are never removed. The counts say how many there are.

    Args:
        connection: to the database.
        job: the import's id.
        client: id of the requesting OAuth client; recorded if the import had not ended.

    Returns:
        As ``get``.
    """
    connection.run(
        "UPDATE pmp.import_job SET state = 'cancelled', cancelled_by = :client, finished_at = clock_timestamp(),"
        " lease_owner = NULL, lease_until = NULL WHERE id = :id AND state IN ('waiting', 'running')",
        id=job,
        client=client,
    )
    return get(connection, job)


def rejects_url(connection: Connection, job: str) -> str | None:
    """GET /imports/{id}/rejects: a URL of the rejected lines, valid for 15 minutes; None if there is no such file."""
    rows = connection.run("SELECT bucket, rejects_key FROM pmp.import_job WHERE id = :id", id=job)
    if not rows or rows[0][1] is None:
        return None
    return objects.download_url(rows[0][0], rows[0][1])


def for_object(connection: Connection, bucket: str, key: str, version: str, size: int | None) -> str:
    """The id of an uploaded object's job, which is inserted if there is none. Repeated notifications give the same job.

    An upload through the API belongs to the job that waits for it. A further version of such an object gets its own job
    with the same settings (a dry run stays a dry run). The format of any other object is read from the end of its key.
    """
    with connection.transaction():
        arguments = {"bucket": bucket, "key": key, "version": version}
        rows = connection.run(
            "SELECT id FROM pmp.import_job WHERE bucket = :bucket AND object_key = :key AND object_version = :version",
            **arguments,
        ) or connection.run(
            "UPDATE pmp.import_job SET object_version = :version, bytes_total = :size WHERE id = ("
            " SELECT id FROM pmp.import_job WHERE bucket = :bucket AND object_key = :key AND object_version IS NULL"
            "  AND state = 'waiting' FOR UPDATE SKIP LOCKED)"
            " RETURNING id",
            size=size,
            **arguments,
        )
        if not rows:
            name, mapping = key.lower(), mappings.for_key(connection, key)
            connection.run(
                "INSERT INTO pmp.import_job (id, format, compression, dry_run, expected_sha256, occurred_at, mapping,"
                "  client, bucket, object_key, object_version, bytes_total)"
                " SELECT :id, coalesce(b.format, :format), coalesce(b.compression, :compression),"
                "  coalesce(b.dry_run, false), b.expected_sha256, b.occurred_at,"
                "  coalesce(b.mapping, CAST(:mapping AS jsonb)), coalesce(b.client, 's3'), :bucket,"
                "  :key, :version, CAST(:size AS bigint)"
                " FROM (SELECT 1) AS one LEFT JOIN LATERAL ("
                "  SELECT * FROM pmp.import_job AS e WHERE e.bucket = :bucket AND e.object_key = :key"
                "  ORDER BY e.created_at LIMIT 1) AS b ON true"
                " ON CONFLICT DO NOTHING",
                id=identifiers.new(),
                format="csv" if name.removesuffix(".gz").endswith(".csv") else "ndjson",
                compression="gzip" if name.endswith(".gz") else "none",
                mapping=json.dumps(mapping) if mapping else None,
                size=size,
                **arguments,
            )
            rows = connection.run(
                "SELECT id FROM pmp.import_job"
                " WHERE bucket = :bucket AND object_key = :key AND object_version = :version",
                **arguments,
            )
        return str(rows[0][0])
