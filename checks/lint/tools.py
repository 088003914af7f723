"""Run third-party tools for a lint step, and install those that have a separate lock file."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.settings import ROOT

BIN = Path(sys.executable).parent
GO_TOOLS = ROOT / "build/bin"
CHECKOV = ROOT / ".checkov"
CHECKOV_LOCK = ROOT / "checks/lint/checkov.lock"


def run(command: Sequence[object], *, directory: Path = ROOT, environment: Mapping[str, str] | None = None) -> str:
    """Run a program.

    Args:
        command: strings and paths.
        directory: in which the program runs.
        environment: variables to add to those of this process.

    Returns:
        The empty string when the program succeeds, otherwise its output.
    """
    try:
        process = subprocess.run(
            [str(part) for part in command],
            check=False,
            cwd=directory,
            env={**os.environ, "NO_COLOR": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except FileNotFoundError:
        return f"{command[0]} is not installed: run 'make install'"
    return process.stdout or f"{command[0]} ended with exit code {process.returncode}" if process.returncode else ""


def make_checkov() -> str:
    """Install checkov unless it is up to date; return the empty string, or the installer's output when that failed.

    It gets its own virtual environment, because it pins a botocore version with which MiniStack cannot run.
    """
    stamp, digest = CHECKOV / "pmp-lock.sha256", hashlib.sha256(CHECKOV_LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return ""
    uv = BIN / "uv"
    python = CHECKOV / "bin/python"
    output = run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, CHECKOV]) or run(
        [uv, "pip", "install", "--quiet", "--python", python, "--require-hashes", "-r", CHECKOV_LOCK]
    )
    if not output:
        stamp.write_text(digest)
    return output
