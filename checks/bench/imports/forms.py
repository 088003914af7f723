"""Files of the forms that imports accept, for the measurement of memory."""

import gzip
import itertools
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

FORMS = {
    "NDJSON, gzip": "ndjson",
    "JSON array, gzip": "array",
    "NDJSON in a ZIP archive": "zip",
    "CSV with semicolons in UTF-16, gzip": "csv",
}
"""By title, the form."""

LONG_FROM_MB = 1000
"""From this size on, lines are filled up with blanks: a batch then ends by its bytes instead of its lines."""

LONG_BYTES = 1500
_COLUMNS = ("email_notifications", "sms_notifications")


class _Output(Protocol):
    def write(self, data: bytes, /) -> int: ...


def write(source: Path, target: Path, form: str, megabytes: int) -> None:
    """Write a file of so many megabytes before compression, by repeating the source's lines.

    The repeated lines are duplicates, but the import reads them all the same.

    Args:
        source: gzip-compressed NDJSON, as ``checks.bench.imports`` generates it.
        target: the file.
        form: one of ``FORMS``.
        megabytes: its size.
    """
    blanks = " " * LONG_BYTES if megabytes >= LONG_FROM_MB else ""
    left = megabytes << 20
    with _opened(target, form) as out:
        for block in _blocks(source, form, blanks):
            out.write(block)
            left -= len(block)
            if left <= 0:
                break
        if form == "array":
            out.write(b"]")


@contextmanager
def _opened(target: Path, form: str) -> Iterator[_Output]:
    if form == "zip":
        with (
            zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("events.ndjson", "w", force_zip64=True) as out,
        ):
            yield out
    else:
        with gzip.open(target, "wb", 1) as out:
            yield out


def _blocks(source: Path, form: str, blanks: str) -> Iterator[bytes]:
    lines = _lines(source)
    is_first = True
    while True:
        texts = [_filled(line, blanks) for line in itertools.islice(lines, 2000)]
        if form == "csv":
            head = f"id;user_id;occurred_at;{';'.join(_COLUMNS)}\r\n" if is_first else ""
            yield (head + "".join(_row(text, blanks) for text in texts)).encode("utf-16" if is_first else "utf-16-le")
        elif form == "array":
            yield (("[" if is_first else ",") + ",".join(texts)).encode()
        else:
            yield ("\n".join(texts) + "\n").encode()
        is_first = False


def _lines(source: Path) -> Iterator[str]:
    while True:
        with gzip.open(source, "rt") as lines:
            yield from lines


def _filled(line: str, blanks: str) -> str:
    return f"{line.rstrip()[:-1]}{blanks}}}"


def _row(text: str, blanks: str) -> str:
    event = json.loads(text)
    answers = {choice["id"]: str(choice["enabled"]).lower() for choice in event["consents"]}
    cells = [event["id"], event["user"]["id"], event["occurred_at"], *(answers.get(name, "") for name in _COLUMNS)]
    return ";".join(cells) + blanks[: len(blanks) // 2] + "\r\n"
