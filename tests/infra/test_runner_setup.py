"""The runner's setup compares what it downloads with the pinned digests."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

from ops.settings import ROOT

SETUP = (ROOT / "modules/runner/setup.sh").read_text()


def verify(file: Path, digest: str) -> subprocess.CompletedProcess[str]:
    [function] = re.findall(r"^verify\(\) \{.*?^\}$", SETUP, re.MULTILINE | re.DOTALL)
    script = f'set -euo pipefail\n{function}\nverify "$1" "$2" agent\necho installed'
    command = ["bash", "-c", script, "bash", str(file), digest]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def download(tmp_path: Path) -> Path:
    file = tmp_path / "agent.deb"
    file.write_bytes(b"content")
    return file


def test_pinned_download_is_installed(download: Path) -> None:
    done = verify(download, hashlib.sha256(b"content").hexdigest())
    assert (done.returncode, done.stdout, done.stderr) == (0, "installed\n", "")


def test_other_download_ends_the_setup(download: Path) -> None:
    done = verify(download, hashlib.sha256(b"other").hexdigest())
    assert done.returncode == 1
    assert "installed" not in done.stdout
    assert "error: agent does not have the SHA-256" in done.stderr


def test_download_without_a_pin_is_told(download: Path) -> None:
    done = verify(download, "")
    assert done.returncode == 0
    assert "warning: agent: no SHA-256 is pinned" in done.stdout


def test_every_download_is_verified_or_signed() -> None:
    """GitLab's key is compared with its fingerprint; what is fetched otherwise is verified before it is used."""
    fetched = re.findall(r"^fetch \S+ (\S+)$", SETUP, re.MULTILINE)
    verified = re.findall(r"^verify (\S+) ", SETUP, re.MULTILINE)
    assert fetched == [*verified, "/tmp/gitlab.asc"]  # noqa: S108 - the setup's own path
    assert 'grep --quiet "^fpr:::::::::$GITLAB_KEY:"' in SETUP
