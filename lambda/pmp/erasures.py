"""What an erasure leaves: hashes of the addresses, an entry in the journal, and copies that expire (docs/adr/0209)."""

import hmac
import json
from functools import lru_cache
from typing import Any

from pmp import addresses, objects, vault
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.logging import log

HASH_BYTES = 32
_PLACES = {
    "backups": "backups of the database; snapshots made by hand are kept until somebody deletes them",
    "uploads": "uploaded files of imports that have failed, were cancelled, or have not ended",
    "rejects": "files of lines that imports have rejected",
    "exports": "files of exports that began before the erasure",
}


class UnrecordedError(Exception):
    """The erasure could not be written into the journal."""


@lru_cache(maxsize=1)
def key() -> bytes:
    """The key of the hashes, from Secrets Manager; read once.

    Raises:
        BotoCoreError, ClientError: it cannot be read, or the migration job has not made it yet.
        KeyError, ValueError: its value is not what the migration job writes.
    """
    return bytes.fromhex(vault.read(configuration().erasure_key_secret_arn)["key"])


def identifier_hash(text: str) -> bytes:
    """HMAC-SHA256 (RFC 2104) of an identifier: 32 bytes that nobody without the key can test an identifier against.

    Args:
        text: ``pmp.people.Name.text``.
    """
    return hmac.digest(key(), text.encode(), "sha256")


def address_hash(address: str) -> bytes:
    """``identifier_hash`` of an address.

    Args:
        address: as ``addresses.normalize`` gives it, in any case.
    """
    return identifier_hash(addresses.fold(address))


def record(users: list[str], erased_at: str, marks: list[bytes]) -> None:
    """Write an erasure into the journal, from which ``python -m ops replay-erasures`` repeats it after a restore.

    A repetition writes the same object again, in a new version.

    Args:
        users: ids of the user, and of those who were merged into this one.
        erased_at: RFC 3339.
        marks: ``identifier_hash`` of each identifier that the user has or had.

    Raises:
        UnrecordedError: S3 did not take it.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    entry = {"user_ids": users, "erased_at": erased_at, "address_hashes": [mark.hex() for mark in marks]}
    try:
        _client().put_object(
            Bucket=configuration().erasures_bucket,
            Key=f"erasures/{users[0]}.json",
            Body=json.dumps(entry).encode(),
            ContentType="application/json",
        )
    except (BotoCoreError, ClientError) as error:
        raise UnrecordedError(f"erasure of user {users[0]} is not in the journal: {error}") from error


def remove_files(users: list[str]) -> bool:
    """Delete the exports of each of these users alone; whether that worked. If not, the bucket deletes them soon."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        for user in users:
            objects.remove_all(configuration().imports_bucket, f"{objects.PERSON_PREFIX}{user}/", _client())
    except (BotoCoreError, ClientError) as error:
        log("exports of an erased user not deleted", level="error", error=error)
        return False
    return True


def remains(connection: Connection, erased_at: str, *, files_are_gone: bool) -> list[dict[str, str]]:
    """What still holds the address of a user who is erased now, and the latest time until which it does.

    Args:
        connection: to the database.
        erased_at: RFC 3339.
        files_are_gone: the result of ``remove_files``.

    Returns:
        ``[{"place", "until", "detail"}]``.
    """
    settings = configuration()
    rows = connection.run(
        "SELECT place, pmp.instant(until) FROM ("
        " SELECT 'backups' AS place, CAST(:at AS timestamptz) + :backup_days * interval '1 day' AS until"
        # The bucket deletes at the latest a day after it has expired an object, and counts from midnight.
        " UNION ALL SELECT 'uploads', max(least(j.finished_at + CAST(:upload_kept AS interval),"
        "  j.created_at + (:upload_days + 2) * interval '1 day'))"
        "  FROM pmp.import_job AS j WHERE j.removed_at IS NULL AND j.object_version IS NOT NULL"
        " UNION ALL SELECT 'rejects', max(least(j.finished_at + CAST(:upload_kept AS interval),"
        "  j.created_at + (:upload_days + 2) * interval '1 day'))"
        "  FROM pmp.import_job AS j WHERE j.rejects_removed_at IS NULL AND j.rejects_kept > 0"
        " UNION ALL SELECT 'exports', greatest(max(least(j.finished_at + j.kept,"
        "  j.created_at + (:upload_days + 2) * interval '1 day')), CASE WHEN NOT :files_are_gone"
        "  THEN CAST(:at AS timestamptz) + interval '3 days' END)"
        "  FROM pmp.export_job AS j WHERE j.removed_at IS NULL AND j.started_at IS NOT NULL"
        # Housekeeping comes once an hour.
        ") AS copy WHERE until + interval '1 hour' > CAST(:at AS timestamptz)",
        at=erased_at,
        backup_days=settings.backup_retention_days,
        upload_days=settings.upload_retention_days,
        upload_kept=objects.UPLOAD_KEPT,
        files_are_gone=files_are_gone,
    )
    return [{"place": place, "until": until, "detail": _PLACES[place]} for place, until in rows]


@lru_cache(maxsize=1)
def _client() -> Any:
    """A client that gives up while the request still has time: the user's row is locked meanwhile."""
    import os

    import boto3
    from botocore.config import Config

    create: Any = boto3.client
    return create(
        "s3",
        config=Config(
            # See pmp.objects.client.
            s3={"addressing_style": "path" if os.environ.get("AWS_ENDPOINT_URL") else "virtual"},
            connect_timeout=2,
            read_timeout=4,
            retries={"mode": "standard", "total_max_attempts": 2},
            request_checksum_calculation="when_required",
        ),
    )
