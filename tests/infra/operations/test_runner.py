"""The runner's user data: it fits cloud-init's schema, its scripts pass shellcheck, and it protects the token."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from checks.tree import registry
from ops.settings import ROOT

# With these settings a plan sends no requests to AWS.
_PROVIDER = """\
provider "aws" {
  region                      = "eu-west-1"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
}
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pmp-runner-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def user_data(folder: Path) -> str:
    """The user data of the example, as Terraform renders it."""
    with registry() as environment:
        shutil.copytree(ROOT / "modules/runner", folder / "modules/runner")
        # The account id is the only thing that the plan would request from AWS.
        main = folder / "modules/runner/main.tf"
        text = main.read_text().replace('data "aws_caller_identity" "this" {}', "")
        main.write_text(text.replace("data.aws_caller_identity.this.account_id", '"123456789012"'))
        example = folder / "modules/runner/examples/dev"
        (example / "provider.tf").write_text(_PROVIDER)
        output = ""
        for command in (["init", "-input=false"], ["plan", "-input=false", "-out=plan"], ["show", "-json", "plan"]):
            done = subprocess.run(
                ["terraform", f"-chdir={example}", *command],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            output = done.stdout
    return str(json.loads(output)["planned_values"]["outputs"]["user_data"]["value"])


@pytest.fixture(scope="module")
def config(user_data: str) -> dict[str, Any]:
    return dict(yaml.safe_load(user_data))


@pytest.fixture(scope="module")
def cloud_init_schema(folder: Path) -> Path:
    """Path of the schema in Debian's package cloud-init.

    The package is only unpacked: once installed, it would configure this machine.
    """
    if not shutil.which("apt-get"):
        pytest.skip("needs Debian: its package cloud-init contains the schema")
    # apt's download user must be able to write there, too.
    folder.chmod(0o755)
    for command in (
        ["apt-get", "download", "cloud-init"],
        ["apt-get", "update"],
        ["apt-get", "download", "cloud-init"],
    ):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if packages := list(folder.glob("cloud-init_*.deb")):
            subprocess.run(["dpkg", "-x", packages[0], folder / "cloud-init"], check=True)
            return next((folder / "cloud-init").rglob("schema-cloud-config-v1.json"))
    pytest.fail(f"Debian's package cloud-init cannot be downloaded: {done.stderr}")


def test_cloud_init_schema_accepts_the_user_data(folder: Path, user_data: str, cloud_init_schema: Path) -> None:
    def check(text: str) -> subprocess.CompletedProcess[str]:
        file = folder / "user-data.yml"
        file.write_text(text)
        command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(cloud_init_schema), str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert user_data.startswith("#cloud-config\n"), "cloud-init recognizes its format by the first line"
    done = check(user_data)
    assert done.returncode == 0, done.stdout + done.stderr
    assert check(user_data.replace('"runcmd":', '"runcmd": 1\n"bootcmd":')).returncode != 0, (
        "the schema accepts everything"
    )


def test_shellcheck_accepts_all_boot_scripts(folder: Path, config: dict[str, Any]) -> None:
    scripts = [file for file in config["write_files"] if file["content"].startswith("#!")]
    assert [[file["path"]] for file in scripts] == config["runcmd"], "cloud-init runs exactly the written scripts"
    for script in scripts:
        file = folder / Path(script["path"]).name
        file.write_text(script["content"])
        done = subprocess.run(
            ["shellcheck", "--enable=all", "--exclude=SC2250,SC2292,SC2310", str(file)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_runner_settings_are_shell_assignments(folder: Path, config: dict[str, Any]) -> None:
    settings = next(file for file in config["write_files"] if file["path"] == "/etc/pmp/runner.env")
    file = folder / "runner.env"
    file.write_text(settings["content"])
    shown = subprocess.run(
        ["bash", "-uec", f". {file}; echo $PMP_RUNNER_NAME $PMP_GITLAB_URL $PMP_TOKEN_PARAMETER $AWS_REGION"],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"]},
    ).stdout
    assert shown == "pmp-dev https://gitlab.com /pmp/dev/runner/token eu-west-1\n"


def test_jobs_cannot_read_the_token_or_reach_the_metadata_service(config: dict[str, Any]) -> None:
    script = next(file["content"] for file in config["write_files"] if file["path"].endswith("pmp-runner-setup"))
    before, _, after = script.partition("config.toml")
    assert "\numask 077\n" in before, "jobs could read the runner's token"
    assert before.index("systemctl restart nftables") < before.index("aws ssm get-parameter")
    assert 'meta skuid "gitlab-runner" ip daddr 169.254.169.254 reject' in before
    assert after.index("gitlab-runner verify") < after.index("systemctl enable --now gitlab-runner")
