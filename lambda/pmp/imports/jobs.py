"""The rows of ``import_job``, as the API creates, shows, lists and cancels them, and as uploaded objects find them."""

import base64
import json
from collections.abc import Sequence
from typing import Any, cast

from pmp import identifiers, objects
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.imports import mappings
from pmp.logging import log

UPLOAD_PREFIX = "imports/"
UPLOAD_SECONDS = 3600

EFFECTS = ("opted_in", "opted_out", "unchanged", "new_users")
"""Columns that count what an import changes, and a dry run would."""

_DOCUMENT = f"""
jsonb_build_object(
  'id', j.id, 'state', j.state, 'dry_run', j.dry_run, 'key', j.object_key, 'file_name', j.file_name,
  'format', j.format, 'compression', j.compression, 'client', j.client, 'uploader', j.uploader,
  'created_at', pmp.instant(j.created_at),
  'lines', j.lines, 'accepted', j.accepted, 'skipped', j.skipped, 'rejected', j.rejected, 'reasons', j.reasons,
  'effects', jsonb_build_object({", ".join(f"'{name}', j.{name}" for name in EFFECTS)}),
  'max_rejected', j.max_rejected, 'occurred_at', j.occurred_at,
  'mapping', j.mapping ->> 'id', 'warnings', coalesce(j.form -> 'warnings', '[]'),
  'bytes_read', j.bytes_read, 'bytes_total', j.bytes_total,
  'rows_per_second', round((j.lines / nullif(
    extract(epoch FROM coalesce(j.finished_at, clock_timestamp()) - j.started_at), 0
  ))::numeric, 1),
  'started_at', pmp.instant(j.started_at), 'finished_at', pmp.instant(j.finished_at), 'error', j.error,
  'attempts', j.attempts, 'last_error', j.last_error,
  'upload_kept_until', CASE WHEN j.removed_at IS NULL AND j.object_version IS NOT NULL THEN pmp.instant(
    CASE j.state WHEN 'succeeded' THEN j.finished_at ELSE j.finished_at + interval '{objects.UPLOAD_KEPT}' END
  ) END,
  'rejects_kept', j.rejects_kept, 'rejects_kept_until', CASE WHEN j.rejects_removed_at IS NULL AND j.rejects_kept > 0
    THEN pmp.instant(j.finished_at + interval '{objects.UPLOAD_KEPT}') END,
  'parent', j.parent_id, 'parts', NULL
) || coalesce(s.sums, '{{}}')
"""

_FROM = """
pmp.import_job AS j LEFT JOIN LATERAL (
  SELECT jsonb_build_object(
    'lines', sum(p.lines), 'accepted', sum(p.accepted), 'skipped', sum(p.skipped), 'rejected', sum(p.rejected),
    'reasons', (
      SELECT coalesce(jsonb_object_agg(r.code, r.lines), '{}') FROM (
        SELECT each.key AS code, sum(each.value::bigint) AS lines
        FROM pmp.import_job AS q CROSS JOIN jsonb_each_text(q.reasons) AS each WHERE q.parent_id = j.id GROUP BY 1
      ) AS r
    ),
    'effects', jsonb_build_object(:effects),
    'bytes_read', sum(p.bytes_read), 'bytes_total', sum(p.bytes_total), 'attempts', sum(p.attempts),
    'rejects_kept', sum(p.rejects_kept),
    'rows_per_second', round((sum(p.lines) / nullif(
      extract(epoch FROM coalesce(j.finished_at, clock_timestamp()) - min(p.started_at)), 0
    ))::numeric, 1),
    'parts', jsonb_build_object(
      'total', count(*), 'waiting', count(*) FILTER (WHERE p.state = 'waiting'),
      'running', count(*) FILTER (WHERE p.state = 'running'),
      'succeeded', count(*) FILTER (WHERE p.state = 'succeeded'),
      'failed', count(*) FILTER (WHERE p.state = 'failed'),
      'cancelled', count(*) FILTER (WHERE p.state = 'cancelled')
    )
  ) AS sums
  FROM pmp.import_job AS p WHERE p.parent_id = j.id AND j.parts IS NOT NULL
) AS s ON j.parts IS NOT NULL
""".replace(":effects", ", ".join(f"'{name}', sum(p.{name})" for name in EFFECTS))
"""The jobs; of one with parts, the sums of these take the place of its own."""


def what(dry_run: bool) -> str:
    """The first word of what a log says of a job. The metrics count imports, and no dry runs."""
    return "dry run" if dry_run else "import"


def create(
    connection: Connection, request: dict[str, Any], client: str, mapping: dict[str, Any] | None = None
) -> dict[str, Any]:
    """POST /imports: insert a job that waits for its upload.

    Args:
        connection: to the database.
        request: ``{"format"?: "ndjson" | "csv", "compression"?: "none" | "gzip", "sha256"?, "dry_run"?,
            "occurred_at"?, "max_rejected"?, "file_name"?, "size"?, "content_type"?}``, validated.
        client: id of the requesting OAuth client.
        mapping: of the file's records to events; None: they are in PMP's own form.

    Returns:
        ``{"id", "state", "upload": {"method": "PUT", "url", "headers"}}``; the URL is valid for one hour.
    """
    job, bucket = identifiers.new(), configuration().imports_bucket
    form, compression = request.get("format", "ndjson"), request.get("compression", "none")
    key = f"{UPLOAD_PREFIX}{job}.{form}" + (".gz" if compression == "gzip" else "")
    connection.run(
        "INSERT INTO pmp.import_job"
        " (id, format, compression, dry_run, expected_sha256, client, bucket, object_key, occurred_at, mapping,"
        "  max_rejected, file_name, expected_bytes, content_type, expects_upload)"
        " VALUES (:id, :format, :compression, :dry_run, :sha256, :client, :bucket, :key, :occurred_at,"
        "  CAST(:mapping AS jsonb), :max_rejected, :file_name, :size, :content_type, true)",
        id=job,
        client=client,
        bucket=bucket,
        key=key,
        format=form,
        compression=compression,
        dry_run=bool(request.get("dry_run", False)),
        mapping=json.dumps(mapping) if mapping else None,
        **{
            name: request.get(name)
            for name in ("sha256", "occurred_at", "max_rejected", "file_name", "size", "content_type")
        },
    )
    return announced(connection, job)


def announced(connection: Connection, job: str) -> dict[str, Any]:
    """The answer of ``create``, also again, with a new URL: the first one may have expired, and is stored nowhere."""
    ((bucket, key, sha256, size, content_type, parts),) = connection.run(
        "SELECT bucket, object_key, expected_sha256, expected_bytes, content_type, parts FROM pmp.import_job"
        " WHERE id = :id",
        id=job,
    )
    if parts is not None:
        return {"id": job, "state": "running"}
    return {"id": job, "state": "waiting", "upload": _upload(bucket, key, sha256, size, content_type)}


def _upload(bucket: str, key: str, sha256: str | None, size: int | None, content_type: str | None) -> dict[str, Any]:
    # What is signed here, the client has to send, and S3 refuses anything else. If-None-Match refuses a second upload:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/example_s3_Scenario_PresignedUrl_section.html
    signed: dict[str, Any] = {"IfNoneMatch": "*"}
    headers = {"If-None-Match": "*"}
    if sha256 is not None:
        # The worker compares again, because not every S3-compatible store does.
        signed["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = base64.b64encode(bytes.fromhex(sha256)).decode()
    if content_type is not None:
        signed["ContentType"] = headers["Content-Type"] = content_type
    if size is not None:
        signed["ContentLength"] = size
        headers["Content-Length"] = str(size)
    url = objects.client().generate_presigned_url(
        "put_object", Params={"Bucket": bucket, "Key": key, **signed}, ExpiresIn=UPLOAD_SECONDS
    )
    return {"method": "PUT", "url": url, "headers": headers}


def get(connection: Connection, job: str, *, lock: bool = False) -> dict[str, Any] | None:
    """GET /imports/{id}: the import's status; None if there is no such import.

    Args:
        connection: to the database.
        job: the import's id.
        lock: keep it as it is until the end of the transaction.
    """
    locking = " FOR UPDATE OF j" if lock else ""
    rows = connection.run(f"SELECT {_DOCUMENT} FROM {_FROM} WHERE j.id = :id{locking}", id=job)  # noqa: S608
    return cast("dict[str, Any]", rows[0][0]) if rows else None


FILTERS = {
    "key": "j.object_key = :key",
    "file_name": "j.file_name = :file_name",
    "client": "j.client = :client",
    "state": "j.state = :state",
    "parent": "j.parent_id = CAST(:parent AS uuid)",
    "created_since": "j.created_at >= CAST(:created_since AS timestamptz)",
    "created_before": "j.created_at < CAST(:created_before AS timestamptz)",
}
"""By query parameter of GET /imports, the condition on a job."""

_FINDS_PARTS = {"parent", "key", "file_name"}
"""Filters that also find parts; otherwise a list has their import instead of them."""


def list_jobs(
    connection: Connection, after: str | None, limit: int, filters: dict[str, str] | None = None
) -> tuple[list[dict[str, Any]], str | None]:
    """GET /imports: a page, newest first, and the id after which the next page begins (None: this is the last).

    Args:
        connection: to the database.
        after: id of the last import on the page before; None for the first page.
        limit: imports on a page.
        filters: values of some of ``FILTERS``.
    """
    filters = filters or {}
    own = "" if _FINDS_PARTS & filters.keys() else " AND j.parent_id IS NULL"
    rows = connection.run(
        f"SELECT {_DOCUMENT} FROM {_FROM}"  # noqa: S608
        " WHERE (CAST(:after AS uuid) IS NULL"
        "  OR (j.created_at, j.id) < (SELECT b.created_at, b.id FROM pmp.import_job AS b WHERE b.id = :after))"
        f"{own}{''.join(f' AND {FILTERS[name]}' for name in filters)}"
        " ORDER BY j.created_at DESC, j.id DESC LIMIT :row_limit",
        after=after,
        row_limit=limit + 1,
        **filters,
    )
    documents = [row[0] for row in rows[:limit]]
    return documents, documents[-1]["id"] if len(rows) > limit else None


def cancel(connection: Connection, job: str, client: str) -> dict[str, Any] | None:
    """DELETE /imports/{id}: stop the import, or all of its parts, after the last whole batch.

    One that has ended stays as it is.

    Events that were already accepted are kept: events are never removed. The counts say how many there are.

    Args:
        connection: to the database.
        job: the import's id.
        client: id of the requesting OAuth client; recorded if the import had not ended.

    Returns:
        As ``get``.
    """
    cancelled = connection.run(
        "UPDATE pmp.import_job SET state = 'cancelled', cancelled_by = :client, finished_at = clock_timestamp(),"
        " lease_owner = NULL, lease_until = NULL"
        " WHERE (id = :id OR parent_id = :id) AND state IN ('waiting', 'running') RETURNING id",
        id=job,
        client=client,
    )
    connection.after_commit(lambda: log_end(connection, [str(one) for (one,) in cancelled]))
    document = get(connection, job)
    if document is not None and document["parent"] is not None:
        connection.after_commit(lambda: settle(connection, document["parent"]))
    return document


def log_end(connection: Connection, ended: Sequence[str]) -> None:
    """Write the one line of each import that has ended, from which the metrics come.

    It names nobody; not even ``error``, which quotes a file that is not what it should be. ``get`` has it.

    Args:
        connection: to the database.
        ended: ids of imports; those of several objects have no such line.
    """
    rows = connection.run(
        "SELECT to_jsonb(j), extract(epoch FROM finished_at - coalesce(started_at, finished_at))"
        " FROM pmp.import_job AS j WHERE id = ANY(CAST(:ended AS uuid[])) AND parts IS NULL",
        ended=list(ended),
    )
    for row, seconds in rows:
        names = ("state", "lines", "accepted", "skipped", "rejected", "reasons", "attempts", *EFFECTS)
        told = {name: row[name] for name in names} | {"seconds": round(float(seconds), 3)}
        level = "error" if row["state"] == "failed" and not row["dry_run"] else "info"
        if row["dry_run"]:
            log("dry run ended", job=row["id"], level=level, **told)
        else:
            log("import ended", job=row["id"], level=level, **told)


def settle(connection: Connection, job: str | None = None) -> None:
    """End imports whose parts have all ended: as succeeded if all of them have, otherwise as failed.

    Call it after the end of a part is committed: of two parts that end at once, one sees the end of the other.

    Args:
        connection: to the database.
        job: the import; None: all of them.
    """
    rows = connection.run(
        "UPDATE pmp.import_job AS j SET state = CASE WHEN p.lost = 0 THEN 'succeeded' ELSE 'failed' END,"
        " finished_at = clock_timestamp(), error = CASE WHEN p.lost > 0 THEN p.lost || ' of ' || j.parts || ' parts"
        " failed or were cancelled; the first is ' || p.first || '; GET /v1/imports?parent=' || j.id || ' lists them'"
        " END FROM (SELECT c.parent_id, count(*) FILTER (WHERE c.state <> 'succeeded') AS lost,"
        "  min(c.object_key || coalesce(': ' || c.error, '')) FILTER (WHERE c.state <> 'succeeded') AS first"
        "  FROM pmp.import_job AS c WHERE c.parent_id IN (SELECT id FROM pmp.import_job WHERE parts IS NOT NULL"
        "   AND state = 'running' AND (CAST(:id AS uuid) IS NULL OR id = :id))"
        "  GROUP BY c.parent_id HAVING bool_and(c.state IN ('succeeded', 'failed', 'cancelled'))) AS p"
        " WHERE j.id = p.parent_id AND j.state = 'running' RETURNING j.id, j.state, j.parts, p.lost",
        id=job,
    )
    for ended, state, parts, lost in rows:
        log("import of several objects ended", job=str(ended), state=state, parts=parts, parts_lost=lost)


def rejects_url(connection: Connection, job: str) -> str | None:
    """GET /imports/{id}/rejects: a URL of the rejected lines, valid for 15 minutes; None if there is no such file."""
    rows = connection.run(
        "SELECT bucket, CASE WHEN rejects_removed_at IS NULL THEN rejects_key END FROM pmp.import_job WHERE id = :id",
        id=job,
    )
    if not rows or rows[0][1] is None:
        return None
    return objects.download_url(rows[0][0], rows[0][1])


def told_by_name(key: str) -> dict[str, str]:
    """What the key of an object tells that no request described: ``{"format", "compression", "file_name"}``."""
    name = key.lower()
    return {
        "format": "csv" if name.removesuffix(".gz").endswith(".csv") else "ndjson",
        "compression": "gzip" if name.endswith(".gz") else "none",
        "file_name": key.rpartition("/")[2],
    }


def for_object(  # noqa: PLR0917 - what a notification says
    connection: Connection, bucket: str, key: str, version: str, size: int | None, uploader: str | None = None
) -> str | None:
    """The id of an uploaded object's job, which is inserted if there is none. Repeated notifications give the same job.

    An upload through the API belongs to the job that waits for it. If that one has ended, or has its file already, the
    result is None: the object must not be imported. The format of any other object is read from the end of its key.

    Args:
        connection: to the database.
        bucket: the object's bucket.
        key: the object's key, not URL-encoded.
        version: see ``objects.pinned``.
        size: in bytes.
        uploader: AWS's name of who uploaded it.
    """
    with connection.transaction():
        arguments = {"bucket": bucket, "key": key, "version": version}
        rows = connection.run(
            "SELECT id FROM pmp.import_job WHERE bucket = :bucket AND object_key = :key AND object_version = :version",
            **arguments,
        ) or connection.run(
            "UPDATE pmp.import_job SET object_version = :version, bytes_total = :size, uploader = :uploader"
            " WHERE id = ("
            " SELECT id FROM pmp.import_job WHERE bucket = :bucket AND object_key = :key AND object_version IS NULL"
            "  AND state = 'waiting' FOR UPDATE SKIP LOCKED)"
            " RETURNING id",
            size=size,
            uploader=uploader,
            **arguments,
        )
        if not rows:
            announced = "SELECT FROM pmp.import_job WHERE bucket = :bucket AND object_key = :key AND expects_upload"
            if connection.run(announced, bucket=bucket, key=key):
                return None
            mapping = mappings.for_key(connection, key)
            connection.run(
                "INSERT INTO pmp.import_job (id, format, compression, client, bucket, object_key, object_version,"
                "  bytes_total, file_name, uploader, mapping)"
                " VALUES (:id, :format, :compression, 's3', :bucket, :key, :version, :size, :file_name, :uploader,"
                "  CAST(:mapping AS jsonb))"
                " ON CONFLICT DO NOTHING",
                id=identifiers.new(),
                mapping=json.dumps(mapping) if mapping else None,
                size=size,
                **told_by_name(key),
                uploader=uploader,
                **arguments,
            )
            rows = connection.run(
                "SELECT id FROM pmp.import_job"
                " WHERE bucket = :bucket AND object_key = :key AND object_version = :version",
                **arguments,
            )
        return str(rows[0][0])
