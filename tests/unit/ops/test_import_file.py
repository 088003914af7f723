"""A file that cannot be read is an error before the first request to a platform."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ops.settings import ROOT


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.ndjson", "{} is not a file; usage: make import FILE=path"),
        (".", "{} is not a file; usage: make import FILE=path"),
        # A file that nobody can read, not even root: the kernel allows only writes.
        ("/proc/self/clear_refs", "{} cannot be read: "),
    ],
)
def test_unreadable_file_gives_a_one_line_error(tmp_path: Path, name: str, message: str) -> None:
    environment = os.environ | {
        "PMP_URL": "https://127.0.0.1:1",
        "PMP_TOKEN": "none",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "400",
    }
    done = subprocess.run(
        [sys.executable, "-m", "ops", "import", str(tmp_path / name)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert [line for line in done.stdout.splitlines() if line.strip()] == []
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {message.format(tmp_path / name)}")
    assert "Traceback" not in done.stderr
