"""The software bill of materials of the Lambda's zip, in CycloneDX (https://cyclonedx.org/specification/overview/)."""

import re
from pathlib import Path

from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from ops import artifacts
from ops.errors import UserError
from ops.output import say, shown
from ops.settings import ROOT, build_directory, release

_LOCKS = ("requirements.lock", "viewer.lock")
_PIN = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s;\\]+)", re.MULTILINE)


def write() -> Path:
    """Write the bill of the built zip to ``build/lambda-<digest>.cdx.json`` and return its path.

    Raises:
        UserError: no zip was built.
    """
    digest = artifacts.built_digest()
    path = build_directory() / f"lambda-{digest}.cdx.json"
    path.write_text(document(digest, release(), [ROOT / "lambda" / lock for lock in _LOCKS]))
    say(f"sbom: {shown(path)}")
    return path


def document(digest: str, commit: str, locks: list[Path]) -> str:
    """Return the bill as JSON: the zip, and each package that its lock files pin.

    Args:
        digest: SHA-256 of the zip, in hexadecimal.
        commit: the commit that it was built from.
        locks: lock files with ``name==version`` lines.

    Raises:
        UserError: a lock file pins nothing.
    """
    zip_file = Component(
        name="pmp",
        version=commit,
        type=ComponentType.APPLICATION,
        bom_ref=digest,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )
    bom = Bom()
    bom.metadata.component = zip_file
    packages = []
    for lock in locks:
        pins = list(_PIN.finditer(lock.read_text(encoding="utf-8")))
        if not pins:
            raise UserError(f"{shown(lock)} pins no package: compile it again from {lock.with_suffix('.in').name}")
        for pin in pins:
            url = PackageURL("pypi", name=pin["name"].lower(), version=pin["version"])
            packages.append(Component(name=pin["name"], version=pin["version"], purl=url, bom_ref=str(url)))
    for package in packages:
        bom.components.add(package)
    bom.register_dependency(zip_file, packages)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
