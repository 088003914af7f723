"""The command that rotates a key shows the new one before the old one goes, and revives no key."""

import io
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops import aws, keys
from ops.__main__ import rotate_key
from ops.aws import AccessKey
from ops.errors import UserError


class ClosedPipe(io.StringIO):
    """Standard output of which nobody reads, as after ``| head -1``: a buffer takes the text, and then fails."""

    def flush(self) -> None:
        raise BrokenPipeError


class Iam:
    """Keeps the access keys of one user.

    Attributes:
        keys: the status of each by its id.
    """

    def __init__(self, status: str) -> None:
        self.keys = {"AKIAOLD": status}

    def list_access_keys(self, **_: str) -> dict[str, Any]:
        return {"AccessKeyMetadata": [{"AccessKeyId": name, "Status": status} for name, status in self.keys.items()]}

    def create_access_key(self, **_: str) -> dict[str, Any]:
        self.keys["AKIANEW"] = "Active"
        return {"AccessKey": {"AccessKeyId": "AKIANEW", "SecretAccessKey": "secret"}}

    def update_access_key(self, *, AccessKeyId: str, Status: str, **_: str) -> None:  # noqa: N803 - names of AWS
        self.keys[AccessKeyId] = Status

    def delete_access_key(self, *, AccessKeyId: str, **_: str) -> None:  # noqa: N803 - names of AWS
        del self.keys[AccessKeyId]


class Sts:
    """Accepts the new key as often as it is told to."""

    def __init__(self, times: int) -> None:
        self.times = times

    def get_caller_identity(self) -> None:
        self.times -= 1
        if self.times < 0:
            raise ClientError({"Error": {"Code": "InvalidClientTokenId"}}, "GetCallerIdentity")


@pytest.mark.parametrize("before", ["Active", "Inactive"])
def test_an_old_key_is_as_it_was_if_aws_refuses_the_new_one(monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """One that leaked was made inactive first (docs/operations.md): it must not work again."""
    monkeypatch.setattr(time, "sleep", lambda _: None)
    iam, sts = Iam(before), Sts(times=1)
    with pytest.raises(UserError, match="the old one is as it was before"):
        keys.rotate("gitlab", iam, lambda _: sts, lambda _: None)
    assert iam.keys["AKIAOLD"] == before


def test_an_inactive_key_is_replaced() -> None:
    iam = Iam("Inactive")
    keys.rotate("gitlab", iam, lambda _: Sts(times=2), lambda _: None)
    assert iam.keys == {"AKIANEW": "Active"}


def test_a_closed_pipe_is_noticed_while_the_old_key_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    noticed = []

    def rotate(_user: str, _iam: Any, _sts_of: Any, keep: Callable[[AccessKey], None]) -> None:
        with pytest.raises(BrokenPipeError):
            keep(AccessKey("AKIANEW", "secret"))
        noticed.append(True)

    monkeypatch.setattr(keys, "rotate", rotate)
    monkeypatch.setattr(aws, "client", lambda _service: None)
    monkeypatch.setattr(sys, "stdout", ClosedPipe())
    rotate_key("gitlab")
    assert noticed
