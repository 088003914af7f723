"""The bills of materials of the Lambda's zip and of the jobs' image."""

import json
import re
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from ops import images, sbom
from ops.errors import UserError
from ops.settings import ROOT

DIGEST = "ab" * 32


def test_the_bill_names_the_zip_and_every_locked_package() -> None:
    text = sbom.of_zip(DIGEST, "c0ffee", [ROOT / "lambda/requirements.lock", ROOT / "lambda/viewer.lock"])
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    assert bill["metadata"]["component"]["version"] == "c0ffee"
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": DIGEST}]
    urls = {component["purl"] for component in bill["components"]}
    pinned = [line for line in (ROOT / "lambda/requirements.lock").read_text().splitlines() if "==" in line]
    assert len(urls) == len(pinned) + 1
    assert any(url.startswith("pkg:pypi/pg8000@") for url in urls)
    assert any(url.startswith("pkg:pypi/drf-spectacular-sidecar@") for url in urls)


def test_a_lock_file_without_a_pin_is_refused(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    lock.write_text("pg8000>=1\n")
    with pytest.raises(UserError, match=r"some\.lock pins no package: compile it again from some\.in"):
        sbom.of_zip(DIGEST, "c0ffee", [lock])


def test_the_images_bill_names_what_debian_installed_and_what_the_repository_pins() -> None:
    debian = [PackageURL("deb", "debian", "jq", "1.6-2.1+deb12u1", {"arch": "amd64"})]
    text = sbom.of_image(DIGEST, debian, ROOT)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bill = json.loads(text)
    image = bill["metadata"]["component"]
    assert (image["type"], image["version"]) == ("container", f"sha256:{DIGEST}")
    urls = {component["purl"].partition("?")[0]: component for component in bill["components"]}
    assert "pkg:deb/debian/jq@1.6-2.1%2Bdeb12u1" in urls
    for lock in ("requirements.lock", "checks/lint/checkov.lock", "checks/judges/requirements.lock"):
        for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE):
            assert str(PackageURL("pypi", name=name, version=version)) in urls, f"{lock}: {name}"
    assert any(url.startswith("pkg:golang/github.com/terraform-linters/tflint@v") for url in urls)
    assert any(url.startswith("pkg:npm/gitlab-ci-local@") for url in urls)
    assert any(url.startswith("pkg:npm/axe-core@") for url in urls)
    assert any(url.startswith("pkg:npm/%40nodelib/fs.scandir@") for url in urls)
    assert "pkg:generic/terraform-provider-aws@5.100.0" in urls
    fetched = re.findall(
        r"^fetch https://(\S+?)/.*?([0-9a-f]{64})$",
        (ROOT / "ops/image/downloads.sh").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    downloads = {url: one for url, one in urls.items() if "download_url" in one["purl"]}
    assert {url.rpartition("@")[0] for url in downloads} == {f"pkg:generic/{n}" for n in ("terraform", "go", "node")}
    assert {one["hashes"][0]["content"] for one in downloads.values()} == {digest for _, digest in fetched}


def test_debian_packages_are_asked_of_dpkg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "dpkg-query"
    program.write_text("#!/bin/sh\nprintf 'jq 1.6-2.1 amd64\\nlibc6 2.36-9+deb12u13 amd64\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert [str(url) for url in sbom.installed_packages()] == [
        "pkg:deb/debian/jq@1.6-2.1?arch=amd64",
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u13?arch=amd64",
    ]
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="Debian packages of this machine cannot be listed"):
        sbom.installed_packages()


def test_the_images_bill_is_written_in_the_image_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMP_BUILD_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(sbom, "installed_packages", list)
    monkeypatch.delenv("PMP_BUILT_FROM", raising=False)
    with pytest.raises(UserError, match="this does not run in the jobs' image"):
        sbom.write_image()
    monkeypatch.setenv("PMP_BUILT_FROM", "x")
    monkeypatch.setattr(images, "recorded", lambda _root: (images.NOT_RECORDED, "none"))
    with pytest.raises(UserError, match="no image is recorded"):
        sbom.write_image()
    monkeypatch.setattr(images, "recorded", lambda _root: (f"sha256:{DIGEST}", "x"))
    assert sbom.write_image() == tmp_path / f"image-{DIGEST}.cdx.json"
