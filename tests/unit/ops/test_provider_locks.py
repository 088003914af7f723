"""Lock files name every provider for every machine, or it is said what they lack; jobs add nothing to them."""

import subprocess
from pathlib import Path

import pytest

from ops import provider_locks, providers
from ops.errors import UserError
from ops.settings import LAYERS, ROOT, Target
from ops.terraform import Terraform

ENTRY = """provider "registry.terraform.io/hashicorp/{}" {{
  version     = "1.2.3"
  constraints = "~> 1.2"
  hashes = [
{}
    "zh:0000000000000000000000000000000000000000000000000000000000000000",
  ]
}}
"""


def write(repository: Path, layer: str, *names: str, hashes: int = 3) -> Path:
    folder = repository / "envs" / layer
    folder.mkdir(parents=True, exist_ok=True)
    lines = "\n".join(f'    "h1:{number}=",' for number in range(hashes))
    text = "# comment\n\n" + "\n".join(ENTRY.format(name, lines) for name in names)
    (folder / ".terraform.lock.hcl").write_text(text)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for layer in LAYERS:
        write(tmp_path, layer, *provider_locks.NEEDED[layer])
    return tmp_path


def test_complete_lock_files_lack_nothing(repository: Path) -> None:
    assert provider_locks.lacking(repository) == []
    assert provider_locks.named(repository / "envs/service") == {"aws", "external", "local", "null"}


def test_each_missing_provider_and_hash_is_named(repository: Path) -> None:
    write(repository, "foundation", "aws")
    write(repository, "service", "aws", "external", "local", "null", hashes=1)
    (repository / "envs/account/.terraform.lock.hcl").unlink()
    assert provider_locks.lacking(repository) == [
        "account does not name aws",
        "foundation does not name random",
        *(f"service has 1 of 3 hashes of {name}" for name in ("aws", "external", "local", "null")),
    ]


def test_the_committed_files_lock_what_the_stand_ins_need() -> None:
    assert all("aws" in provider_locks.named(ROOT / "envs" / layer) for layer in LAYERS)


def test_without_the_registry_nothing_is_recorded(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "registry_answers", lambda: False)
    with pytest.raises(
        UserError, match=r"does not answer.*run 'python -m ops lock-providers' where it does, and commit"
    ):
        provider_locks.record(repository)


def test_every_layer_is_locked_for_every_machine(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(providers, "registry_answers", lambda: True)
    monkeypatch.setattr(subprocess, "run", run)
    provider_locks.record(repository)
    locked = [command for command in commands if "lock" in command]
    assert [command[1] for command in locked] == [f"-chdir={repository}/envs/{layer}" for layer in LAYERS]
    for command in locked:
        platforms = [word.removeprefix("-platform=") for word in command if word.startswith("-platform=")]
        assert platforms == ["linux_amd64", "linux_arm64", "darwin_arm64"]


@pytest.mark.parametrize(
    ("stand_ins", "names", "expected"),
    [
        (False, ["aws", "random"], ["-lockfile=readonly"]),
        (False, ["aws"], ["-lockfile=readonly"]),
        (True, ["aws"], ["-lockfile=readonly"]),
        (True, [], ["-lockfile=readonly"]),
        # A complete lock file names providers that the stand-ins do not have.
        (True, ["aws", "random"], []),
    ],
)
def test_nothing_is_added_to_a_lock_file(
    tmp_path: Path, stand_ins: bool, names: list[str], expected: list[str]
) -> None:
    folder = write(tmp_path, "foundation", *names)
    assert provider_locks.options(folder, stand_ins=stand_ins) == expected


@pytest.mark.parametrize(("job", "expected"), [("true", ["-lockfile=readonly"]), ("", [])])
def test_jobs_add_nothing_to_the_lock_file(job: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[str] = []
    monkeypatch.setenv("CI", job)
    monkeypatch.delenv("TF_CLI_CONFIG_FILE", raising=False)
    monkeypatch.setattr("ops.aws.parameter", lambda _name: "x")
    monkeypatch.setattr("ops.aws.region", lambda: "eu-west-1")
    monkeypatch.setattr(providers, "modules_are_stand_ins", lambda: False)
    monkeypatch.setattr(
        Terraform, "_run", lambda _self, command, given, **_: options.extend(given) if command == "init" else 0
    )
    monkeypatch.setattr(Terraform, "_select", lambda _self, **_: None)
    Terraform(Target("foundation", "dev")).init()
    assert [one for one in options if one.startswith("-lockfile")] == expected


@pytest.mark.parametrize(
    "said",
    [
        "Error: Provider dependency changes detected",
        "│ the current package for hashicorp/aws 5.100.0 doesn't match any of\n│ the checksums previously recorded",
    ],
)
def test_a_refused_provider_names_the_command_that_records_it(said: str) -> None:
    assert "'python -m ops lock-providers' records them" in Terraform(Target("foundation", "dev"))._advice([said])
