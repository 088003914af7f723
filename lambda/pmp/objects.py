"""Objects in S3: read in a pinned version, with failed reads resumed; written in parts of bounded size."""

import http.client
import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

CHUNK_BYTES = 1 << 20
PART_BYTES = 8 << 20
"""Size of a part of an upload; S3 takes up to 10,000 parts of at least 5 MiB each."""

LEAST_PART_BYTES = 5 << 20
"""Of all parts of an upload but the last."""

LARGEST_PUT_BYTES = 5 << 30
"""S3 takes no larger object in one request: https://docs.aws.amazon.com/AmazonS3/latest/userguide/upload-objects.html."""

UPLOAD_KEPT = "7 days"
"""How long the upload of an import that failed or was cancelled, and the rejected lines of any, are kept after its end;
PostgreSQL reads it."""

PERSON_PREFIX = "exports/users/"
"""Folder of the exports of single users, by user id; the bucket deletes them a day later."""

READ_TIMEOUT_SECONDS = 10
_ATTEMPTS = 6
_LEAST_BOTO3 = (1, 36)
"""The first with ``request_checksum_calculation``. On Lambda, the runtime brings boto3, in a version that depends on
Region and day: https://docs.aws.amazon.com/lambda/latest/dg/python-package.html#python-package-dependencies."""
_PAUSE_SECONDS = 0.2


class _Address(TypedDict):
    Bucket: str
    Key: str


class ObjectGoneError(Exception):
    """The object or this version of it does not exist any more or may not be read; trying again does not help."""


class ObjectUnreadableError(Exception):
    """S3 failed repeatedly; trying again later may help."""


class UploadGoneError(Exception):
    """The upload or a part of it does not exist any more: completed, aborted, expired, or replaced."""


@dataclass(slots=True)
class Count:
    """Bytes of an object read so far."""

    bytes_read: int = 0


def counted(chunks: Iterator[bytes], count: Count) -> Iterator[bytes]:
    """The same chunks; their bytes are added to the count."""
    for chunk in chunks:
        count.bytes_read += len(chunk)
        yield chunk


def skipped(chunks: Iterator[bytes], count: int, beat: Callable[[], None] | None = None) -> Iterator[bytes]:
    """The bytes after the first ``count``; ``beat`` is called for each whole chunk that is skipped."""
    for chunk in chunks:
        if count >= len(chunk):
            count -= len(chunk)
            if beat is not None:
                beat()
            continue
        yield chunk[count:] if count else chunk
        count = 0


@lru_cache(maxsize=1)
def client() -> "S3Client":
    """The S3 client, created on first use because boto3 takes a third of a second to import."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "s3",
        config=Config(
            signature_version="s3v4",
            # An emulator has no host name for each bucket. "auto" would presign URLs of the global endpoint, which
            # redirects requests for new buckets and fails in newer Regions; "virtual" presigns regional ones.
            # https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
            s3={"addressing_style": "path" if os.environ.get("AWS_ENDPOINT_URL") else "virtual"},
            connect_timeout=3,
            read_timeout=READ_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 3},
            # No checksums by default: a presigned upload must not require one that its client was not told of.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def boto3_state() -> str:
    """``ok``, ``too_old`` or ``missing``; reads the version without importing boto3, which is slow."""
    from importlib.util import find_spec

    spec = find_spec("boto3")
    if spec is None or spec.origin is None:
        return "missing"
    with open(spec.origin, encoding="utf-8") as source:  # noqa: PTH123 - pathlib is slow to import
        found = re.search(r"^__version__ = ['\"](\d+)\.(\d+)", source.read(), re.MULTILINE)
    return "ok" if found and (int(found[1]), int(found[2])) >= _LEAST_BOTO3 else "too_old"


def pinned(version: str) -> dict[str, str]:
    """GetObject's arguments for a job's version: S3's version id, or ``etag:…`` in an unversioned bucket."""
    return {"IfMatch": version.removeprefix("etag:")} if version.startswith("etag:") else {"VersionId": version}


def read(
    bucket: str, key: str, version: str, *, start: int = 0, describe: Callable[[dict[str, Any]], None] | None = None
) -> Iterator[bytes]:
    """The bytes of an object from ``start`` on, in chunks of at most 1 MiB.

    A read that stalls, is reset or ends early is resumed by a new request for the same version. If a server ignores the
    request's range (RFC 9110, section 14.2), the bytes that it sends again are skipped.

    Args:
        bucket: the object's bucket.
        key: the object's key, not URL-encoded.
        version: see ``pinned``.
        start: offset of the first byte.
        describe: called once with the first response (``ContentLength`` of the rest, ``LastModified``).

    Raises:
        ObjectGoneError: there is no such version, or reading it is forbidden.
        ObjectUnreadableError: six attempts in a row brought no byte.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    position, end, failures, reason = start, None, 0, ""
    while end is None or position < end:
        if failures:
            if failures >= _ATTEMPTS:
                raise ObjectUnreadableError(
                    f"s3://{bucket}/{key}: no byte after {position} in {failures} tries: {reason}"
                )
            time.sleep(_PAUSE_SECONDS * 2**failures)
        try:
            # No Range for the whole object: S3 answers 416 to a range of an empty one.
            span = {"Range": f"bytes={position}-"} if position else {}
            answer = client().get_object(Bucket=bucket, Key=key, **pinned(version), **span)  # type: ignore[arg-type]
            begins = _begin(answer)
            if end is None:
                end = begins + answer["ContentLength"]
                if describe is not None:
                    describe(dict(answer))
            # Directly from urllib3: botocore's own iteration would only add a copy.
            for chunk in skipped(answer["Body"].iter_chunks(CHUNK_BYTES), position - begins):
                position += len(chunk)
                failures = 0
                yield chunk
            if position < end:
                failures, reason = failures + 1, "the body ended early"
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            code = error.response.get("Error", {}).get("Code", "")
            if status == 416 and position == end:
                return
            if status in {403, 404, 405, 412}:
                raise ObjectGoneError(
                    f"s3://{bucket}/{key} in version {version} cannot be read ({status} {code}): it was deleted, "
                    "replaced, or may not be read by this function"
                ) from error
            failures, reason = failures + 1, f"{status} {code}"
        except (BotoCoreError, OSError, http.client.HTTPException) as error:
            failures, reason = failures + 1, f"{type(error).__name__}: {error}"


def _begin(answer: Any) -> int:
    """Offset of the first byte of a response's body: ``Content-Range: bytes <first>-<last>/<size>``."""
    span = answer.get("ContentRange")
    return int(span.removeprefix("bytes ").partition("-")[0]) if span else 0


@dataclass
class Upload:
    """An object written in parts, by one or more invocations; it appears as a whole or not at all.

    Another invocation needs ``upload_id`` and ``etags`` to continue. Every part but the last must have at least 5 MiB
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
    """

    bucket: str
    key: str
    content_type: str
    upload_id: str = ""
    etags: list[str] = field(default_factory=list)

    def send(self, part: bytes) -> None:
        """Add a part.

        Raises:
            UploadGoneError: the upload or a part of it does not exist any more.
        """
        with self._still_there():
            if not self.upload_id:
                begun = client().create_multipart_upload(**self._address, ContentType=self.content_type)
                self.upload_id = begun["UploadId"]
            number = len(self.etags) + 1
            sent = client().upload_part(**self._address, UploadId=self.upload_id, PartNumber=number, Body=part)
        self.etags.append(sent["ETag"])

    def finish(self, rest: bytes) -> None:
        """Add the last bytes and complete the object.

        Raises:
            UploadGoneError: the upload or a part of it does not exist any more.
        """
        if not self.upload_id:
            client().put_object(**self._address, Body=rest, ContentType=self.content_type)
            return
        if rest:
            self.send(rest)
        parts: list[CompletedPartTypeDef] = [
            {"PartNumber": number, "ETag": etag} for number, etag in enumerate(self.etags, 1)
        ]
        with self._still_there():
            client().complete_multipart_upload(
                **self._address, UploadId=self.upload_id, MultipartUpload={"Parts": parts}
            )

    def abandon(self) -> None:
        """Delete the parts."""
        if self.upload_id:
            client().abort_multipart_upload(**self._address, UploadId=self.upload_id)

    @property
    def _address(self) -> "_Address":
        return {"Bucket": self.bucket, "Key": self.key}

    @contextmanager
    def _still_there(self) -> Iterator[None]:
        from botocore.exceptions import ClientError

        try:
            yield
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in {"NoSuchUpload", "InvalidPart"}:
                raise UploadGoneError(f"s3://{self.bucket}/{self.key}: {error}") from error
            raise


def put_new(bucket: str, key: str, body: bytes, content_type: str) -> str | None:
    """Write an object unless there is one with this key.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html

    Returns:
        Its version, see ``pinned``; None if there is one already.
    """
    from botocore.exceptions import ClientError

    try:
        put = client().put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*")
    except ClientError as error:
        # The second code: somebody else wrote it, or deleted it, at the same time.
        if error.response.get("Error", {}).get("Code") in {"PreconditionFailed", "ConditionalRequestConflict"}:
            return None
        raise
    return put.get("VersionId") or f"etag:{put['ETag']}"


def write(bucket: str, key: str, content_type: str, chunks: Iterator[bytes]) -> None:
    """Write an object from chunks, with at most one part in memory; it appears as a whole or not at all."""
    upload, part = Upload(bucket, key, content_type), bytearray()
    try:
        for chunk in chunks:
            part += chunk
            if len(part) >= PART_BYTES:
                upload.send(bytes(part))
                part.clear()
        upload.finish(bytes(part))
    except BaseException:
        upload.abandon()
        raise


class Found(NamedTuple):
    """The newest version of an object.

    Attributes:
        key: not URL-encoded.
        version: see ``pinned``.
        size: in bytes.
    """

    key: str
    version: str
    size: int


def version_of(version_id: str | None, etag: str) -> str:
    """The version as jobs name it, see ``pinned``: S3's version id, or the ETag in an unversioned bucket."""
    return version_id if version_id and version_id != "null" else f"etag:{etag.strip(chr(34))}"


def newest(bucket: str, prefix: str) -> Iterator[Found]:
    """The objects whose keys begin with the prefix, without the empty ones that only mark a folder."""
    for listed in client().get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        for one in listed.get("Versions", []):
            if one["IsLatest"] and not one["Key"].endswith("/"):
                yield Found(one["Key"], version_of(one["VersionId"], one["ETag"]), one["Size"])


def find(bucket: str, key: str) -> Found | None:
    """An object; None if there is none."""
    from botocore.exceptions import ClientError

    try:
        head = client().head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 404:
            return None
        raise
    return Found(key, version_of(head.get("VersionId"), head["ETag"]), head["ContentLength"])


def remove_version(bucket: str, key: str, version: str) -> None:
    """Delete one version of an object; nothing happens if it is gone.

    Args:
        bucket: the object's bucket.
        key: the object's key.
        version: see ``pinned``; in an unversioned bucket, the object.
    """
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/DeletingObjectVersions.html
    client().delete_object(Bucket=bucket, Key=key, VersionId="null" if version.startswith("etag:") else version)


def remove_all(
    bucket: str, prefix: str, store: "S3Client | None" = None, *, kept: Collection[str] = frozenset()
) -> None:
    """Delete all versions of all objects whose keys begin with the prefix, and their delete markers.

    Args:
        bucket: the objects' bucket.
        prefix: beginning of their keys.
        store: the client to use instead of ``client()``.
        kept: keys of objects that stay.
    """
    store = store or client()
    for listed in store.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        found = [(one["Key"], one["VersionId"]) for one in listed.get("Versions", [])]
        for key, version in [*found, *((one["Key"], one["VersionId"]) for one in listed.get("DeleteMarkers", []))]:
            if key not in kept:
                store.delete_object(Bucket=bucket, Key=key, VersionId=version)


def download_url(bucket: str, key: str, seconds: int = 900) -> str:
    """A URL by which anyone can read the object; valid for 15 minutes by default."""
    return client().generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=seconds)
