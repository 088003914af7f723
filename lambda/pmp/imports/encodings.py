"""In which encoding a text is, and the text in UTF-8.

UTF-8 and UTF-16 with a byte order mark are read. Anything else is refused before a line is taken, because a guess would
put wrong letters into addresses.
"""

import codecs
from collections.abc import Callable, Iterator
from typing import Literal

from pmp.imports.errors import FileError

Encoding = Literal["utf-8", "utf-16-le", "utf-16-be"]

BOM = codecs.BOM_UTF8
_HOW = (
    'save it as UTF-8 (in Excel: "CSV UTF-8 (comma delimited)"), or convert it: '
    "iconv -f {encoding} -t UTF-8 file > converted"
)
_MANY_NULS = 0.3
"""As a part of every second byte: text in a Latin script has nearly 1.0 in UTF-16."""


def identify(head: bytes) -> Encoding:
    """The encoding of a text that begins with these bytes.

    Raises:
        FileError: UTF-16 without a byte order mark, or UTF-32.
    """
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        raise FileError(f"the file is in UTF-32: {_HOW.format(encoding='UTF-32')}")
    if head.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    for first, name in ((1, "UTF-16LE"), (0, "UTF-16BE")):
        nuls, others = (head[place::2].count(0) for place in (first, 1 - first))
        if nuls > _MANY_NULS * max(1, len(head) // 2) and others < nuls / 10:
            raise FileError(
                f"the file is in {name} without a byte order mark, so its encoding is not certain: "
                f"{_HOW.format(encoding=name)}"
            )
    return "utf-8"


def decoded(pieces: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    """The text in UTF-8. A text in UTF-8 is passed on as it is, so that an offset in it is one in the object.

    Raises:
        FileError: the bytes are not in this encoding.
    """
    return pieces if encoding == "utf-8" else _recoded(pieces, encoding)


def _recoded(pieces: Iterator[bytes], encoding: Encoding) -> Iterator[bytes]:
    decoder, consumed = codecs.getincrementaldecoder(encoding)(), 0
    for piece in _and_end(pieces):
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise FileError(
                f"the file begins as {encoding.upper()}, but breaks its rules within the 1 MiB after byte {consumed} "
                f"({error.reason}): the upload is incomplete or damaged"
            ) from None
        if not consumed:
            text = text.removeprefix("\ufeff")
        consumed += len(piece)
        if text:
            yield text.encode()


def checked(pieces: Iterator[bytes], beat: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """The same pieces of a text in UTF-8.

    Args:
        pieces: the text.
        beat: called for each piece.

    Raises:
        FileError: a byte is not UTF-8. The message names the line and what the encoding probably is.
    """
    decoder, lines = codecs.getincrementaldecoder("utf-8")(), 1
    for piece in _and_end(pieces):
        beat()
        try:
            decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            # ``error.object`` begins with the bytes of a character that the piece before had begun.
            found: bytes = error.object
            lines += found.count(b"\n", 0, error.start)
            raise FileError(_explanation(found, error.start, lines, is_end=not piece)) from None
        lines += piece.count(b"\n")
        if piece:
            yield piece


def _explanation(text: bytes, place: int, line: int, *, is_end: bool) -> str:
    if is_end:
        return "the file ends in the middle of a character: the upload is incomplete"
    around = text[max(0, place - 4096) : place + 4096]
    controls = sum(byte < 32 and byte not in b"\t\n\r" for byte in around)
    if controls > len(around) // 50:
        return f"the file is not text: byte 0x{text[place]:02X} on line {line}; PMP reads CSV, NDJSON and JSON"
    return (
        f"line {line} has byte 0x{text[place]:02X}, which is not UTF-8; the file is probably in Windows-1252, as Excel "
        f'saves "CSV" on Windows: {_HOW.format(encoding="WINDOWS-1252")}'
    )


def _and_end(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces that are not empty, then an empty one."""
    for piece in pieces:
        if piece:
            yield piece
    yield b""
