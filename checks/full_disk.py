"""A PostgreSQL whose disk gets full, for tests: a library with which no file grows (LD_PRELOAD).

Files keep what they have, so a row still fits into a page that has room for it, as on a full volume.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from checks import preloads


class FullDisk:
    """The library, and the switch that makes the disk full.

    Args:
        directory: a directory that the server's account can enter.
    """

    def __init__(self, directory: Path) -> None:
        self._switch = directory / "on"
        self.library = preloads.build(Path(__file__).with_suffix(".c"), self._switch)
        """The library's content."""

    @contextmanager
    def on(self) -> Iterator[None]:
        """Let no file grow."""
        self._switch.touch()
        try:
            yield
        finally:
            self._switch.unlink()


@contextmanager
def full_disk() -> Iterator[FullDisk]:
    """Build the library in a temporary directory.

    Raises:
        CalledProcessError: the compiler failed; it has said why.
    """
    with TemporaryDirectory(prefix="pmp-full-disk-") as directory:
        Path(directory).chmod(0o755)
        yield FullDisk(Path(directory))
