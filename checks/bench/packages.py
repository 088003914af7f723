"""Packages of what PMP is compared with, which are not in its own virtual environment."""

import subprocess
import sys
from pathlib import Path


def install(lock: Path, target: Path, *options: str) -> None:
    """Install what a lock file names into a folder, with more options of ``uv pip install``."""
    uv = str(Path(sys.executable).with_name("uv"))
    command = [uv, "pip", "install", "--quiet", "--require-hashes", "--no-compile-bytecode", "--target", str(target)]
    subprocess.run([*command, "-r", str(lock), *options], check=True)
