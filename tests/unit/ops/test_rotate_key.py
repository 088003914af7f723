"""The command that rotates a key shows the new one before the old one goes."""

import io
import sys
from collections.abc import Callable
from typing import Any

import pytest

from ops import aws, keys
from ops.__main__ import rotate_key
from ops.aws import AccessKey


class ClosedPipe(io.StringIO):
    """Standard output of which nobody reads, as after ``| head -1``: a buffer takes the text, and then fails."""

    def flush(self) -> None:
        raise BrokenPipeError


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
