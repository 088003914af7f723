"""The zip that is deployed has the bytes of its digest."""

import hashlib
import io
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops import artifacts
from ops.errors import UserError

DIGEST = hashlib.sha256(b"code").hexdigest()


class Bucket:
    """S3 with one object."""

    def __init__(self, body: bytes | None) -> None:
        self.body = body

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803 - boto3's own
        assert (Bucket, Key) == ("deployments", f"lambda/{DIGEST}.zip")
        if self.body is None:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "none"}}, "GetObject")
        return {"Body": io.BytesIO(self.body)}


def verify(monkeypatch: pytest.MonkeyPatch, body: bytes | None) -> None:
    monkeypatch.setattr("ops.aws.client", lambda _: Bucket(body))
    monkeypatch.setattr("ops.aws.parameter", lambda _: "deployments")
    artifacts.verify_published(DIGEST)


def test_published_bytes_are_compared_with_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    verify(monkeypatch, b"code")
    with pytest.raises(UserError, match="does not match the digest in its name"):
        verify(monkeypatch, b"other code")


def test_code_that_was_never_published_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=rf"s3://deployments has no lambda/{DIGEST}\.zip: the job 'publish' uploads it"):
        verify(monkeypatch, None)
