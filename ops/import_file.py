"""Upload a file for import into a running platform, and follow the import until it ends.

The file's content tells PMP how to read it; the upload is bound to the file by its SHA-256.
"""

import hashlib
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from ops import http
from ops.api import Api
from ops.errors import UserError

_POLL_SECONDS = 0.5
_BLOCK_BYTES = 1 << 20
_CHOICES = 10
"""Of a line that the preview prints."""


@dataclass(frozen=True)
class Options:
    """What the request may say about an import.

    Attributes:
        dry_run: count and show what an import would do, record nothing.
        occurred_at: RFC 3339: when the choices on lines without an instant were made; such lines are rejected without.
        max_rejected: the import fails when more lines are rejected.
        mapping: id of the mapping that reads a file of another system.
    """

    dry_run: bool = False
    occurred_at: str | None = None
    max_rejected: int | None = None
    mapping: str | None = None

    @property
    def members(self) -> dict[str, Any]:
        """Members of the body of ``POST /v1/imports``."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class _Watched:
    """A file that moves a progress bar as it is read."""

    def __init__(self, file: BinaryIO, bar: Progress, title: str) -> None:
        self._file, self._bar = file, bar
        self._task = bar.add_task(title, total=os.fstat(file.fileno()).st_size, note="")

    def read(self, size: int = _BLOCK_BYTES) -> bytes:
        block = self._file.read(max(size, _BLOCK_BYTES))
        self._bar.advance(self._task, len(block))
        return block


def _follow(api: Api, file: Path, bar: Progress, options: Options) -> dict[str, Any]:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        watched = _Watched(opened, bar, "check")
        while block := watched.read():
            digest.update(block)
    about = {"sha256": digest.hexdigest(), "size": file.stat().st_size, "file_name": file.name[-255:]}
    created = api.expect(201, "POST", "/v1/imports", about | options.members)
    with file.open("rb") as opened:
        upload = created["upload"]
        answer = http.request(
            upload["method"],
            upload["url"],
            headers=upload["headers"],
            # urllib3 streams any object that has a read method, without loading all of it.
            body=cast("bytes", _Watched(opened, bar, "upload")),
            authority=api.authority,
        )
    if answer.status != 200:
        raise UserError(f"S3 refused the upload ({answer.status}): {answer.body.decode(errors='replace')[:300]}")
    task = bar.add_task("import", total=None, note="waiting")
    while True:
        job: dict[str, Any] = api.expect(200, "GET", f"/v1/imports/{created['id']}")
        note = f"{job['lines']:,} lines, {job['rows_per_second'] or 0:,.0f}/s" if job["lines"] else str(job["state"])
        bar.update(task, total=job["bytes_total"], completed=job["bytes_read"], note=note)
        if job["state"] not in {"waiting", "running"}:
            return job
        time.sleep(_POLL_SECONDS)


def import_file(api: Api, file: Path, options: Options) -> None:
    """Upload ``file``, follow its import, and print how many lines were accepted, skipped and rejected.

    Args:
        api: the API to import into.
        file: see docs/imports.md.
        options: see ``Options``.

    Raises:
        UserError: the file cannot be read, was refused, or its import did not succeed.
    """
    if not file.is_file():
        raise UserError(f"{file} is not a file; usage: make import FILE=path")
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    try:
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as bar:
            job = _follow(api, file, bar, options)
    except OSError as error:
        raise UserError(f"{error.filename or file} cannot be read: {error.strerror or error}") from error
    _print_counts(job)
    if job["dry_run"]:
        _print_preview(api.expect(200, "GET", f"/v1/imports/{job['id']}/preview")["lines"])
    if job["rejects_kept"]:
        print(f"rejected lines, to be corrected and imported again:\n  {_save_rejects(api, file, job)}")
    if job["state"] != "succeeded":
        raise UserError(job["error"] or "the import was cancelled")


def _print_counts(job: dict[str, Any]) -> None:
    effects = job["effects"]
    name, accepted = ("dry run", "would be accepted") if job["dry_run"] else ("import", "accepted")
    print(f"{name} {job['state']}{', nothing is recorded' if job['dry_run'] else ''} ({job['id']})")
    print(
        f"  {job['lines']:,} lines: {job['accepted']:,} {accepted}, {job['skipped']:,} skipped, "
        f"{job['rejected']:,} rejected; {job['rows_per_second'] or 0:,.0f} lines/s"
    )
    print(
        f"  choices: {effects['opted_in']:,} opt in, {effects['opted_out']:,} opt out, "
        f"{effects['unchanged']:,} change nothing; {effects['new_users']:,} new users"
    )
    for code, lines in sorted(job["reasons"].items(), key=lambda one: -one[1]):
        print(f"  {lines:>10,} {code}")


def _print_preview(lines: list[dict[str, Any]]) -> None:
    """Print the first lines as a table that fits into 80 columns."""
    table = Table("line", "user", "choices", "made at", box=None, pad_edge=False, title_justify="left")
    table.columns[0].justify = "right"
    for column in table.columns:
        column.overflow = "fold"
    for line in lines:
        if line["rejected"] is not None:
            table.add_row(
                str(line["line"]),
                Text("rejected"),
                Text(f"{line['rejected']['code']}: {line['rejected']['detail']}"),
                "",
            )
            continue
        event = line["event"]
        choices = [
            f"{'yes' if one['enabled'] else 'no':<3} {one['id']} v{one['version']}"
            for one in event["consents"][:_CHOICES]
        ]
        if more := len(event["consents"]) - _CHOICES:
            choices += [f"and {more} more"] if more > 0 else []
        table.add_row(
            str(line["line"]),
            # Text, because an address may look like the markup of Rich.
            Text(event["user"].get("email") or event["user"]["id"]),
            Text("\n".join(choices)),
            Text(f"{event['occurred_at']}\nid {event['id'][:8]}…"),
        )
    print("\nthe first lines, as PMP understands them:\n")
    Console(width=80, highlight=False).print(table)
    print()


def _save_rejects(api: Api, file: Path, job: dict[str, Any]) -> Path:
    """Download the rejected lines into the current folder, readable by its owner only: they hold personal data."""
    url = api.ask("GET", f"/v1/imports/{job['id']}/rejects").headers["location"]
    answer = http.request("GET", url, authority=api.authority)
    if answer.status != 200:
        raise UserError(
            f"S3 refused the download of the rejected lines ({answer.status}); {url} is valid for 15 minutes"
        )
    saved = Path(f"{file.name.split('.')[0]}.rejects-{job['id'][:8]}{Path(urlsplit(url).path).suffix}")
    saved.touch(mode=0o600)
    saved.write_bytes(answer.body)
    return saved
