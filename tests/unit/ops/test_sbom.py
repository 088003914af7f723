"""The bill of materials of the Lambda's zip."""

import json
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from ops import sbom
from ops.errors import UserError
from ops.settings import ROOT

DIGEST = "ab" * 32


def test_the_bill_names_the_zip_and_every_locked_package() -> None:
    text = sbom.document(DIGEST, "c0ffee", [ROOT / "lambda/requirements.lock", ROOT / "lambda/viewer.lock"])
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
        sbom.document(DIGEST, "c0ffee", [lock])
