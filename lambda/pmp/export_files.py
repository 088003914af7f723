"""Where the text of an export goes: one file, or a folder of files by day as Spark and Athena read it (ADR 0215).

Both resume after what was sent last: their state goes into the job's checkpoint.
"""

import datetime as dt
import json
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from pmp import export_text, objects

FILE_BYTES = 16 << 20
"""Of a folder's file, compressed: a limit that is looked at after each page."""

_MOST_DAYS = 16
"""Days whose files are open at once; a compressor takes a quarter of a MiB."""

_MOST_REPLACED = 5
_RECEIVED_ON = re.compile(r'"received_at": "([0-9]{4}-[0-9]{2}-[0-9]{2})')
_GZIP = "application/gzip"

MANIFEST = "_manifest.json"
"""Lists a folder's files. Readers pass over names that begin with an underscore."""

DONE = "_SUCCESS"
"""An empty object in a complete folder, written last: as Hadoop and Spark do."""


class Target(Protocol):
    """Takes the pages of an export."""

    @property
    def is_full(self) -> bool:
        """Whether it is time to ``send``."""

    def begin(self) -> None:
        """Read what the last invocation has kept for this one.

        Raises:
            UploadGoneError: it is gone.
        """

    def write(self, page: str) -> None:
        """Add lines of JSON, each with its end."""

    def send(self) -> dict[str, Any]:
        """Write what is worth it to S3, and return what the checkpoint says of it."""

    def keep(self, after: list[int]) -> dict[str, Any]:
        """Write all to S3 before another invocation goes on, and return what the checkpoint says of it.

        Args:
            after: where the last page ends.
        """

    def saved(self) -> None:
        """The checkpoint holds what ``send`` or ``keep`` returned."""

    def discard(self) -> None:
        """Delete what was written since ``saved``: another invocation has taken over, and writes it again."""

    def finish(self) -> dict[str, Any]:
        """Write the rest, and return columns of the job: ``bytes``, and ``files`` of a folder."""


def target(row: dict[str, Any], renew: Callable[[], None]) -> Target:
    """The target of a job.

    Args:
        row: of ``export_job``.
        renew: extends the lease on the job, and raises an error if it is lost.
    """
    return _Folder(row, renew) if row["partitioned"] else _OneFile(row)


class _OneFile:
    """A sequence of gzip members (RFC 1952, section 2.2), which are the parts of one S3 upload (ADR 0205)."""

    def __init__(self, row: dict[str, Any]) -> None:
        before = row["checkpoint"] or {}
        self._contents, self._format = row["contents"], row["format"]
        self._upload = objects.Upload(
            row["bucket"], row["object_key"], _GZIP, before.get("upload_id", ""), before.get("etags", [])
        )
        self._sent: int = before.get("bytes", 0)
        self._before, self._part, self._member = before, bytearray(), _member()

    def begin(self) -> None:
        if not self._before:
            self._part += self._member.compress(export_text.header(self._contents, self._format).encode())
        elif self._before["tail"]:
            self._part += self._read_tail()

    @property
    def is_full(self) -> bool:
        return len(self._part) >= objects.PART_BYTES

    def write(self, page: str) -> None:
        self._part += self._member.compress(export_text.formatted(self._contents, self._format, page).encode())

    def send(self) -> dict[str, Any]:
        part = self._taken()
        self._upload.send(part)
        self._sent += len(part)
        return self._state(tail=False)

    def keep(self, after: list[int]) -> dict[str, Any]:
        # What is too short to be a part of the upload. Named after where it ends: the tail that a failed attempt wrote
        # is never taken for another one.
        objects.Upload(self._upload.bucket, self._tail_key(after), _GZIP).finish(self._taken())
        return self._state(tail=True)

    def saved(self) -> None:
        pass

    def discard(self) -> None:
        pass

    def finish(self) -> dict[str, Any]:
        part = self._taken()
        self._upload.finish(part)
        return {"bytes": self._sent + len(part)}

    def _taken(self) -> bytes:
        part = bytes(self._part + self._member.flush())
        self._part, self._member = bytearray(), _member()
        return part

    def _state(self, *, tail: bool) -> dict[str, Any]:
        return {"bytes": self._sent, "upload_id": self._upload.upload_id, "etags": self._upload.etags, "tail": tail}

    def _read_tail(self) -> bytes:
        key = self._tail_key(self._before["after"])
        try:
            return objects.client().get_object(Bucket=self._upload.bucket, Key=key)["Body"].read()
        except objects.client().exceptions.NoSuchKey as error:
            raise objects.UploadGoneError(f"s3://{self._upload.bucket}/{key} is gone") from error

    def _tail_key(self, after: list[int]) -> str:
        return f"{self._upload.key}.{'-'.join(map(str, after))}"


File = tuple[str, int, int]
"""A file of a folder that is in S3: day, lines, bytes."""


class _Open:
    """A file of a folder that is being written."""

    def __init__(self, header: str) -> None:
        self._member, self.lines = _member(), 0
        self.content = bytearray(self._member.compress(header.encode()))

    def write(self, text: str, lines: int) -> None:
        self.content += self._member.compress(text.encode())
        self.lines += lines

    def end(self) -> bytes:
        return bytes(self.content + self._member.flush())


class _Folder:
    """Files of bounded size in folders by day: of the state for users and choices, of the receipt for events."""

    def __init__(self, row: dict[str, Any], renew: Callable[[], None]) -> None:
        before = row["checkpoint"] or {}
        self._row, self._renew = row, renew
        self._files: list[File] = [(day, lines, size) for day, lines, size in before.get("files", [])]
        self._open: dict[str, _Open] = {}
        self._unsaved: list[tuple[str, str]] = []

    def begin(self) -> None:
        pass

    @property
    def is_full(self) -> bool:
        return len(self._open) > _MOST_DAYS or sum(len(one.content) for one in self._open.values()) >= FILE_BYTES

    def write(self, page: str) -> None:
        for day, lines in self._by_day(page).items():
            file = self._open.get(day)
            if file is None:
                file = self._open[day] = _Open(export_text.header(self._row["contents"], self._row["format"]))
            text = "\n".join([*lines, ""])
            file.write(export_text.formatted(self._row["contents"], self._row["format"], text), len(lines))

    def send(self) -> dict[str, Any]:
        # All of them: the checkpoint names one place in the export.
        for day, file in sorted(self._open.items()):
            content = file.end()
            self._put(_key(self._row, day, len(self._files)), content)
            self._files.append((day, file.lines, len(content)))
        self._open.clear()
        return {"files": self._files}

    def keep(self, after: list[int]) -> dict[str, Any]:
        del after
        return self.send()

    def saved(self) -> None:
        self._unsaved.clear()

    def discard(self) -> None:
        for key, version in self._unsaved:
            objects.remove_version(self._row["bucket"], key, version)

    def finish(self) -> dict[str, Any]:
        self.send()
        bucket, folder = self._row["bucket"], self._row["object_key"]
        files = described(self._row, self._files)
        # What an invocation wrote that died before its checkpoint.
        objects.remove_all(bucket, folder, kept={one["key"] for one in files})
        sums: dict[str, Any] = {"bytes": sum(size for _, _, size in self._files)}
        names = ("id", "contents", "format", "consent", "enabled", "as_of", "known_at")
        manifest = {name: self._row[name] for name in names} | sums | {"files": files}
        objects.write(bucket, folder + MANIFEST, "application/json", iter([json.dumps(manifest).encode()]))
        objects.write(bucket, folder + DONE, "application/octet-stream", iter([b""]))
        return sums | {"files": json.dumps(self._files)}

    def _by_day(self, page: str) -> dict[str, list[str]]:
        lines = page.split("\n")[:-1]
        if self._row["contents"] != "events":
            day = dt.datetime.fromisoformat(self._row["as_of"]).astimezone(dt.UTC).date().isoformat()
            return {day: lines} if lines else {}
        days: dict[str, list[str]] = {}
        for line in lines:
            days.setdefault(_RECEIVED_ON.search(line)[1], []).append(line)  # type: ignore[index]
        return days

    def _put(self, key: str, content: bytes) -> None:
        bucket = self._row["bucket"]
        for _ in range(_MOST_REPLACED):
            version = objects.put_new(bucket, key, content, _GZIP)
            if version is not None:
                self._unsaved.append((key, version))
                return
            # Of an invocation that died before its checkpoint, or that lost its lease; it may not replace ours later.
            self._renew()
            objects.remove_all(bucket, key)
        raise objects.ObjectUnreadableError(f"s3://{bucket}/{key}: comes back each time that it is deleted")


def described(row: dict[str, Any], files: Sequence[File]) -> list[dict[str, Any]]:
    """The files of a folder, ``[{"key", "date", "lines", "bytes"}]``.

    Args:
        row: ``{"object_key", "format"}`` of ``export_job``.
        files: as in ``export_job.files``.
    """
    return [
        {"key": _key(row, day, number), "date": day, "lines": lines, "bytes": size}
        for number, (day, lines, size) in enumerate(files)
    ]


def _key(row: dict[str, Any], day: str, number: int) -> str:
    return f"{row['object_key']}date={day}/part-{number:05}.{row['format']}.gz"


def _member() -> Any:
    """A compressor of one gzip member, without a timestamp: the same users give the same bytes."""
    return zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
