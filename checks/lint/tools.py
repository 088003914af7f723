"""Run third-party tools for a lint step, and install those that have a separate lock file."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.settings import ROOT
from ops.virtual_environments import prepared

BIN = Path(sys.executable).parent
GO_TOOLS = ROOT / "build/bin"


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


def checkov() -> Path:
    """Return the program, installed if need be: it pins a botocore version with which MiniStack cannot run."""
    return prepared(ROOT / ".checkov", ROOT / "checks/lint/checkov.lock") / "checkov"
