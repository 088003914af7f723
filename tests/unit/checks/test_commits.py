"""Commit messages: what passes, and what is refused with a reason."""

import subprocess
import sys
from pathlib import Path

import pytest

from checks.lint.commits import findings, recent
from ops.settings import ROOT


@pytest.mark.parametrize(
    "message",
    [
        "Fix the import of lines without an id",
        "Add a rule\n\nIts reason.",
        "Need no lock for plans",
        "Pass the connection as an argument",
        "Merge branch 'main' into something with a subject that git wrote and that nobody could make shorter",
    ],
)
def test_a_plain_message_passes(message: str) -> None:
    assert list(findings(message)) == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Fix " + "x" * 69, "has 73 characters"),
        ("Fix the import.", "full stop"),
        ("fix the import", "imperative"),
        ("Fixed the import", "imperative"),
        ("Fixing the import", "imperative"),
        ("Fixes the import", "imperative"),
        ("Fix the import\nIts reason.", "empty line"),
    ],
)
def test_a_message_is_refused_with_its_reason(message: str, reason: str) -> None:
    [finding] = findings(message)
    assert reason in finding


def test_the_hook_refuses_a_message_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "COMMIT_EDITMSG"
    for message, status in (("Fix it\n# a comment of git's\n", 0), ("fixed it.\n", 1)):
        file.write_text(message)
        command = [sys.executable, "-m", "checks.lint.commits", str(file)]
        assert subprocess.run(command, cwd=ROOT, check=False, capture_output=True).returncode == status


def test_only_the_commits_of_the_merge_request_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for message in ("old and wrong.", "Add one", "wrong"):
        subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", message], check=True)
    base = subprocess.run([*git, "rev-parse", "HEAD~2"], check=True, capture_output=True, text=True).stdout.strip()
    monkeypatch.setenv("CI_MERGE_REQUEST_DIFF_BASE_SHA", base)
    [finding] = recent(tmp_path)
    assert finding.endswith(": wrong")
