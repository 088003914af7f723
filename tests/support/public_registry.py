"""A double of the public Terraform registry, reached the way Terraform reaches the real one.

``python -m tests.support.public_registry`` runs a command as on a machine with a network but without a provider
mirror. It expects a network and a mount namespace of its own (`namespaced` adds them to a command). Inside, the
registry's name resolves to loopback, the double listens on port 443, and this machine's mirror is hidden, so that
Terraform's service discovery, its downloads and its checks of certificates, checksums and signatures are the real ones.

Protocols: https://developer.hashicorp.com/terraform/internals/remote-service-discovery,
https://developer.hashicorp.com/terraform/internals/module-registry-protocol,
https://developer.hashicorp.com/terraform/internals/provider-registry-protocol
"""

import argparse
import fcntl
import hashlib
import io
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from local.registry.server import STAND_INS
from local.servers.certificates import Authority
from ops import providers

# Root needs no user namespace, which a chroot refuses; everybody else gets root's rights in one.
NAMESPACES = ("unshare", *(() if os.geteuid() == 0 else ("--map-root-user",)), "--net", "--mount")

_URL = f"https://{providers.REGISTRY_HOST}"
# ioctl(2) requests of netdevice(7), and its flags IFF_UP and IFF_RUNNING.
_SIOCSIFFLAGS = 0x8914
_UP = 0x1 | 0x40


def refusal_of_namespaces() -> str:
    """Return why this machine grants no namespaces, as a container without privileges does; empty if it does."""
    return subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False).stderr.strip()


def namespaced(arguments: Sequence[str], command: Sequence[str]) -> list[str]:
    """Return the command line that runs ``command`` beside the double, with the double's own ``arguments``."""
    return [*NAMESPACES, sys.executable, "-m", __name__, *arguments, "--", *command]


def pack(provider: Path, directory: Path) -> Path:
    """Pack an unpacked AWS provider (``<version>/<os>_<arch>/``) as a mirror and the registry hold it: a ``.zip`` file.

    Stored, not deflated: the provider has hundreds of megabytes, and nothing here saves space.
    """
    target = directory / f"terraform-provider-aws_{provider.parent.name}_{provider.name}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(provider.iterdir()):
            archive.write(file, file.name)
    return target


@dataclass(frozen=True)
class _Key:
    """An OpenPGP key made for one run: its id, its armored public half, and GnuPG's home."""

    home: Path
    identifier: str
    public: str

    @staticmethod
    def create(home: Path) -> "_Key":
        home.mkdir(mode=0o700)
        gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
        subprocess.run([*gpg, "--passphrase", "", "--quick-generate-key", "double", "rsa2048"], check=True)
        listed = subprocess.run([*gpg, "--list-keys", "--with-colons"], check=True, capture_output=True, text=True)
        identifier = next(line.split(":")[4] for line in listed.stdout.splitlines() if line.startswith("pub:"))
        exported = subprocess.run([*gpg, "--armor", "--export"], check=True, capture_output=True, text=True)
        return _Key(home, identifier, exported.stdout)

    def sign(self, text: bytes) -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--detach-sign"]
        return subprocess.run(command, input=text, check=True, capture_output=True).stdout


@dataclass
class _Content:
    """What the double serves: bodies by path, module downloads by path, and one file of a provider."""

    provider: Path
    documents: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)

    def add_services(self) -> None:
        services = {"modules.v1": "/v1/modules/", "providers.v1": "/v1/providers/"}
        self.documents["/.well-known/terraform.json"] = json.dumps(services).encode()

    def add_modules(self, tree: Path) -> None:
        """Offer ``<namespace>/<name>/<provider>/<version>/`` folders."""
        for folder in sorted(tree.glob("*/*/*/*")):
            name = str(folder.relative_to(tree))
            module = str(folder.parent.relative_to(tree))
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
                archive.add(folder, arcname="")
            self.documents[f"/archive/{name}.tar.gz"] = buffer.getvalue()
            self.redirects[f"/v1/modules/{name}/download"] = f"{_URL}/archive/{name}.tar.gz?archive=tar.gz"
            versions = {"modules": [{"versions": [{"version": folder.name}]}]}
            self.documents[f"/v1/modules/{module}/versions"] = json.dumps(versions).encode()

    def add_provider(self, key: _Key) -> None:
        _, version, system, processor = self.provider.stem.removeprefix("terraform-provider-").split("_")
        with self.provider.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
        sums = f"{checksum}  {self.provider.name}\n".encode()
        platform = {"os": system, "arch": processor}
        offered = {"versions": [{"version": version, "protocols": ["5.0"], "platforms": [platform]}]}
        package = platform | {
            "protocols": ["5.0"],
            "filename": self.provider.name,
            "download_url": f"{_URL}/provider/{self.provider.name}",
            "shasum": checksum,
            "shasums_url": f"{_URL}/provider/SHA256SUMS",
            "shasums_signature_url": f"{_URL}/provider/SHA256SUMS.sig",
            "signing_keys": {"gpg_public_keys": [{"key_id": key.identifier, "ascii_armor": key.public}]},
        }
        root = "/v1/providers/hashicorp/aws"
        self.documents[f"{root}/versions"] = json.dumps(offered).encode()
        self.documents[f"{root}/{version}/download/{system}/{processor}"] = json.dumps(package).encode()
        self.documents["/provider/SHA256SUMS"] = sums
        self.documents["/provider/SHA256SUMS.sig"] = key.sign(sums)


class _Handler(BaseHTTPRequestHandler):
    content: _Content

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if target := self.content.redirects.get(path):
            self.send_response(204)
            self.send_header("X-Terraform-Get", target)
            self.end_headers()
        elif path == f"/provider/{self.content.provider.name}":
            self.send_response(200)
            self.send_header("Content-Length", str(self.content.provider.stat().st_size))
            self.end_headers()
            with self.content.provider.open("rb") as file:
                while chunk := file.read(1 << 20):
                    self.wfile.write(chunk)
        else:
            document = self.content.documents.get(path)
            body = document if document is not None else b"{}"
            self.send_response(404 if document is None else 200)
            kind = "json" if body.startswith(b"{") else "octet-stream"
            self.send_header("Content-Type", f"application/{kind}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        print(f'registry: "{self.requestline}" {code} {size}', file=sys.stderr, flush=True)


def _enter(hosts: Path, hidden: Sequence[str]) -> None:
    """Bring loopback up, make the registry's name resolve to it, and hide directories of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP))
    hosts.write_text(f"127.0.0.1 localhost {providers.REGISTRY_HOST}\n")
    subprocess.run(["mount", "--bind", str(hosts), "/etc/hosts"], check=True)
    for directory in hidden:
        subprocess.run(["mount", "-t", "tmpfs", "none", directory], check=True)


def main() -> None:
    """Serve, run the command, and exit with its status."""
    parser = argparse.ArgumentParser(prog=f"python -m {__name__}", description=__doc__)
    parser.add_argument("--provider", type=Path, help="packed AWS provider to serve; without it nothing is served")
    parser.add_argument("--hide", action="append", default=[], help="directory to hide from the command")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pmp-public-registry-") as name:
        scratch = Path(name)
        _enter(scratch / "hosts", arguments.hide)
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        if arguments.provider:
            authority = Authority(scratch / "authority")
            certificate = authority.issue("registry", [providers.REGISTRY_HOST])
            content = _Content(arguments.provider)
            content.add_services()
            content.add_modules(STAND_INS)
            content.add_provider(_Key.create(scratch / "gnupg"))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.cert_path, certificate.key_path)
            server = ThreadingHTTPServer(("127.0.0.1", 443), type("Handler", (_Handler,), {"content": content}))
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            environment |= {"SSL_CERT_FILE": str(authority.bundle_path)}
        sys.exit(subprocess.run(arguments.command, env=environment, check=False).returncode)


if __name__ == "__main__":
    main()
