"""Software bills of materials, in CycloneDX (https://cyclonedx.org/specification/overview/).

One is of the Lambda's zip, and one of the image in which pipeline jobs run.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from ops import artifacts, images
from ops.errors import UserError
from ops.output import say, shown
from ops.settings import ROOT, build_directory, release

_ZIP_LOCKS = ("lambda/requirements.lock", "lambda/viewer.lock")
_IMAGE_LOCKS = ("requirements.lock", "checks/lint/checkov.lock", "checks/judges/requirements.lock")
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)", re.MULTILINE)
_MODULE = re.compile(r"^\t(?P<name>\S+/\S+) v(?P<version>\S+)", re.MULTILINE)
_PROVIDER = re.compile(r'^provider "[^"]*/(?P<name>[^"/]+)" \{\n\s+version\s+= "(?P<version>[^"]+)"', re.MULTILINE)
_DOWNLOAD = re.compile(r"^fetch (?P<url>https://\S+/(?P<name>[a-z]+)[_-]?v?(?P<version>\d[\d.]*\d)\S*) (?:\\\s+)?"
                       r"(?P<digest>[0-9a-f]{64})$", re.MULTILINE)  # fmt: skip


def write() -> Path:
    """Write the bill of the built zip to ``build/lambda-<digest>.cdx.json`` and return its path.

    Raises:
        UserError: no zip was built, or a lock file pins nothing.
    """
    digest = artifacts.built_digest()
    return _write(f"lambda-{digest}", of_zip(digest, release(), [ROOT / lock for lock in _ZIP_LOCKS]))


def write_image() -> Path:
    """Write the bill of this job's image to ``build/image-<digest>.cdx.json`` and return its path.

    Raises:
        UserError: this is not the image, no image is recorded, or a list of the image cannot be read.
    """
    if not os.environ.get("PMP_BUILT_FROM"):
        raise UserError(
            "this does not run in the jobs' image, which alone knows its Debian packages: the job 'release' of a tag's "
            "pipeline writes the image's bill"
        )
    digest = images.recorded_hexadecimal()
    return _write(f"image-{digest}", of_image(digest, installed_packages(), ROOT))


def _write(name: str, text: str) -> Path:
    path = build_directory() / f"{name}.cdx.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    say(f"sbom: {shown(path)}")
    return path


def of_zip(digest: str, commit: str, locks: list[Path]) -> str:
    """Return the bill of the zip as JSON: the zip, and each package that its lock files pin.

    Args:
        digest: SHA-256 of the zip, in hexadecimal.
        commit: the commit that it was built from.
        locks: lock files with ``name==version`` lines.

    Raises:
        UserError: a lock file pins nothing.
    """
    packages = [package for lock in locks for package in _python_packages(lock)]
    return _bill(_root("pmp", ComponentType.APPLICATION, digest, commit), packages)


def of_image(digest: str, debian: Iterable[PackageURL], root: Path) -> str:
    """Return the bill of the image as JSON: the image, its Debian packages, and all that the repository pins for it.

    Args:
        digest: SHA-256 of the image's manifest, in hexadecimal.
        debian: the installed Debian packages.
        root: the checkout that the image was built from.

    Raises:
        UserError: one of the repository's lists names nothing.
    """
    packages = [_component(url) for url in debian]
    for lock in _IMAGE_LOCKS:
        packages += _python_packages(root / lock)
    modules = _found(root / "tests/terratest/go.mod", _MODULE)
    packages += [_component(PackageURL.from_string(f"pkg:golang/{one['name']}@v{one['version']}")) for one in modules]
    for folder in ("local/executor", "checks/axe"):
        locked = json.loads((root / folder / "package-lock.json").read_text(encoding="utf-8"))["packages"]
        for path, package in locked.items():
            if path:
                namespace, _, name = path.rpartition("node_modules/")[2].rpartition("/")
                packages.append(_component(PackageURL("npm", namespace or None, name, package["version"])))
    for layer in ("foundation", "service"):
        for one in _found(root / "envs" / layer / ".terraform.lock.hcl", _PROVIDER):
            packages.append(
                _component(PackageURL("generic", None, f"terraform-provider-{one['name']}", one["version"]))
            )
    for one in _found(root / "ops/image/downloads.sh", _DOWNLOAD):
        url = PackageURL("generic", None, one["name"], one["version"], {"download_url": one["url"]})
        packages.append(_component(url, one["digest"]))
    return _bill(_root("pmp-ci", ComponentType.CONTAINER, digest, f"sha256:{digest}"), packages)


def installed_packages() -> list[PackageURL]:
    """Return the Debian packages of this machine.

    Raises:
        UserError: there is no dpkg, or it fails.
    """
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version} ${Architecture}\\n"]
    try:
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"the Debian packages of this machine cannot be listed: {error}") from error
    rows = [line.split() for line in lines]
    return [PackageURL("deb", "debian", name, version, {"arch": machine}) for name, version, machine in rows]


def _python_packages(lock: Path) -> Iterator[Component]:
    for pin in _found(lock, _PIN):
        yield _component(PackageURL("pypi", name=pin["name"].lower(), version=pin["version"]))


def _found(file: Path, pattern: re.Pattern[str]) -> list[re.Match[str]]:
    found = list(pattern.finditer(file.read_text(encoding="utf-8")))
    if not found:
        cure = f": compile it again from {file.with_suffix('.in').name}" if file.suffix == ".lock" else ""
        raise UserError(f"{shown(file)} pins no package{cure}")
    return found


def _root(name: str, kind: ComponentType, digest: str, version: str) -> Component:
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digest)]
    return Component(name=name, version=version, type=kind, bom_ref=digest, hashes=hashes)


def _component(url: PackageURL, digest: str = "") -> Component:
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=digest)] if digest else []
    name = "/".join(filter(None, [url.namespace, url.name]))
    return Component(name=name, version=url.version, purl=url, bom_ref=str(url), hashes=hashes)


def _bill(root: Component, packages: Iterable[Component]) -> str:
    """Return a bill as JSON; a package that several lists name is in it once."""
    bom = Bom()
    bom.metadata.component = root
    once = {str(package.purl): package for package in packages}
    for package in once.values():
        bom.components.add(package)
    bom.register_dependency(root, once.values())
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
