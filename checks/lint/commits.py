"""Commit messages: a subject of at most 72 characters in the imperative, then an empty line before any body.

Run by ``make lint`` over the commits of a merge request, and as a hook (``.pre-commit-config.yaml``) over the message
that is being written: ``python -m checks.lint.commits FILE``.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST_SUBJECT = 72

# Written by git itself.
_GENERATED = re.compile(r"^(Merge|Revert|fixup!|squash!) ")
# "Fixed", "Fixing" and "Fixes" describe; "Fix" commands. These words end like that and are commands all the same.
_NOT_IMPERATIVE = re.compile(r"^[A-Z][a-z]+(ed|ing|[^s]s)$")
_IMPERATIVE = {
    "Bring",
    "String",
    "Ping",
    "Embed",
    "Exceed",
    "Feed",
    "Need",
    "Proceed",
    "Seed",
    "Shed",
    "Speed",
    "Bypass",
}


def findings(message: str) -> Iterator[str]:
    """What is wrong with one commit message, in words."""
    lines = message.rstrip().split("\n")
    subject = lines[0]
    if _GENERATED.match(subject):
        return
    if len(subject) > LONGEST_SUBJECT:
        yield f"its subject has {len(subject)} characters, at most {LONGEST_SUBJECT} fit: {subject}"
    if subject.endswith("."):
        yield f"its subject ends with a full stop: {subject}"
    word = subject.split(" ", 1)[0]
    if not re.match(r"[A-Z]", subject) or (_NOT_IMPERATIVE.match(word) and word not in _IMPERATIVE):
        yield f"its subject must begin with a capitalized verb in the imperative, like 'Fix' or 'Add': {subject}"
    if len(lines) > 1 and lines[1]:
        yield f"an empty line must separate subject and body: {subject}"


def recent(root: Path) -> Iterator[str]:
    """Findings in the commits of the merge request; elsewhere in those since this rule was added."""
    base = (
        os.environ.get("CI_MERGE_REQUEST_DIFF_BASE_SHA")
        or _git(root, "log", "--diff-filter=A", "--format=%H", "--", "checks/lint/commits.py")
        .strip()
        .rpartition("\n")[2]
    )
    commits = _git(root, "log", "--no-merges", "--format=%h%x00%B%x01", *([f"{base}..HEAD"] if base else ["-1"]))
    for entry in commits.split("\x01"):
        digest, _, message = entry.strip().partition("\0")
        if digest:
            yield from (f"commit {digest}: {finding}" for finding in findings(message))


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Check the message in a file, as git's hook commit-msg gives it; exit 1 when something is wrong."""
    parser = argparse.ArgumentParser(prog="python -m checks.lint.commits", description=__doc__)
    parser.add_argument("file", type=Path, help="file with the message")
    lines = parser.parse_args().file.read_text().splitlines()
    found = list(findings("\n".join(line for line in lines if not line.startswith("#"))))
    print("\n".join(found), file=sys.stderr)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
