"""Where Terraform takes providers and modules from, and what its CLI configuration says then."""

import subprocess
from pathlib import Path

import pytest

from ops import providers

UNPACKED = f"5.100.0/{providers.machine()}"
PACKED = f"terraform-provider-aws_5.100.0_{providers.machine()}.zip"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PMP_PROVIDER_MIRROR", str(tmp_path))
    folder = tmp_path / providers.REGISTRY_HOST / "hashicorp" / "aws"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("entry", [UNPACKED, PACKED])
def test_both_layouts_of_a_mirror_are_found(mirror: Path, tmp_path: Path, entry: str) -> None:
    assert providers.find_mirror() is None
    (mirror / entry).mkdir(parents=True)
    assert providers.find_mirror() == tmp_path
    assert providers.described() == f"mirror {tmp_path}"


@pytest.mark.parametrize("entry", ["5.100.0/plan9_mips", "terraform-provider-aws_5.100.0_plan9_mips.zip"])
def test_a_mirror_for_another_machine_does_not_count(mirror: Path, entry: str) -> None:
    (mirror / entry).mkdir(parents=True)
    assert providers.find_mirror() is None
    assert providers.described() == "registry registry.terraform.io"


def test_without_a_mirror_the_registry_serves() -> None:
    text = providers.cli_configuration(None)
    assert "direct {}" in text
    assert "host" not in text


def test_a_module_registry_leaves_providers_to_the_real_one() -> None:
    text = providers.cli_configuration(None, "http://127.0.0.1:1/")
    assert '"modules.v1" = "http://127.0.0.1:1/"' in text
    assert '"providers.v1" = "https://registry.terraform.io/v1/providers/"' in text
    assert "direct {}" in text


def test_a_mirror_is_the_only_source(tmp_path: Path) -> None:
    text = providers.cli_configuration(tmp_path, "http://127.0.0.1:1")
    assert f'path = "{tmp_path}"' in text
    assert "direct" not in text
    assert "providers.v1" not in text


@pytest.mark.parametrize("mirror", [None, Path("/somewhere")])
@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1"])
def test_terraform_accepts_the_configuration(tmp_path: Path, mirror: Path | None, url: str | None) -> None:
    file = tmp_path / "terraformrc"
    file.write_text(providers.cli_configuration(mirror, url))
    done = subprocess.run(
        ["terraform", "version"],
        env={"TF_CLI_CONFIG_FILE": str(file), "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "problem" not in done.stdout + done.stderr
