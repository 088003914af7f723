import os
import sys
from pathlib import Path

import pytest

from ops.virtual_environments import prepared


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A uv that makes the folder and notes its calls."""
    notes = tmp_path / "calls"
    notes.touch()
    uv = tmp_path / "uv"
    uv.write_text(f'#!/bin/sh\necho "$1" >> {notes}\nmkdir -p {tmp_path}/made/bin\n[ ! -e {tmp_path}/broken ]\n')
    uv.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return notes


def test_environment_is_made_again_only_when_the_lock_files_content_changes(tmp_path: Path, calls: Path) -> None:
    lock = tmp_path / "lock"
    lock.write_text("one==1\n")
    assert prepared(tmp_path / "made", lock) == tmp_path / "made/bin"
    # As in a fresh clone: the same content, a newer time.
    os.utime(lock, (2**32, 2**32))
    prepared(tmp_path / "made", lock)
    assert calls.read_text().split() == ["venv", "pip"]
    lock.write_text("one==2\n")
    prepared(tmp_path / "made", lock)
    assert calls.read_text().split() == ["venv", "pip"] * 2


def test_a_failed_installation_is_tried_again(tmp_path: Path, calls: Path) -> None:
    (tmp_path / "lock").write_text("one==1\n")
    (tmp_path / "broken").touch()
    with pytest.raises(RuntimeError, match="made cannot be made from"):
        prepared(tmp_path / "made", tmp_path / "lock")
    (tmp_path / "broken").unlink()
    prepared(tmp_path / "made", tmp_path / "lock")
    assert calls.read_text().split() == ["venv", "venv", "pip"]
