"""Atomic replacement of files."""

import os
import tempfile
from pathlib import Path


def replace(path: Path, content: str | bytes, *, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Replace a file atomically: a reader sees either the old content or the new content, never a part.

    The file has its mode from the start, so a secret is never readable to others.

    Args:
        path: the file; its folder is created if missing.
        content: text is written as UTF-8.
        mode: permission bits; the umask does not apply.
        owner: user id and group id of the file; only root may set another owner.

    Raises:
        OSError: the file cannot be written; the old one is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp creates with mode 600; beside the target, because a rename does not cross file systems.
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            os.fchmod(file.fileno(), mode)
            if owner:
                os.fchown(file.fileno(), *owner)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
