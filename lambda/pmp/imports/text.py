"""From the bytes of an object to its lines, in constant memory: gzip with any number of members, BOM, LF or CRLF."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST_LINE_BYTES = 1 << 20
"""As much as the body of a request to the API."""

_GZIP = 31  # zlib: a gzip header and trailer around the largest window
_PIECE_BYTES = 1 << 20
_BLOCK_LINES = 2000
_BOM = b"\xef\xbb\xbf"


class CorruptError(ValueError):
    """The object is damaged; the text says where."""


def gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Decompress a gzip file of one or more members, in pieces of at most 1 MiB, however much the input expands.

    Raises:
        CorruptError: not gzip, damaged, or truncated.
    """
    inflater, members, consumed = zlib.decompressobj(_GZIP), 0, 0
    for chunk in chunks:
        data = chunk
        while data:
            if inflater.eof:
                # Between members. Some writers pad the end of the file with zeros.
                if members and not (data := data.lstrip(b"\0")):
                    break
                inflater = zlib.decompressobj(_GZIP)
            try:
                piece = inflater.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise CorruptError(f"gzip is corrupt within the 1 MiB after byte {consumed}: {error}") from error
            if piece:
                yield piece
            if inflater.eof:
                members += 1
                data = inflater.unused_data
            else:
                data = inflater.unconsumed_tail
        consumed += len(chunk)
    # zlib may still hold output that did not fit into the last piece.
    while not inflater.eof and (piece := inflater.decompress(b"", _PIECE_BYTES)):
        yield piece
    if not inflater.eof:
        raise CorruptError(f"gzip ends in the middle of a member after {consumed} bytes: the upload is incomplete")


@dataclass(slots=True)
class Block:
    """Consecutive lines without their line ends.

    Attributes:
        lines: one entry per line; None for a line longer than ``LONGEST_LINE_BYTES``.
        end: offset in the text after the last line.
    """

    lines: list[bytes | None]
    end: int


def blocks(pieces: Iterator[bytes], *, start: int = 0) -> Iterator[Block]:
    """Split text into lines. Line ends are LF or CRLF; the last line may lack one; a BOM at the very start is removed.

    Args:
        pieces: the text from offset ``start`` on.
        start: offset at which a line begins.
    """
    end, rest, skipping = start, b"", False
    for piece in pieces:
        # One search per piece: a long line comes in hundreds of pieces without a line end.
        if b"\n" not in piece:
            rest = b"" if skipping else rest + piece
            end += len(piece)
            skipping = skipping or len(rest) > LONGEST_LINE_BYTES + len(_BOM)
            if skipping:
                rest = b""
            continue
        head, *lines = (rest + piece).split(b"\n")
        tail = lines.pop()
        after = end - len(rest) + len(head) + 1
        yield Block([None if skipping else _clean(head, is_first=end == len(rest))], after)
        for first in range(0, len(lines), _BLOCK_LINES):
            some = lines[first : first + _BLOCK_LINES]
            after += sum(map(len, some)) + len(some)
            yield Block([_clean(line) for line in some], after)
        end += len(piece)
        skipping, rest = False, tail
    if skipping:
        yield Block([None], end)
    elif rest:
        yield Block([_clean(rest, is_first=end == len(rest))], end)


def _clean(line: bytes, *, is_first: bool = False) -> bytes | None:
    if is_first:
        line = line.removeprefix(_BOM)
    if len(line) > LONGEST_LINE_BYTES:
        return None
    return line[:-1] if line.endswith(b"\r") else line
