"""From text in UTF-8 to its records, in constant memory: lines of NDJSON, rows of CSV, items of a JSON array."""

import csv
import itertools
import json
import re
from codecs import getincrementaldecoder
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pmp.imports.encodings import BOM
from pmp.imports.errors import FileError

LONGEST_RECORD_BYTES = 1 << 20
"""As much as the body of a request to the API."""

_LONGEST_QUOTED_BYTES = 1 << 17
"""Of a row of several lines. A quote that nobody closes costs no more than this, and only its own line."""

_BLOCK_RECORDS = 2000
_LEAST_PIECE_BYTES = 1 << 16


@dataclass(slots=True)
class Block:
    """Consecutive lines or items.

    Attributes:
        lines: one entry per line, without its end; None for a line longer than ``LONGEST_RECORD_BYTES``. A row of CSV
            that takes several lines is one entry, and the rest of its lines are empty entries, so that entries can be
            counted as lines.
        end: offset in the text after the last one.
        has_quotes: whether one of them may hold a quote.
        is_open: whether the last line has no end, because the text ends.
    """

    lines: list[bytes | None]
    end: int
    has_quotes: bool = False
    is_open: bool = False


def gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes without small pieces: a long line in a thousand pieces would be copied a thousand times."""
    parts, size = list[bytes](), 0
    for piece in pieces:
        parts.append(piece)
        size += len(piece)
        if size >= _LEAST_PIECE_BYTES:
            yield parts[0] if len(parts) == 1 else b"".join(parts)
            parts, size = [], 0
    if parts:
        yield b"".join(parts)


def lines(pieces: Iterator[bytes], *, start: int = 0, raw: bool = False) -> Iterator[Block]:
    """Split text into lines. Line ends are LF or CRLF; the last line may lack one; a BOM at the very start is removed.

    Args:
        pieces: the text from offset ``start`` on.
        start: offset at which a line begins.
        raw: keep the CR of CRLF.
    """
    end, rest, skipping = start, b"", False
    for piece in pieces:
        # One search per piece: a long line comes in hundreds of pieces without a line end.
        if b"\n" not in piece:
            rest = b"" if skipping else rest + piece
            end += len(piece)
            skipping = skipping or len(rest) > LONGEST_RECORD_BYTES + len(BOM)
            if skipping:
                rest = b""
            continue
        is_first, has_quotes, has_returns = end == len(rest), b'"' in piece or b'"' in rest, b"\r" in piece
        after = end - len(rest)
        end += len(piece)
        head, *others = (rest + piece).split(b"\n")
        rest = others.pop()
        after += len(head) + 1
        yield Block([None if skipping else _line(head, is_first=is_first, raw=raw)], after, has_quotes=has_quotes)
        skipping = False
        for first in range(0, len(others), _BLOCK_RECORDS):
            some: list[bytes] | list[bytes | None] = others[first : first + _BLOCK_RECORDS]
            after += sum(map(len, some)) + len(some)  # type: ignore[arg-type]
            if len(piece) > LONGEST_RECORD_BYTES:
                some = [_line(line, is_first=False, raw=raw) for line in some if line is not None]
            elif has_returns and not raw:
                some = _stripped(some)
            yield Block(some, after, has_quotes=has_quotes)  # type: ignore[arg-type]
    if skipping:
        yield Block([None], end)
    elif rest:
        line = _line(rest, is_first=end == len(rest), raw=raw)
        yield Block([line], end, has_quotes=b'"' in rest, is_open=True)


def _line(line: bytes, *, is_first: bool, raw: bool) -> bytes | None:
    if is_first:
        line = line.removeprefix(BOM)
    if len(line) > LONGEST_RECORD_BYTES:
        return None
    return line if raw else line.removesuffix(b"\r")


def _stripped(some: Sequence[bytes | None]) -> list[bytes | None]:
    return [line[:-1] if line and line[-1] == 13 else line for line in some]


def rows(pieces: Iterator[bytes], delimiter: str, *, start: int = 0) -> Iterator[Block]:
    """Split CSV into rows; a quoted cell may hold line ends. Arguments: as ``lines``."""
    held: list[bytes | None] = []
    end = start
    for block in lines(pieces, start=start, raw=True):
        end = block.end
        if not held and not block.has_quotes:
            yield Block(_stripped(block.lines), end)
            continue
        whole, held = _whole_rows(held + block.lines, delimiter, is_end=False)
        if whole:
            yield Block(whole, end - sum(len(line or b"") + 1 for line in held) + block.is_open)
    if held:
        yield Block(_whole_rows(held, delimiter, is_end=True)[0], end)


def _whole_rows(
    todo: list[bytes | None], delimiter: str, *, is_end: bool
) -> tuple[list[bytes | None], list[bytes | None]]:
    """The rows that end in these lines, and the lines of the row that does not."""
    found: list[bytes | None] = []
    place = 0
    while place < len(todo):
        line = todo[place]
        taken = 1
        # A cell that is quoted has an even number of quotes, because a quote in it is doubled.
        if line is not None and line.count(b'"') % 2:
            taken = row_length(todo[place:], delimiter)
            if not taken:
                if not is_end and sum(len(other or b"") for other in todo[place:]) < _LONGEST_QUOTED_BYTES:
                    return found, todo[place:]
                taken = 1
        if taken == 1:
            found.append(line if line is None else line.removesuffix(b"\r"))
        else:
            whole = b"\n".join(other for other in todo[place : place + taken] if other is not None)
            found.append(whole.removesuffix(b"\r"))
            found.extend([b""] * (taken - 1))
        place += taken
    return found, []


def row_length(some: list[bytes | None], delimiter: str) -> int:
    """How many of the lines the first row takes; 0: it does not end in them, or is longer than is looked at.

    A row that is not CSV takes its own line only.
    """
    size = 0

    def feed() -> Iterator[str]:
        nonlocal size
        for line in some:
            size += len(line or b"")
            if line is None or size > _LONGEST_QUOTED_BYTES:
                return
            yield line.decode(errors="replace") + "\n"

    reader = csv.reader(feed(), delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        next(reader)
    except (csv.Error, StopIteration) as error:
        return 0 if "unexpected end" in str(error) else 1
    return reader.line_num


_BLANKS = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_int=len, parse_float=len)
"""Numbers are not read here: a number of many digits takes long."""


def items(pieces: Iterator[bytes], *, start: int = 0) -> Iterator[Block]:
    """Split a JSON array into its items, minified or over several lines.

    Args:
        pieces: the text from offset ``start`` on.
        start: 0, or the offset after an item.

    Raises:
        FileError: the text is not one array, or an item is longer than ``LONGEST_RECORD_BYTES``. The items before the
            fault may have been yielded.
    """
    return _Items(start).split(pieces)


class _Items:
    def __init__(self, start: int) -> None:
        self._end, self._text, self._number = start, "", 0
        self._expects = "[" if start == 0 else ","

    def split(self, pieces: Iterator[bytes]) -> Iterator[Block]:
        decoder = getincrementaldecoder("utf-8")()
        for piece in itertools.chain(pieces, [b""]):
            self._text += decoder.decode(piece, final=not piece)
            if self._end == 0 and self._expects == "[" and self._text.startswith("\ufeff"):
                self._text, self._end = self._text[1:], len(BOM)
            while True:
                found, place = self._take(is_end=not piece)
                self._end += len(self._text[:place].encode())
                self._text = self._text[place:]
                if not found:
                    break
                yield Block(list(found), self._end)
        if self._expects != "":
            raise FileError(f"the JSON array ends after item {self._number}: the upload is incomplete")

    def _take(self, *, is_end: bool) -> tuple[list[bytes], int]:
        """Some items, and the place in the text after them."""
        text, place, found = self._text, 0, list[bytes]()
        while len(found) < _BLOCK_RECORDS:
            at = _BLANKS.match(text, place).end()  # type: ignore[union-attr]
            if at == len(text):
                break
            sign = text[at]
            if self._expects == "":
                raise FileError("there is text after the end of the JSON array: upload one array, or NDJSON")
            if self._expects == "[" and sign == "[":
                self._expects, place = "first", at + 1
            elif self._expects in {",", "first"} and sign == "]":
                if found:
                    break  # a job resumes after an item, never after the end
                self._expects, place = "", at + 1
            elif self._expects == "," and sign == ",":
                # Together with its item: the position between two items is always before the comma.
                following = _BLANKS.match(text, at + 1).end()  # type: ignore[union-attr]
                if (after := self._item(found, following, is_end=is_end)) is None:
                    break
                place = after
            elif self._expects == "first":
                if (after := self._item(found, at, is_end=is_end)) is None:
                    break
                place, self._expects = after, ","
            else:
                raise FileError(f"the JSON array is not valid after item {self._number}: a comma or ] is missing")
        return found, place

    def _item(self, found: list[bytes], at: int, *, is_end: bool) -> int | None:
        """Add the item that begins at this place; the place after it, or None if it is not whole yet."""
        text = self._text
        try:
            after = _DECODER.raw_decode(text, at)[1]
            # A number or a word might go on in the next piece.
            is_whole = after < len(text) or is_end or text[after - 1] in '}]"'
        except json.JSONDecodeError as error:
            if is_end or len(text) - at > LONGEST_RECORD_BYTES:
                raise FileError(
                    f"item {self._number + 1} of the JSON array is not valid JSON, longer than 1 MiB, or incomplete"
                    f": {error.msg} at character {error.pos - at} of the item"
                ) from None
            return None
        except (RecursionError, StopIteration):
            raise FileError(f"item {self._number + 1} of the JSON array is nested too deeply") from None
        if not is_whole:
            return None
        item = text[at:after].encode(errors="replace")
        if len(item) > LONGEST_RECORD_BYTES:
            raise FileError(f"item {self._number + 1} of the JSON array is longer than 1 MiB")
        found.append(item)
        self._number += 1
        return after
