"""What a file is, by its content: container, encoding, format and dialect; and its records from any position on.

A file is read once before its first line is imported. Whatever makes it unusable as a whole is found then.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import Any, Literal

from pmp import objects
from pmp.imports import containers, encodings, records
from pmp.imports.containers import Read
from pmp.imports.errors import FileError

_DELIMITERS = ",;\t|"
_SEPARATOR_LINE = re.compile(r'"?sep=([,;|\t:^~])"?', re.IGNORECASE).fullmatch
"""Excel's first line of a CSV file that names the delimiter."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a file is. A job keeps it, so that each invocation reads the file in the same way.

    Attributes:
        container: what the object is packed in.
        encoding: of the text.
        format: ``ndjson``, ``csv`` or ``json`` (one array).
        has_returns: lines end with CR alone, as on the classic Mac OS.
        delimiter: between the cells of CSV.
        header: of CSV.
        body: offset in the text, in UTF-8, after the header.
        body_line: number of the header's last line; 0 without a header.
        warnings: what was ignored.
    """

    container: containers.Container = "none"
    encoding: encodings.Encoding = "utf-8"
    format: Literal["ndjson", "csv", "json"] = "ndjson"
    has_returns: bool = False
    delimiter: str = ","
    header: str | None = None
    body: int = 0
    body_line: int = 0
    warnings: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """The form as JSON; ``Form(**document)`` restores it."""
        return asdict(self)


def examine(
    read: Read,
    size: Callable[[], int],
    *,
    delimiter: str | None = None,
    observe: Callable[[bytes], None] = lambda _: None,
    beat: Callable[[], None] = lambda: None,
) -> Form:
    """Read the whole object, and tell what it is.

    Args:
        read: reads the object.
        size: its bytes, once the first of them are read.
        delimiter: of CSV, if it is known.
        observe: called with each part of the object in turn.
        beat: called now and then.

    Raises:
        FileError: it cannot be imported as a whole.
    """

    def observed() -> Iterator[bytes]:
        for chunk in chain([head], rest):
            observe(chunk)
            yield chunk

    rest = read(0)
    head = containers.beginning(rest)
    container = containers.identify(head)
    chunks, warnings = observed(), list[str]()
    if container == "zip":
        for _ in chunks:
            beat()
    pieces = containers.unpack(container, chunks, read, size(), warnings.append)
    start = containers.beginning(pieces)
    if container != "none" and containers.identify(start, f"the {container} file holds") != "none":
        raise FileError(f"the {container} file holds another compressed file: upload that one")
    encoding = encodings.identify(start)
    text = encodings.checked(records.gathered(encodings.decoded(chain([start], pieces), encoding)), beat)
    most = records.LONGEST_RECORD_BYTES + len(encodings.BOM)
    beginning = containers.beginning(text, most + 1)
    found = _shape(beginning[:most], delimiter, is_whole=len(beginning) <= most)
    everything = chain([beginning], text)
    for _ in records.items(everything) if found["format"] == "json" else everything:
        pass
    return Form(container=container, encoding=encoding, warnings=warnings, **found)


def contents(form: Form, read: Read, size: int, position: int, beat: Callable[[], None]) -> Iterator[records.Block]:
    """The records from a position on, which is the end of a block or ``form.body``.

    Args:
        form: from ``examine``.
        read: reads the object.
        size: its bytes.
        position: offset in the text, in UTF-8.
        beat: called now and then while what was imported before is skipped.
    """
    if form.container == "none" and form.encoding == "utf-8":
        text = read(position) if position < size else iter(())
    else:
        # Neither can be read from the middle: from the start, without what was imported before.
        chunks = read(0) if form.container != "zip" else iter(())
        pieces = containers.unpack(form.container, chunks, read, size, lambda _: None)
        text = objects.skipped(encodings.decoded(pieces, form.encoding), position, beat)
    if form.has_returns:
        text = (piece.replace(b"\r", b"\n") for piece in text)
    text = records.gathered(text)
    if form.format == "csv":
        return records.rows(text, form.delimiter, start=position)
    if form.format == "json":
        return records.items(text, start=position)
    return records.lines(text, start=position)


def _shape(beginning: bytes, delimiter: str | None, *, is_whole: bool) -> dict[str, Any]:
    """The fields of ``Form`` that the beginning of the text tells."""
    text = beginning.removeprefix(encodings.BOM)
    has_returns = b"\r" in text and b"\n" not in text
    if has_returns:
        text = text.replace(b"\r", b"\n")
    trimmed = text.lstrip()
    first = trimmed[:1]
    if first == b"[":
        return {"format": "json"}
    if first == b"<":
        raise FileError(
            "the file is an HTML or XML document: if it is a page that tells why a download failed, download it again"
        )
    if first == b"{":
        if trimmed.partition(b"\n")[0].strip() == b"{":
            raise FileError(
                "the file is a JSON object over several lines: write each event on one line (NDJSON), or an array"
            )
        return {"format": "ndjson", "has_returns": has_returns}
    if not first:
        if not is_whole:
            raise FileError("the file begins with more than 1 MiB of blanks")
        return {"format": "ndjson"}
    found = _dialect(text, delimiter, is_whole=is_whole)
    found["body"] = min(found["body"] + len(beginning) - len(text), len(beginning))
    return {"format": "csv", "has_returns": has_returns, **found}


def _dialect(text: bytes, delimiter: str | None, *, is_whole: bool) -> dict[str, Any]:
    """Delimiter and header of CSV, and where its rows begin.

    Raises:
        FileError: no header.
    """
    split: list[bytes | None] = list(text.split(b"\n"))
    if not is_whole:
        split.pop()
    number = offset = 0
    while number < len(split):
        line = split[number] or b""
        separator = _SEPARATOR_LINE(line.decode().rstrip("\r "))
        if separator:
            delimiter = delimiter or separator[1]
        elif line.strip():
            delimiter = delimiter or _most_frequent(line.decode())
            taken = max(1, records.row_length(split[number : number + 1000], delimiter))
            header = b"\n".join(part or b"" for part in split[number : number + taken])
            body = offset + len(header) + 1
            names = header.decode().strip("\r")
            if "\0" in names:
                raise FileError("the CSV header has NUL characters: the file is damaged, or is not text")
            return {"delimiter": delimiter, "header": names, "body": body, "body_line": number + taken}
        offset += len(line) + 1
        number += 1
    raise FileError(
        "the file has no header: it begins neither with { or [, as JSON does, nor with a line of CSV that ends within "
        "the first MiB"
    )


def _most_frequent(line: str) -> str:
    """The delimiter that appears most often outside quotes."""
    bare = re.sub(r'"[^"]*("|$)', "", line)
    return max(_DELIMITERS, key=bare.count)
