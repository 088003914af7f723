"""Choose where Terraform modules come from, and serve a directory tree of them by the module registry protocol.

The tree is ``<namespace>/<name>/<provider>/<version>/``: either a mirror of the real modules (``PMP_MODULE_MIRROR``)
or, where the public registry does not answer, PMP's own stand-ins beside this file. Protocol: https://developer.hashicorp.com/terraform/internals/module-registry-protocol
"""

import io
import json
import os
import re
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ops import providers

STAND_INS = Path(__file__).parent / "modules"

_SEGMENT = r"[0-9A-Za-z][0-9A-Za-z._-]*"
_VERSIONS = re.compile(rf"/({_SEGMENT}/{_SEGMENT}/{_SEGMENT})/versions")
_DOWNLOAD = re.compile(rf"/({_SEGMENT}/{_SEGMENT}/{_SEGMENT}/{_SEGMENT})/download")
_ARCHIVE = re.compile(rf"/archive/({_SEGMENT}/{_SEGMENT}/{_SEGMENT}/{_SEGMENT})\.tar\.gz")


@dataclass(frozen=True)
class Source:
    """Where the modules come from: a directory or, with None, the public registry; and a description for people."""

    directory: Path | None
    description: str


def source() -> Source:
    """Return the mirror that ``PMP_MODULE_MIRROR`` names, else the public registry if it answers, else the stand-ins.

    Raises:
        NotADirectoryError: ``PMP_MODULE_MIRROR`` does not name a directory.
    """
    mirror = os.environ.get("PMP_MODULE_MIRROR")
    if not mirror:
        registry = providers.registry_answers()
        return Source(None, f"registry {providers.REGISTRY_HOST}") if registry else Source(STAND_INS, "stand-ins")
    if not Path(mirror).is_dir():
        raise NotADirectoryError(
            f"PMP_MODULE_MIRROR={mirror} is not a directory: it should hold "
            "<namespace>/<name>/<provider>/<version>/ folders of modules"
        )
    return Source(Path(mirror).resolve(), f"mirror {mirror}")


@lru_cache(maxsize=32)
def _archive(directory: Path, _stamp: float) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path in sorted(directory.rglob("*")):
            relative = path.relative_to(directory)
            # A mirror that is a git clone also contains history and examples, which no plan needs.
            if path.is_file() and not {".git", ".terraform", "examples", "wrappers"} & set(relative.parts):
                archive.add(path, arcname=str(relative))
    return buffer.getvalue()


def _newest_change(directory: Path) -> float:
    return max((path.stat().st_mtime for path in directory.rglob("*")), default=0.0)


def _versions(module: Path) -> list[str]:
    return sorted(path.name for path in module.iterdir() if path.is_dir()) if module.is_dir() else []


class _Handler(BaseHTTPRequestHandler):
    server: "RegistryServer"

    def do_GET(self) -> None:
        # With the public registry as the source, this server only says so: it has no modules of its own.
        root = self.server.source.directory or Path(os.devnull)
        if (match := _VERSIONS.fullmatch(self.path)) and (versions := _versions(root / match[1])):
            body = {"modules": [{"versions": [{"version": version} for version in versions]}]}
            self._answer(200, "application/json", json.dumps(body).encode())
        elif (match := _DOWNLOAD.fullmatch(self.path)) and (root / match[1]).is_dir():
            self.send_response(204)
            self.send_header("X-Terraform-Get", f"{self.server.url}/archive/{match[1]}.tar.gz")
            self.end_headers()
        elif (match := _ARCHIVE.fullmatch(self.path)) and (root / match[1]).is_dir():
            directory = root / match[1]
            self._answer(200, "application/gzip", _archive(directory, _newest_change(directory)))
        elif self.path == "/health":
            self._answer(200, "text/plain", self.server.source.description.encode())
        else:
            self._answer(404, "application/json", json.dumps({"errors": [f"{self.path} is not served here"]}).encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class RegistryServer(ThreadingHTTPServer):
    """A module registry on ``127.0.0.1:port``; port 0 selects a free one."""

    daemon_threads = True

    def __init__(self, port: int, modules: Source) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.source = modules

    @property
    def url(self) -> str:
        """Base address, without a trailing slash: the value of the ``modules.v1`` service."""
        return f"http://127.0.0.1:{self.server_port}"
