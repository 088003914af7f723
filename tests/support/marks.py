"""Finds marked data in files, however they are packed: as it is, in Base64, in zip and gzip."""

import base64
import gzip
import io
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path


def holds(content: bytes, mark: str) -> bool:
    """Tell whether something holds the mark, in small or capital letters or in Base64.

    Args:
        content: what is searched, and also the members of a zip and the content of a gzip.
        mark: at least eight small ASCII letters, which neither JSON nor a URL changes.
    """
    if mark.encode() in content.lower() or any(form in content for form in _in_base64(mark.encode())):
        return True
    if content.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any(holds(archive.read(name), mark) for name in archive.namelist())
    return content.startswith(b"\x1f\x8b") and holds(gzip.decompress(content), mark)


def _in_base64(mark: bytes) -> Iterator[bytes]:
    """Yield the characters that the mark alone decides, for each place at which it can begin."""
    for before in range(3):
        encoded = base64.b64encode(b"\x00" * before + mark)
        # A character holds six bits. Those at both ends belong to what is before and after the mark, too.
        yield encoded[-(-8 * before // 6) : 8 * (before + len(mark)) // 6]


def holders(folder: Path, mark: str, left_out: Collection[Path] = ()) -> list[str]:
    """Return the files in the folder, and below it, that hold the mark in their name or content, relative to it."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(path.is_relative_to(one) for one in left_out):
            name = str(path.relative_to(folder))
            try:
                content = path.read_bytes()
            except FileNotFoundError:  # A running program has replaced or removed it.
                continue
            if mark in name.lower() or holds(content, mark):
                found.append(name)
    return found
