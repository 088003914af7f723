"""Build ``ops/image/Dockerfile`` with buildah, without a container registry.

buildah reads the very file that Docker builds. Two things stand in for what a machine without a registry cannot fetch:
a minimal Debian of the same release, made by mmdebstrap from Debian's packages, for the base image; and this machine's
own Terraform, Go, Node.js and provider mirror for the stage ``downloads``. Everything else is installed as on GitLab:
Debian packages, Python packages by hash, the linters in Go, and the executor of the pipeline's tests.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ops import images, providers
from ops.errors import UserError

_BASE = "localhost/pmp-base"
_IMAGE = "localhost/pmp-ci"
_LABEL = "pmp.inputs"
# debian:…-slim leaves these out as well (https://github.com/debuerreotype/debuerreotype, .slimify-excludes).
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")
# Certificates of a company's proxy, which the base image does not know.
_EXTRA_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_CERTIFICATE_VARIABLES = ("PIP_CERT", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")


def missing() -> str:
    """Return what keeps this machine from building the image, or the empty string."""
    if os.geteuid() != 0:
        return "it makes file systems and mounts, so it needs root"
    if programs := [name for name in ("buildah", "mmdebstrap", "unshare") if not shutil.which(name)]:
        return f"not installed: {', '.join(programs)} (apt-get install buildah mmdebstrap)"
    if not providers.find_mirror():
        return "there is no mirror with the AWS provider to put into the image"
    return ""


@dataclass(frozen=True)
class Image:
    """A built image.

    Attributes:
        root: its file system, read-only.
        variables: its environment variables.
    """

    root: Path
    variables: dict[str, str]


@dataclass(frozen=True)
class Builder:
    """Builds the image; everything that it makes is under ``folder``."""

    folder: Path

    def build(self, context: Path) -> Image:
        """Return the image of a clean checkout; what an earlier run left in ``folder`` is used again.

        Raises:
            UserError: a step failed; its output is above.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.folder}/graph"\nrunroot = "{self.folder}/run"\n'
        )
        dockerfile = (context / "ops/image/Dockerfile").read_text()
        inputs = images.inputs(context)
        there = self._buildah("images", "--format", "{{.Name}}:{{.Tag}}", check=False).split()
        if f"{_IMAGE}:{inputs}" not in there:
            # A new base would be a new first layer, and nothing built before could be used.
            if f"{_BASE}:latest" not in there:
                self._make_base(_release(dockerfile))
                self._collect_downloads((context / "ops/image/downloads.sh").read_text())
            self._buildah(
                *("build", "--isolation", "chroot", "--layers", "--file", context / "ops/image/Dockerfile"),
                *("--build-arg", f"BASE={_BASE}", "--build-arg", f"INPUTS={inputs}"),
                *("--build-context", f"downloads={self.folder / 'downloads'}", "--tag", f"{_IMAGE}:{inputs}", context),
                show=True,
            )
        return self._mounted(inputs)

    def remove(self) -> None:
        """Unmount and remove everything."""
        if (self.folder / "storage.conf").exists():
            self._buildah("rm", "--all", check=False)
            self._buildah("rmi", "--all", "--force", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make_base(self, release: str) -> None:
        archive = self.folder / "base.tar"
        options = [f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT]
        _run(["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *options, release, archive])
        container = self._buildah("from", "scratch").strip()
        self._buildah("add", "--quiet", container, archive, "/")
        if any(_EXTRA_CERTIFICATES.glob("*.crt")):
            self._buildah("copy", "--quiet", container, _EXTRA_CERTIFICATES, _EXTRA_CERTIFICATES)
            variables = [word for name in _CERTIFICATE_VARIABLES for word in ("--env", f"{name}={_BUNDLE}")]
            self._buildah("config", *variables, container)
        self._buildah("commit", "--quiet", "--rm", container, _BASE)
        archive.unlink()

    def _collect_downloads(self, script: str) -> None:
        """Copy this machine's programs to where ``ops/image/downloads.sh`` puts the downloaded ones."""
        local = self.folder / "downloads/usr/local"
        shutil.rmtree(local, ignore_errors=True)
        (local / "bin").mkdir(parents=True)
        (local / "lib/node_modules").mkdir(parents=True)
        terraform, node, npm = (_program(name) for name in ("terraform", "node", "npm"))
        go = Path(_run(["go", "env", "GOROOT"]).strip())
        versions = {
            r"terraform_([\d.]+)_linux": _run([terraform, "version"]).split("\n")[0].removeprefix("Terraform v"),
            r"/go([\d.]+)\.linux": (go / "VERSION").read_text().split("\n")[0].removeprefix("go"),
            r"/node-v([\d.]+)-linux": _run([node, "--version"]).strip().removeprefix("v"),
        }
        for pattern, version in versions.items():
            wanted = _found(pattern, script)
            if version.split(".")[:2] != wanted.split(".")[:2]:
                raise UserError(f"ops/image/downloads.sh names {pattern} {wanted}, this machine has {version}")
        for program in (terraform, node):
            shutil.copy2(program, local / "bin")
        shutil.copytree(go, local / "go", symlinks=True)
        shutil.copytree(npm.parents[1], local / "lib/node_modules/npm", symlinks=True)
        (local / "bin/npm").symlink_to("../lib/node_modules/npm/bin/npm-cli.js")
        mirror = providers.find_mirror()
        assert mirror is not None
        shutil.copytree(
            mirror / providers.REGISTRY_HOST, local / "share/terraform/plugins" / providers.REGISTRY_HOST, symlinks=True
        )

    def _mounted(self, inputs: str) -> Image:
        configuration = json.loads(self._buildah("inspect", "--type", "image", f"{_IMAGE}:{inputs}"))["OCIv1"]["config"]
        if configuration["Labels"].get(_LABEL) != inputs:
            raise UserError(f"the image has the label {configuration['Labels'].get(_LABEL)}, its inputs are {inputs}")
        container = self._buildah("from", "--pull-never", f"{_IMAGE}:{inputs}").strip()
        variables = dict(entry.split("=", 1) for entry in configuration["Env"])
        return Image(Path(self._buildah("mount", container).strip()), variables)

    def _buildah(self, *arguments: object, check: bool = True, show: bool = False) -> str:
        # The caches of `RUN --mount=type=cache` are in the folder for temporary files.
        temporary = self.folder / "tmp"
        temporary.mkdir(exist_ok=True)
        variables = os.environ | {
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "TMPDIR": str(temporary),
        }
        return _run(["buildah", *arguments], variables, check=check, show=show)


def _release(dockerfile: str) -> str:
    """Return the name of the Debian release that the Dockerfile begins with, such as ``bookworm``."""
    return _found(r"^ARG BASE=debian:([a-z]+)-slim@sha256:[0-9a-f]{64}$", dockerfile)


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if not match:
        raise UserError(f"ops/image no longer has what checks/image/filesystem.py looks for: {pattern}")
    return match[1]


def _program(name: str) -> Path:
    found = shutil.which(name)
    if not found:
        raise UserError(f"{name} is not on PATH, and the image needs a copy of it")
    return Path(found).resolve()


def _run(
    command: list[object] | list[str],
    variables: Mapping[str, str] | None = None,
    *,
    check: bool = True,
    show: bool = False,
) -> str:
    words = [str(word) for word in command]
    output = None if show else subprocess.PIPE
    # Terraform and Go would print what the shell's own configuration makes them print.
    done = subprocess.run(words, stdout=output, stderr=output, text=True, env=variables, check=False)
    if check and done.returncode:
        raise UserError(f"'{' '.join(words[:3])} …' failed:\n{done.stderr or ''}")
    return done.stdout or ""
