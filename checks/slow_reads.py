"""A PostgreSQL whose disk is slow to read, for tests: a library that delays each read of a block (LD_PRELOAD).

A volume of RDS (gp3) answers within single-digit milliseconds, see
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html; a laptop's page cache within microseconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from checks import preloads


class SlowReads:
    """The library, and the switch that makes the reads slow.

    Args:
        directory: a directory that the server's account can enter.
    """

    def __init__(self, directory: Path) -> None:
        self._switch = directory / "on"
        self.library = preloads.build(Path(__file__).with_suffix(".c"), self._switch)
        """The library's content."""

    @contextmanager
    def on(self, microseconds: int) -> Iterator[None]:
        """Make each read of a block of 8 KiB take longer."""
        self._switch.write_bytes(bytes(microseconds))
        try:
            yield
        finally:
            self._switch.unlink()


@contextmanager
def slow_reads() -> Iterator[SlowReads]:
    """Build the library in a temporary directory.

    Raises:
        CalledProcessError: the compiler failed; it has said why.
    """
    with TemporaryDirectory(prefix="pmp-slow-reads-") as directory:
        Path(directory).chmod(0o755)
        yield SlowReads(Path(directory))
