"""The function's zip: built once per commit, stored under its own digest, and never overwritten."""

import base64
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from ops import aws
from ops.errors import UserError
from ops.output import say, step
from ops.processes import run
from ops.settings import ROOT, build_directory, release

_RELEASE = "release"  # key in the object's metadata: the first commit that built these bytes


def built_digest() -> str:
    """Return the SHA-256, in hexadecimal, of the zip that `package` built.

    Raises:
        UserError: no zip was built.
    """
    try:
        return (build_directory() / "lambda.sha256").read_text().split()[0]
    except (FileNotFoundError, IndexError):
        raise UserError(f"no built Lambda in {build_directory()}: run 'python -m ops package' first") from None


def object_key(digest: str) -> str:
    """Return the zip's key in the deployment bucket."""
    return f"lambda/{digest}.zip"


def package(sources: Path = ROOT / "lambda") -> str:
    """Build the zip and return its digest.

    Args:
        sources: the folder with the Lambda's sources and its ``build.py``.

    Raises:
        UserError: the build failed.
    """
    with step("package the Lambda"):
        status, lines = run(
            [sys.executable, sources / "build.py", "--output", build_directory()],
            directory=ROOT,
            environment=os.environ,
        )
    if status:
        raise UserError(f"cannot build the Lambda's zip: {lines[-1] if lines else f'exit status {status}'}")
    digest = built_digest()
    say(f"package: lambda-{digest}.zip")
    return digest


def publish() -> None:
    """Upload the built zip under its digest, unless it is there already.

    Raises:
        UserError: the file does not match its digest, or the bucket holds other bytes under that digest.
    """
    digest = built_digest()
    path = build_directory() / f"lambda-{digest}.zip"
    if not path.exists():
        raise UserError(f"{path} is missing: run 'python -m ops package' first")
    if _sha256(path) != digest:
        raise UserError(f"{path} is not the file that was built: run 'python -m ops package' again")
    bucket, s3 = _bucket(), aws.client("s3")
    try:
        with path.open("rb") as body:
            s3.put_object(
                Bucket=bucket,
                Key=object_key(digest),
                Body=body,
                IfNoneMatch="*",
                ChecksumSHA256=_base64(digest),
                ContentType="application/zip",
                Metadata={_RELEASE: release()},
                ServerSideEncryption="aws:kms",
                SSEKMSKeyId=aws.parameter("/pmp/bootstrap/kms_key_arn"),
            )
        outcome = "uploaded"
    except ClientError as error:
        if aws.error_code(error) not in {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}:
            raise
        outcome = "there already"
    _verify(s3, bucket, digest)
    say(f"publish: s3://{bucket}/{object_key(digest)} {outcome}, digest verified")


def verify_published(digest: str) -> None:
    """Check that the deployment bucket, which may belong to another account, holds the bytes of ``digest``.

    Raises:
        UserError: it holds no such zip, or other bytes under that name.
    """
    bucket, s3 = _bucket(), aws.client("s3")
    try:
        body = s3.get_object(Bucket=bucket, Key=object_key(digest))["Body"]
    except ClientError as error:
        if aws.error_code(error) not in {"404", "NoSuchKey", "NotFound"}:
            raise
        raise UserError(f"s3://{bucket} has no {object_key(digest)}: the job 'publish' uploads it") from None
    _require_digest(digest, bucket, hashlib.sha256(body.read()).hexdigest())


def published_release(digest: str) -> str:
    """Return the commit that first built the published zip with this digest.

    Raises:
        UserError: the deployment bucket has no such zip.
    """
    bucket, s3 = _bucket(), aws.client("s3")
    try:
        head = s3.head_object(Bucket=bucket, Key=object_key(digest))
    except ClientError as error:
        if aws.error_code(error) not in {"404", "NoSuchKey", "NotFound"}:
            raise
        newest = sorted(
            s3.list_objects_v2(Bucket=bucket, Prefix="lambda/").get("Contents", []),
            key=lambda entry: str(entry["LastModified"]),
        )[-3:]
        known = ", ".join(Path(entry["Key"]).stem for entry in reversed(newest)) or "none"
        raise UserError(f"no zip {digest} is published; the newest are: {known}") from None
    try:
        return str(head["Metadata"][_RELEASE])
    except KeyError:
        raise UserError(f"the zip {digest} does not record its commit: it was not uploaded by 'publish'") from None


def _verify(s3: Any, bucket: str, digest: str) -> None:
    head = s3.head_object(Bucket=bucket, Key=object_key(digest), ChecksumMode="ENABLED")
    if (found := head.get("ChecksumSHA256")) is None:
        verify_published(digest)
    else:
        _require_digest(digest, bucket, base64.b64decode(found).hex())


def _require_digest(digest: str, bucket: str, found: str) -> None:
    if found != digest:
        raise UserError(
            f"s3://{bucket}/{object_key(digest)} does not match the digest in its name: somebody wrote it to "
            "the deployment bucket by hand; delete the object and publish again"
        )


def _bucket() -> str:
    return aws.parameter("/pmp/account/deployment_bucket_name")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _base64(digest: str) -> str:
    return base64.b64encode(bytes.fromhex(digest)).decode()
