"""Virtual environments of tools whose dependencies do not fit into ``.venv``, each made from its own lock file."""

import hashlib
import subprocess
import sys
from pathlib import Path

_STAMP = "pmp-lock.sha256"


def prepared(folder: Path, lock: Path) -> Path:
    """Return the ``bin`` folder of the environment; make it first unless it was made from this lock file.

    The stamp is the lock file's content, not its time: in a fresh clone every file is new, and the pipeline's image
    brings these folders (``ops/image/Dockerfile``).

    Raises:
        RuntimeError: uv failed; the message is its output.
    """
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = folder / _STAMP
    if stamp.exists() and stamp.read_text().strip() == digest:
        return folder / "bin"
    uv = str(Path(sys.executable).with_name("uv"))
    install = [uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), "--require-hashes"]
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [*install, "--requirement", str(lock)],
    ):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{folder.name} cannot be made from {lock}:\n{done.stdout}")
    stamp.write_text(digest + "\n")
    return folder / "bin"
