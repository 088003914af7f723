"""Judges of what AWS would accept, beside MiniStack and botocore's models: moto and parliament.

They have a virtual environment of their own: moto needs another botocore than MiniStack, parliament an old setuptools.
"""

import subprocess
import sys
from pathlib import Path

from ops.settings import ROOT

FOLDER = Path(__file__).parent
LOCK = FOLDER / "requirements.lock"
VIRTUAL_ENVIRONMENT = ROOT / "build" / "judges"


def install() -> Path:
    """Return the path of the judges' Python; install them first if the lock file is newer."""
    python = VIRTUAL_ENVIRONMENT / "bin" / "python"
    stamp = VIRTUAL_ENVIRONMENT / ".installed"
    if not stamp.exists() or stamp.stat().st_mtime < LOCK.stat().st_mtime:
        uv = str(Path(sys.executable).with_name("uv"))
        subprocess.run([uv, "venv", "--quiet", "--clear", str(VIRTUAL_ENVIRONMENT)], check=True)
        command = [uv, "pip", "install", "--quiet", "--require-hashes", "--python", str(python), "-r", str(LOCK)]
        subprocess.run(command, check=True)
        stamp.touch()
    return python
