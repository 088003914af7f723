"""Rejected lines, in their file's own format: corrected, the file can be uploaded again.

Each line stands as it was, after the reason: a first column ``rejected`` in CSV, a first member ``rejected`` in JSON,
both of which the next import ignores. The lines hold personal data, so the file is deleted as an upload is
(``objects.UPLOAD_KEPT``), and logs and the API name only codes and counts.
"""

import json
import re
from dataclasses import dataclass
from typing import NamedTuple

COLUMN = "rejected"
"""The column, or the member, that holds the reason."""

MOST = 100_000
"""Lines that a file holds; further ones are only counted."""

_PREFIX = f'{{"{COLUMN}": '
_CELL = re.compile(rb'"(?:[^"]|"")*"')


class Reject(NamedTuple):
    """A rejected line.

    Attributes:
        line: its number within the object.
        code: a word for programs.
        pointer: see ``LineError``.
        detail: for people.
        original: the line without its end; None if it was too long to be kept.
    """

    line: int
    code: str
    pointer: str
    detail: str
    original: bytes | None


@dataclass(frozen=True)
class Format:
    """How the rejects of one import are written.

    Attributes:
        header: first line of a CSV file; None for JSON.
        delimiter: between the cells of CSV.
    """

    header: str | None
    delimiter: str = ","

    @property
    def suffix(self) -> str:
        """End of the file's name."""
        return "ndjson" if self.header is None else "csv"

    @property
    def content_type(self) -> str:
        """Media type of the file."""
        return "application/x-ndjson" if self.header is None else "text/csv"

    def begin(self) -> bytes:
        """The first line of the file."""
        if self.header is None:
            return b""
        header = self._without_reason(self.header.encode(), COLUMN.encode())
        return COLUMN.encode() + self.delimiter.encode() + header + b"\n"

    def write(self, reject: Reject) -> bytes:
        """The line of a reject."""
        return (self._json(reject) if self.header is None else self._csv(reject)) + b"\n"

    def _csv(self, reject: Reject) -> bytes:
        place = f" at {reject.pointer}" if reject.pointer else ""
        reason = f"line {reject.line}: {reject.code}{place}: {reject.detail}".replace('"', '""')
        original = self._without_reason(reject.original or b"", None)
        return f'"{reason}"{self.delimiter}'.encode() + original

    def _without_reason(self, line: bytes, cell: bytes | None) -> bytes:
        """The line without the reason of an earlier import; ``cell``: what its first cell must be, None: anything."""
        assert self.header is not None  # noqa: S101 - the callers' branch
        mark = self.delimiter.encode()
        if not self.header.startswith(COLUMN + self.delimiter):
            return line
        if cell is not None:
            return line.removeprefix(cell + mark)
        found = _CELL.match(line)
        end = found.end() if found else max(line.find(mark), 0)
        return line[end:].removeprefix(mark)

    @staticmethod
    def _json(reject: Reject) -> bytes:
        reason = {"line": reject.line, "code": reject.code, "pointer": reject.pointer, "detail": reject.detail}
        # An item of an array may take several lines; in JSON, line ends are blanks.
        text = (reject.original or b"").decode(errors="replace").strip().replace("\r", " ").replace("\n", " ")
        if text.startswith(_PREFIX):
            try:
                _, end = json.JSONDecoder().raw_decode(text, len(_PREFIX))
            except ValueError:
                pass
            else:
                text = "{" + text[end:].lstrip(", ")
        head = _PREFIX + json.dumps(reason, ensure_ascii=False)
        if not text.startswith("{"):
            # Not an object: what there was is kept as text.
            rest = f', "original": {json.dumps(text, ensure_ascii=False)}' if reject.original else ""
            return f"{head}{rest}}}".encode()
        rest = text[1:].lstrip()
        return (head + ("" if rest.startswith("}") else ", ") + rest).encode()


def told(reasons: dict[str, int]) -> str:
    """The numbers of rejected lines by code, for people: ``3 invalid_email, 1 undated``."""
    most_first = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{lines} {code}" for code, lines in most_first)
