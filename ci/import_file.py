"""Import a file into a running platform and follow it to its end: ``make import FILE=…``.

The address and token come from ``PMP_URL`` and ``PMP_TOKEN``, else from the laptop platform (``make -s url``,
``make -s token``). Format and compression are read from the file itself, and its SHA-256 binds the upload to it.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn, cast

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from ci import http
from ci.errors import CommandError

_POLL_SECONDS = 0.5
_BLOCK_BYTES = 1 << 20


class _Watched:
    """A file that moves a progress bar as it is read."""

    def __init__(self, file: BinaryIO, bar: Progress, title: str) -> None:
        self._file, self._bar = file, bar
        self._task = bar.add_task(title, total=os.fstat(file.fileno()).st_size, note="")

    def read(self, size: int = _BLOCK_BYTES) -> bytes:
        block = self._file.read(max(size, _BLOCK_BYTES))
        self._bar.advance(self._task, len(block))
        return block


class _Platform:
    """The API of a running platform."""

    def __init__(self) -> None:
        self.url = os.environ.get("PMP_URL") or _laptop("url")
        self._token = os.environ.get("PMP_TOKEN") or _laptop("token")
        authority = Path(".pmp") / os.environ.get("PMP_INSTANCE", "local") / "ca" / "authority.pem"
        # Whatever else the shell trusts: the laptop platform has an authority of its own.
        if "PMP_URL" not in os.environ and authority.exists():
            os.environ["AWS_CA_BUNDLE"] = str(authority)

    def ask(self, method: str, path: str, document: object = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        body = None if document is None else json.dumps(document).encode()
        answer = http.request(method, self.url + path, headers=headers, body=body)
        if answer.status == 302:
            return {"location": answer.headers["location"]}
        if answer.status >= 400:
            problem = answer.body.decode(errors="replace")[:300]
            raise CommandError(f"{method} {path} answered {answer.status}: {problem}")
        return cast("dict[str, Any]", answer.json())


def _laptop(what: str) -> str:
    done = subprocess.run(["make", "-s", what], capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.strip():
        raise CommandError(
            f"no platform runs here ('make -s {what}' failed): run 'make up', or set PMP_URL and PMP_TOKEN"
        )
    return done.stdout.strip()


def _describe(file: Path) -> dict[str, str]:
    """Format and compression: gzip by its first bytes, CSV by its name."""
    with file.open("rb") as opened:
        compression = "gzip" if opened.read(2) == b"\x1f\x8b" else "none"
    name = file.name.lower().removesuffix(".gz")
    return {"format": "csv" if name.endswith(".csv") else "ndjson", "compression": compression}


def _import(file: Path, *, dry_run: bool) -> dict[str, Any]:
    platform = _Platform()
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True)) as bar:
        return _follow(platform, file, bar, dry_run=dry_run)


def _follow(platform: _Platform, file: Path, bar: Progress, *, dry_run: bool) -> dict[str, Any]:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        watched = _Watched(opened, bar, "check")
        while block := watched.read():
            digest.update(block)
    made = platform.ask("POST", "/v1/imports", {**_describe(file), "sha256": digest.hexdigest(), "dry_run": dry_run})
    with file.open("rb") as opened:
        upload = made["upload"]
        answer = http.request(
            upload["method"],
            upload["url"],
            headers=upload["headers"] | {"Content-Length": str(file.stat().st_size)},
            # urllib3 sends whatever can be read, without holding the whole of it.
            body=cast("bytes", _Watched(opened, bar, "upload")),
        )
    if answer.status != 200:
        raise CommandError(f"S3 refused the upload ({answer.status}): {answer.body.decode(errors='replace')[:300]}")
    task = bar.add_task("import", total=None, note="waiting")
    while True:
        job = platform.ask("GET", f"/v1/imports/{made['id']}")
        note = f"{job['lines']:,} lines, {job['rows_per_second'] or 0:,.0f}/s" if job["lines"] else str(job["state"])
        bar.update(task, total=job["bytes_total"], completed=job["bytes_read"], note=note)
        if job["state"] not in {"waiting", "running"}:
            return job
        time.sleep(_POLL_SECONDS)


def main(
    file: Annotated[Path, typer.Argument(help="NDJSON or CSV, plain or gzip.", readable=False)],
    *,
    dry_run: Annotated[bool, typer.Option(help="Validate and count, write nothing.")] = False,
) -> None:
    """Upload FILE, follow its import, and say what became of its lines."""
    try:
        if not file.is_file():
            raise CommandError(f"{file} is no file: give one as 'make import FILE=path'")  # noqa: TRY301
        job = _import(file, dry_run=dry_run)
        print(
            f"{job['state']}: {job['lines']:,} lines = {job['accepted']:,} accepted + {job['skipped']:,} skipped"
            f" + {job['rejected']:,} rejected, {job['rows_per_second'] or 0:,.0f} lines/s (import {job['id']})"
        )
        if job["rejected"]:
            print(f"rejected lines: {_Platform().ask('GET', '/v1/imports/' + job['id'] + '/rejects')['location']}")
        if job["state"] != "succeeded":
            raise CommandError(job["error"] or "the import was cancelled")  # noqa: TRY301
    except CommandError as error:
        _end(str(error))
    except OSError as error:
        _end(f"{error.filename or file} cannot be read: {error.strerror or error}")


def _end(reason: str) -> NoReturn:
    print(f"error: {reason}", file=sys.stderr)
    raise SystemExit(1) from None


if __name__ == "__main__":
    typer.run(main)
