"""Run git."""

import shutil
import subprocess
from pathlib import Path

from ops.errors import UserError


def git(repository: Path, *arguments: str) -> str:
    """Run git in ``repository`` and return its output unchanged.

    Raises:
        UserError: git failed; the message quotes git's.
    """
    done = subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def checkout(commit: str, directory: Path, source: Path, remote: str | None = None) -> None:
    """Make ``directory`` a clone of ``source`` whose branch ``main`` is at ``commit``.

    Args:
        commit: anything that git can resolve.
        directory: removed first if it exists.
        source: the repository to clone.
        remote: URL to record as ``origin``; by default the path of ``source``.

    Raises:
        UserError: git failed, for example because the commit does not exist.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    git(directory, "clone", "--quiet", "--no-checkout", "--shared", str(source), ".")
    git(directory, "checkout", "--quiet", "-B", "main", commit)
    # Otherwise the default branch would be the one that is checked out in ``source``, and the pipeline not promote.
    git(directory, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    if remote:
        git(directory, "remote", "set-url", "origin", remote)
