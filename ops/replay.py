"""Repeat the erasures that a restored database has forgotten, from their journal in S3 (docs/adr/0209)."""

import json
import re
from collections import Counter
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from ops import aws
from ops.errors import UserError
from ops.migrate import Migration
from ops.output import say, step

_PREFIX = "erasures/"
_PORTION = 1000
"""Entries per transaction, during which import batches wait: about a second."""
_READERS = 16
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_HASH = re.compile(r"[0-9a-f]{64}").fullmatch


_BEFORE = """BEGIN;
CREATE TEMPORARY TABLE entry (user_ids uuid[], hashes bytea[], erased_at timestamptz) ON COMMIT DROP;
COPY entry FROM STDIN;
"""
_AFTER = """SELECT outcome, count(*) FROM (
  SELECT pmp.replay_erasure(user_ids, hashes, erased_at) AS outcome FROM entry
) AS done GROUP BY outcome;
COMMIT;
"""


@dataclass(frozen=True)
class Entry:
    """An entry of the journal.

    Attributes:
        user_ids: UUIDs of the erased user, and of those who had been merged into this one.
        address_hashes: HMAC-SHA256 of each address and other identifier that the user had, in hexadecimal.
        erased_at: when.
    """

    user_ids: tuple[str, ...]
    address_hashes: tuple[str, ...]
    erased_at: datetime

    @classmethod
    def read(cls, text: bytes) -> "Entry":
        """Read an entry as the function wrote it.

        Raises:
            ValueError: it is not one.
        """
        try:
            found = json.loads(text)
            erased_at = datetime.fromisoformat(found["erased_at"])
            entry = cls(tuple(found["user_ids"]), tuple(found["address_hashes"]), erased_at)
            are_hashes = entry.address_hashes and all(map(_HASH, entry.address_hashes))
            are_ids = entry.user_ids and all(map(_UUID, entry.user_ids))
            if are_ids and are_hashes and erased_at.tzinfo:
                return entry
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError("not an entry of the journal") from error
        raise ValueError("not an entry of the journal")


def replay(environment: str) -> None:
    """Bring every erasure of the journal into the database; what it knows already stays as it is.

    Users who are there again are erased. Hashes come back, so that imports do not bring anybody back. Users are found
    by their id, so that nobody who registered again later is touched.

    Args:
        environment: name, such as ``dev``.

    Raises:
        UserError: an entry is damaged, or the database refused; what was done until then stays, and can be repeated.
    """
    bucket = aws.parameter(f"/pmp/{environment}/foundation/erasures_bucket_name")
    migration = Migration(environment)
    outcomes: Counter[str] = Counter()
    known = frozenset(migration.run_script("SELECT user_id FROM pmp.erasure;\n"))
    entries = read_journal(bucket, known)
    while portion := list(islice(entries, _PORTION)):
        for line in migration.run_script(script(portion)):
            outcome, _, count = line.partition("|")
            outcomes[outcome] += int(count)
    say(
        f"erasures of {environment}: {outcomes['erased']} users erased again, {outcomes['remembered']} hashes "
        f"restored, {len(known) + outcomes['known']} known before"
    )


def replay_if_restored(environment: str) -> None:
    """Replay the journal if the instance that serves was made by a restore: nobody has to remember it.

    An entry that the database knows is not read, so that the deployments after the first one take seconds.

    Raises:
        UserError: see ``replay``.
    """
    if aws.parameter(f"/pmp/{environment}/foundation/database_identifier") != f"pmp-{environment}":
        with step(f"erasures of {environment}"):
            replay(environment)


def read_journal(bucket: str, known: Container[str] = ()) -> Iterator[Entry]:
    """Read the journal's entries.

    Args:
        bucket: name of its bucket.
        known: ids of users whose entries are passed over.

    Raises:
        UserError: an object is not an entry; the message names it.
    """
    store = aws.client("s3")

    def read(key: str) -> Entry:
        try:
            return Entry.read(store.get_object(Bucket=bucket, Key=key)["Body"].read())
        except ValueError as error:
            raise UserError(
                f"s3://{bucket}/{key} is {error}: restore the earlier version that the function wrote"
            ) from error

    with ThreadPoolExecutor(_READERS) as readers:
        for listed in store.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=_PREFIX):
            keys = [one["Key"] for one in listed.get("Contents", [])]
            yield from readers.map(read, [key for key in keys if _user(key) not in known])


def _user(key: str) -> str:
    return key.removeprefix(_PREFIX).removesuffix(".json")


def script(entries: list[Entry]) -> str:
    """Return psql's script that replays entries in one transaction and prints ``outcome|count`` lines."""
    # A backslash is doubled for the array, and both again for COPY.
    rows = "".join(
        "{{{}}}\t{{{}}}\t{}\n".format(
            ",".join(one.user_ids), ",".join(rf"\\\\x{mark}" for mark in one.address_hashes), one.erased_at.isoformat()
        )
        for one in entries
    )
    return f"{_BEFORE}{rows}\\.\n{_AFTER}"
