"""Imports of several objects: one import with a sum, whose parts are imports of one object each (ADR 0217).

Parts are chosen in two ways. Objects in a folder whose name begins with ``_`` wait until ``POST /imports`` names them.
All others are imported as they arrive; an object ``_SUCCESS``, which Hadoop and Spark write last, then makes one import
of the folder's. As for these, names that begin with ``_`` or ``.`` are not data:
https://hadoop.apache.org/docs/stable/api/org/apache/hadoop/mapreduce/lib/input/FileInputFormat.html
"""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pmp import identifiers, objects, tasks
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.imports import jobs

MOST_PARTS = 1000
MARKER = "/_SUCCESS"

_IS_HIDDEN = re.compile(r"(^|/)[_.]").search
_IS_IN_WAITING_FOLDER = re.compile(r"(^|/)_[^/]*/").search
_GATHERED = "1 day"
"""How old an import may be that a marker makes a part."""

_HEADS_AT_ONCE = 16


class ChoiceError(ValueError):
    """The objects that a request names cannot be imported together.

    Args:
        errors: ``[{"pointer", "detail"}]``.
    """

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__(errors)
        self.errors = errors


def is_data(key: str) -> bool:
    """Whether an object is imported as it arrives: no part of its key begins with ``_`` or ``.``."""
    return not _IS_HIDDEN(key.removeprefix(jobs.UPLOAD_PREFIX))


def is_marker(key: str) -> bool:
    """Whether an object says that its folder is complete."""
    folder = key.removesuffix(MARKER)
    return key.endswith(MARKER) and folder.startswith(jobs.UPLOAD_PREFIX) and is_data(folder)


def create(
    connection: Connection, request: dict[str, Any], client: str, mapping: dict[str, Any] | None
) -> dict[str, Any]:
    """POST /imports with ``prefix`` or ``keys``: insert an import with a part for each object, and begin them.

    Args:
        connection: to the database, inside a transaction.
        request: ``{"prefix"? | "keys"?, "occurred_at"?, "max_rejected"?, "file_name"?}``, validated.
        client: id of the requesting OAuth client.
        mapping: of the files' records to events; None: they are in PMP's own form.

    Returns:
        ``{"id", "state"}``.

    Raises:
        ChoiceError: the objects do not wait to be imported, do not exist, or are too many.
    """
    bucket = configuration().imports_bucket
    found = (
        _of_keys(bucket, list(dict.fromkeys(request["keys"])))
        if "keys" in request
        else _of_prefix(bucket, request["prefix"])
    )
    taken = {
        (key, version)
        for key, version in connection.run(
            "SELECT object_key, object_version FROM pmp.import_job WHERE bucket = :bucket"
            " AND object_key = ANY(CAST(:keys AS text[]))",
            bucket=bucket,
            keys=[one.key for one in found],
        )
    }
    chosen = [one for one in found if (one.key, one.version) not in taken]
    if not chosen or ("keys" in request and len(chosen) < len(found)):
        again = "was imported already; upload it again to import it again"
        if "keys" in request:
            raise ChoiceError(
                [{"pointer": f"/keys/{place}", "detail": again} for place, one in enumerate(found) if one not in chosen]
            )
        raise ChoiceError([{"pointer": "/prefix", "detail": "has no object that was not imported already"}])
    job, key = identifiers.new(), request.get("prefix") or _common_folder([one.key for one in chosen])
    told = {name: request.get(name) for name in ("occurred_at", "max_rejected")}
    told["mapping"] = json.dumps(mapping) if mapping else None
    _insert(connection, job, key, client, len(chosen), file_name=request.get("file_name"), **told)
    connection.run(
        "INSERT INTO pmp.import_job (id, format, compression, client, bucket, object_key, object_version, bytes_total,"
        "  file_name, occurred_at, max_rejected, mapping, parent_id)"
        " SELECT p.id, p.format, p.compression, :client, :bucket, p.key, p.version, p.size, p.file_name, :occurred_at,"
        "  CAST(:max_rejected AS bigint), CAST(:mapping AS jsonb), CAST(:parent AS uuid)"
        " FROM jsonb_to_recordset(CAST(:parts AS jsonb)) AS p (id uuid, format text, compression text, key text,"
        "  version text, size bigint, file_name text)",
        client=client,
        bucket=bucket,
        parent=job,
        parts=json.dumps(
            [
                {
                    "id": identifiers.new(),
                    "key": one.key,
                    "version": one.version,
                    "size": one.size,
                    **jobs.told_by_name(one.key),
                }
                for one in chosen
            ]
        ),
        **told,
    )
    connection.after_commit(lambda: tasks.begin({"task": "import", "job": job}))
    return {"id": job, "state": "running"}


def close(connection: Connection, bucket: str, marker: str, uploader: str | None) -> list[str]:
    """After the marker of a folder arrived: make its imports, and those below it, parts of one.

    They are those that are no part yet and began within a day. A folder of more than ``MOST_PARTS`` becomes several
    imports. The marker's notification may come twice, or before those of the objects.

    Args:
        connection: to the database.
        bucket: the objects' bucket.
        marker: key of the marker.
        uploader: AWS's name of who uploaded it.

    Returns:
        Ids of the imports that were made.
    """
    folder, made = marker.removesuffix(MARKER.removeprefix("/")), list[str]()
    for one in objects.newest(bucket, folder):
        if is_data(one.key):
            jobs.for_object(connection, bucket, one.key, one.version, one.size)
    while True:
        job = identifiers.new()
        with connection.transaction():
            ((parts,),) = connection.run(
                "SELECT count(*) FROM (SELECT FROM pmp.import_job AS j WHERE bucket = :bucket"  # noqa: S608
                f" AND {_LOOSE} LIMIT :most) AS part",
                bucket=bucket,
                folder=folder,
                most=MOST_PARTS,
            )
            if not parts:
                return made
            _insert(connection, job, folder, "s3", parts, file_name=folder.split("/")[-2], uploader=uploader)
            connection.run(
                "UPDATE pmp.import_job SET parent_id = CAST(:parent AS uuid) WHERE id IN (SELECT id"  # noqa: S608
                f" FROM pmp.import_job AS j WHERE bucket = :bucket AND {_LOOSE} ORDER BY created_at, id LIMIT :most)",
                parent=job,
                bucket=bucket,
                folder=folder,
                most=parts,
            )
        made.append(job)
        jobs.settle(connection, job)


_LOOSE = (
    "starts_with(j.object_key, :folder) AND j.parent_id IS NULL AND j.parts IS NULL AND NOT j.expects_upload"
    f" AND j.created_at > now() - interval '{_GATHERED}'"
)
"""SQL: whether an import is one that a folder's marker makes a part."""


def _insert(connection: Connection, job: str, key: str, client: str, parts: int, **columns: object) -> None:
    names = "".join(f", {name}" for name in columns)
    values = "".join(f", CAST(:{name} AS jsonb)" if name == "mapping" else f", :{name}" for name in columns)
    connection.run(
        "INSERT INTO pmp.import_job"  # noqa: S608
        f" (id, state, started_at, format, compression, client, bucket, object_key, parts{names})"
        f" VALUES (:id, 'running', clock_timestamp(), 'ndjson', 'none', :client, :bucket, :key, :parts{values})",
        id=job,
        client=client,
        bucket=configuration().imports_bucket,
        key=key,
        parts=parts,
        **columns,
    )


def begin(connection: Connection, job: str) -> bool:
    """Begin the parts of an import that nobody works on yet; False if it is none of several objects."""
    rows = connection.run(
        "SELECT id FROM pmp.import_job WHERE parent_id = :id AND state = 'waiting' ORDER BY created_at, id", id=job
    )
    tasks.begin_all([{"task": "import", "job": str(part)} for (part,) in rows])
    return bool(rows)


def _of_prefix(bucket: str, prefix: str) -> list[objects.Found]:
    """The objects under a prefix that can be data.

    Raises:
        ChoiceError: they are imported as they arrive, are none, or too many.
    """
    if not _IS_IN_WAITING_FOLDER(prefix.removeprefix(jobs.UPLOAD_PREFIX)):
        raise ChoiceError([{"pointer": "/prefix", "detail": _NOT_WAITING}])
    found = []
    for one in objects.newest(bucket, prefix):
        # Below the prefix, the usual rule holds: neither markers nor temporary files.
        if not _IS_HIDDEN(one.key.removeprefix(prefix)):
            found.append(one)
        if len(found) > MOST_PARTS:
            detail = f"has more than {MOST_PARTS} objects; import a part of them at a time"
            raise ChoiceError([{"pointer": "/prefix", "detail": detail}])
    if not found:
        raise ChoiceError([{"pointer": "/prefix", "detail": "has no objects"}])
    return sorted(found)


_NOT_WAITING = (
    "is imported as it arrives; upload what shall wait for this request to a folder whose name begins with _, such as "
    "imports/_crm/; or complete a folder with an object _SUCCESS, and its imports become one"
)


def _of_keys(bucket: str, keys: Sequence[str]) -> list[objects.Found]:
    """The newest versions of these objects.

    Raises:
        ChoiceError: some are imported as they arrive, or do not exist.
    """
    errors = [
        {"pointer": f"/keys/{place}", "detail": _NOT_WAITING}
        for place, key in enumerate(keys)
        if not _IS_IN_WAITING_FOLDER(key.removeprefix(jobs.UPLOAD_PREFIX))
    ]
    if errors:
        raise ChoiceError(errors)
    with ThreadPoolExecutor(max_workers=_HEADS_AT_ONCE) as threads:
        found = list(threads.map(lambda key: objects.find(bucket, key), keys))
    errors = [
        {"pointer": f"/keys/{place}", "detail": "does not exist in the imports bucket"}
        for place, one in enumerate(found)
        if one is None
    ]
    if errors:
        raise ChoiceError(errors)
    return [one for one in found if one is not None]


def _common_folder(keys: Sequence[str]) -> str:
    """The folder that holds all of them, with its slash."""
    first, last = min(keys), max(keys)
    shared = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: first.rfind("/", 0, shared) + 1]
