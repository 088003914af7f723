"""Where Terraform takes providers and modules from, and what its CLI configuration says then."""

import subprocess
from pathlib import Path

import pytest

from ops import providers
from ops.errors import UserError

UNPACKED = f"5.100.0/{providers.machine()}"
PACKED = f"terraform-provider-aws_5.100.0_{providers.machine()}.zip"


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the registry answers, in the last element; without a network these tests are the same."""
    state = [False]
    monkeypatch.setattr(providers, "registry_answers", lambda: state[-1])
    return state


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


@pytest.mark.usefixtures("mirror")
def test_without_a_mirror_the_registry_serves(answers: list[bool]) -> None:
    answers.append(True)
    assert providers.described() == "registry registry.terraform.io"
    text = providers.cli_configuration()
    assert "direct {}" in text
    assert "host" not in text
    assert "filesystem_mirror" not in text


def test_with_neither_the_error_says_how_to_create_a_mirror(mirror: Path, tmp_path: Path) -> None:
    (mirror / "5.100.0/plan9_mips").mkdir(parents=True)
    with pytest.raises(UserError) as refusal:
        providers.described()
    message = str(refusal.value)
    assert f"no AWS provider for {providers.machine()}: registry.terraform.io does not answer" in message
    assert str(tmp_path) in message
    assert f"providers mirror -platform={providers.machine()} DIRECTORY" in message
    assert "export PMP_PROVIDER_MIRROR=DIRECTORY" in message


@pytest.mark.usefixtures("mirror")
def test_a_module_registry_leaves_providers_to_the_real_one() -> None:
    text = providers.cli_configuration("http://127.0.0.1:1/")
    assert '"modules.v1" = "http://127.0.0.1:1/"' in text
    assert '"providers.v1" = "https://registry.terraform.io/v1/providers/"' in text
    assert "direct {}" in text


def test_a_named_mirror_is_the_only_source(mirror: Path, tmp_path: Path, answers: list[bool]) -> None:
    (mirror / UNPACKED).mkdir(parents=True)
    answers.append(True)
    text = providers.cli_configuration("http://127.0.0.1:1")
    assert f'path = "{tmp_path}"' in text
    assert "direct" not in text
    assert "providers.v1" not in text


def test_the_registry_adds_what_a_discovered_mirror_lacks(
    mirror: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answers: list[bool]
) -> None:
    (mirror / UNPACKED).mkdir(parents=True)
    monkeypatch.delenv("PMP_PROVIDER_MIRROR")
    monkeypatch.setattr(providers, "candidates", lambda: [tmp_path])
    assert "direct" not in providers.cli_configuration()
    answers.append(True)
    assert "direct {}" in providers.cli_configuration()
    assert f'path = "{tmp_path}"' in providers.cli_configuration()


@pytest.mark.parametrize("entry", [None, UNPACKED])
@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1"])
def test_terraform_accepts_the_configuration(mirror: Path, tmp_path: Path, entry: str | None, url: str | None) -> None:
    if entry:
        (mirror / entry).mkdir(parents=True)
    file = tmp_path / "terraformrc"
    file.write_text(providers.cli_configuration(url))
    done = subprocess.run(
        ["terraform", "version"],
        env={"TF_CLI_CONFIG_FILE": str(file), "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "problem" not in done.stdout + done.stderr


def test_a_job_says_where_providers_and_modules_come_from(
    mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TF_CLI_CONFIG_FILE", raising=False)
    assert "from registry registry.terraform.io" in providers.configured_sources()
    (mirror / UNPACKED).mkdir(parents=True)
    file = tmp_path / "terraformrc"
    file.write_text(providers.cli_configuration("http://127.0.0.1:1", "stand-ins"))
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", str(file))
    assert providers.configured_sources() == f"providers from mirror {tmp_path}; modules from stand-ins"
    file.write_text("disable_checkpoint = true\n")
    assert providers.configured_sources() == f"providers and modules as {file} says"
    file.unlink()
    with pytest.raises(UserError, match=r"TF_CLI_CONFIG_FILE=.* cannot be read: No such file"):
        providers.configured_sources()
