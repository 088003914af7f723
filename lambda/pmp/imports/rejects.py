"""Rejected lines, in their file's own format: corrected, the file can be uploaded again.

Each line stands as it was, after the reason: a first column ``rejected`` in CSV, a first member ``rejected`` in JSON,
both of which the next import ignores. The lines hold personal data, so the file is deleted as an upload is
(``objects.UPLOAD_KEPT``), and logs and the API name only codes and counts.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pmp import objects
from pmp.database import Connection
from pmp.logging import log

COLUMN = "rejected"
"""The column, or the member, that holds the reason."""

MOST = 100_000
"""Lines that a file holds; further ones are only counted."""

_PREFIX = f'{{"{COLUMN}": '
_CELL = re.compile(rb'"(?:[^"]|"")*"')


_CHOICE = re.compile(r"^/consents/\d+/")
_COLUMNS = {"/user/id": "user_id", "/user/email": "email", "/consents": "", "/consent/id": "consent"}
"""Columns of values of an event, where their names differ from the pointers."""


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
        unit: what ``Reject.line`` counts: lines of the file, or items of an array.
        sources: by JSON Pointer into an event, where the file has that value.
    """

    header: str | None
    delimiter: str = ","
    unit: Literal["line", "item"] = "line"
    sources: Mapping[str, str] = field(default_factory=dict)

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
        pointer = _CHOICE.sub("/consent/", reject.pointer)
        column = self.sources.get(reject.pointer) or _COLUMNS.get(pointer, pointer.removeprefix("/"))
        place = f", column {column}" if column else ""
        reason = f"line {reject.line}{place}: {reject.code}: {reject.detail}".replace('"', '""')
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

    def _json(self, reject: Reject) -> bytes:
        pointer = self.sources.get(reject.pointer, reject.pointer)
        reason = {self.unit: reject.line, "code": reject.code, "pointer": pointer, "detail": reject.detail}
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


class File:
    """The file of one import's rejects: first rows of the database, then, part by part, an object in S3.

    Args:
        row: of ``import_job``; it is kept up to date here.
        run: runs a statement on the job ``:job``, again if its error may pass.
    """

    def __init__(self, row: dict[str, Any], run: Callable[..., Any]) -> None:
        self._job: str = row["id"]
        self._row, self._run = row, run
        self._pending_bytes = 0
        """Of rejected lines that are in the database."""

    def resume(self) -> None:
        """Learn what earlier invocations left in the database."""
        if self._row["rejects_kept"]:
            ((self._pending_bytes,),) = self._run(
                "SELECT coalesce(sum(length(original)), 0)::bigint FROM pmp.import_reject WHERE import_id = :job"
            )

    def keep(self, connection: Connection, found: Sequence[Reject]) -> tuple[int, int]:
        """Write rejects into the database, in the transaction of their batch; see ``kept``.

        A batch whose commit was not answered is sent again; its rejects may be there already.

        Returns:
            How many there was room for, and their bytes.
        """
        some = found[: max(0, MOST - self._row["rejects_kept"])]
        if not some:
            return 0, 0
        originals = ("NULL" if one.original is None else f'"\\\\x{one.original.hex()}"' for one in some)
        connection.run(
            "WITH kept AS (INSERT INTO pmp.import_reject (import_id, line, code, pointer, detail, original)"
            " SELECT CAST(:job AS uuid), * FROM unnest(CAST(:lines AS bigint[]), CAST(:codes AS text[]),"
            "  CAST(:pointers AS text[]), CAST(:details AS text[]), CAST(:originals AS bytea[]))"
            "  ON CONFLICT DO NOTHING RETURNING 1)"
            " UPDATE pmp.import_job SET rejects_kept = rejects_kept + (SELECT count(*) FROM kept) WHERE id = :job",
            job=self._job,
            lines=[one.line for one in some],
            codes=[one.code for one in some],
            pointers=[one.pointer for one in some],
            details=[one.detail for one in some],
            originals="{" + ",".join(originals) + "}",
        )
        return len(some), sum(len(one.original or b"") for one in some)

    def kept(self, count: int, size: int) -> None:
        """After the commit: count what ``keep`` answered, and write a part if there is enough for one."""
        self._row["rejects_kept"] += count
        self._pending_bytes += size
        if self._pending_bytes >= objects.PART_BYTES:
            self._write_part()

    def complete(self) -> None:
        """Complete the object, if there are any rejects."""
        ((some,),) = self._run("SELECT EXISTS (SELECT FROM pmp.import_reject WHERE import_id = :job)")
        if not some and self._row["rejects_upload"] is None:
            return
        upload, rest, _ = self._next_part()
        try:
            upload.finish(rest)
        except objects.UploadGoneError as error:
            log("first parts of the rejects are gone", level="warning", error=error, job=self._job)
            self._row["rejects_upload"] = None
            upload, rest, _ = self._next_part()
            upload.finish(rest)
        self._run(
            "WITH written AS (DELETE FROM pmp.import_reject WHERE import_id = :job)"
            " UPDATE pmp.import_job SET rejects_key = :key, rejects_upload = NULL WHERE id = :job",
            key=upload.key,
        )

    def _write_part(self) -> None:
        upload, part, last = self._next_part()
        self._pending_bytes = 0
        if len(part) < objects.LEAST_PART_BYTES:
            return
        upload.send(part)
        self._row["rejects_upload"] = {"upload_id": upload.upload_id, "etags": upload.etags}
        self._run(
            "WITH written AS (DELETE FROM pmp.import_reject WHERE import_id = :job AND line <= :last)"
            " UPDATE pmp.import_job SET rejects_upload = CAST(:upload AS jsonb) WHERE id = :job",
            last=last,
            upload=json.dumps(self._row["rejects_upload"]),
        )

    def _next_part(self) -> tuple[objects.Upload, bytes, int]:
        """The upload, its next part, and the last line in it."""
        form, before = self._row["form"], self._row["rejects_upload"]
        unit: Literal["line", "item"] = "item" if form["format"] == "json" else "line"
        shape = Format(form["header"], form["delimiter"], unit, _sources(self._row["mapping"] or {}))
        upload = objects.Upload(
            self._row["bucket"], f"rejects/{self._job}.{shape.suffix}", shape.content_type, **(before or {})
        )
        part, last = bytearray(b"" if before else shape.begin()), 0
        while rows := self._run(
            "SELECT line, code, pointer, detail, original FROM pmp.import_reject"
            " WHERE import_id = :job AND line > :after ORDER BY line LIMIT 1000",
            after=last,
        ):
            part += b"".join(shape.write(Reject(*row)) for row in rows)
            last = rows[-1][0]
        return upload, bytes(part), last


def _sources(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Where a mapping finds the values of an event, by JSON Pointer into the event."""
    found = {f"/user/{name}": source for name, source in mapping.get("user", {}).items()}
    if dates := mapping.get("occurred_at", {}).get("from"):
        found["/occurred_at"] = " or ".join(dates)
    if identifier := mapping.get("event_id"):
        found["/id"] = identifier
    return found


def told(reasons: dict[str, int]) -> str:
    """The numbers of rejected lines by code, for people: ``3 invalid_email, 1 undated``."""
    most_first = sorted(reasons.items(), key=lambda one: (-one[1], one[0]))
    return ", ".join(f"{lines} {code}" for code, lines in most_first)
