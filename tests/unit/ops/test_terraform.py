"""Terraform's target, its environment variables, and its errors shortened to one line."""

from pathlib import Path

import pytest

from ops.errors import UserError
from ops.settings import PROMOTED_ENVIRONMENTS, Target
from ops.terraform import Terraform, first_error

ERROR = """
╷
│ Error: Invalid value for variable
│
│   on variables.tf line 3:
│    3: variable "environment" {
│     ├────────────────
│     │ var.environment is "dev"
│
│ environment is dev, but the workspace is prod: select the workspace dev
│
│ This was checked by the validation rule at variables.tf:12,3-13.
╵
╷
│ Error: Another one
╵
"""


def test_first_error_is_one_line() -> None:
    found = first_error(ERROR.splitlines())
    assert found.startswith("Invalid value for variable")
    assert "select the workspace dev" in found
    assert "Another one" not in found
    assert "\n" not in found


def test_output_without_an_error_gives_its_last_line() -> None:
    assert first_error(["one", "two", ""]) == "two"
    assert first_error([]) == "no output"


def test_contradicting_workspace_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_WORKSPACE", "prod")
    with pytest.raises(UserError, match=r"TF_WORKSPACE=prod contradicts foundation \(dev\): unset it"):
        Terraform(Target("foundation", "dev"))
    Terraform(Target("foundation", "prod"))


def test_terraform_ignores_inherited_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    for name in ("TF_CLI_ARGS_apply", "TF_VAR_environment", "TF_DATA_DIR"):
        monkeypatch.setenv(name, "-target=x")
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/kept")
    found = Terraform(Target("foundation", "dev")).environment()
    assert "TF_VAR_environment" not in found
    assert "TF_CLI_ARGS_apply" not in found
    assert "TF_WORKSPACE" not in found
    assert found["TF_CLI_CONFIG_FILE"] == "/kept"
    assert found["TF_DATA_DIR"].endswith("terraform/foundation-dev")


def test_targets_do_not_share_working_data_or_plans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PMP_BUILD_DIRECTORY", str(tmp_path))
    targets = [Target(layer, name) for layer in ("foundation", "service") for name in PROMOTED_ENVIRONMENTS]
    assert len({target.data_directory for target in targets}) == len(targets)
    assert len({target.plan_directory for target in targets}) == len(targets)
    assert Target("account", "").state_key == "account.tfstate"
    assert Target("service", "prod").state_key == "service/prod/service.tfstate"


def test_account_layer_takes_the_values_of_the_account_that_it_is_applied_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PMP_PLATFORM_DIRECTORY", raising=False)
    monkeypatch.setattr("ops.aws.account_id", lambda: "123456789012")
    with pytest.raises(
        UserError, match=r"envs/account/accounts/123456789012\.tfvars is missing: it holds the variables"
    ):
        Terraform(Target("account", "")).variable_files()


def test_variable_files_are_those_of_environment_and_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    runner = Terraform(Target("foundation", "dev"))
    monkeypatch.delenv("PMP_PLATFORM_DIRECTORY", raising=False)
    assert [Path(option.split("=")[1]).name for option in runner.variable_files()] == ["dev.tfvars"]
    monkeypatch.setenv("PMP_PLATFORM_DIRECTORY", str(tmp_path))
    with pytest.raises(UserError, match=r"dev\.tfvars\.json is missing"):
        runner.variable_files()
    (tmp_path / "dev.tfvars.json").touch()
    assert [Path(option.split("=")[1]).name for option in runner.variable_files()] == ["dev.tfvars", "dev.tfvars.json"]


def test_error_names_the_signal_that_killed_terraform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    killed = "echo 'thing: Creation complete'; kill -9 $$"
    monkeypatch.setattr(Terraform, "_command", lambda *_: ["sh", "-c", killed])
    with pytest.raises(UserError, match=r"^terraform apply foundation \(dev\): ended by SIGKILL$"):
        Terraform(Target("foundation", "dev")).apply(Path("plan"))


def test_a_plan_takes_no_lock_and_an_apply_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity that plans merge requests cannot write a state's lock."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    given = dict[str, list[str]]()

    def command(_: Terraform, subcommand: str, options: list[str]) -> list[str]:
        given[subcommand] = list(options)
        return ["true"]

    monkeypatch.setattr(Terraform, "_command", command)
    runner = Terraform(Target("foundation", "dev"))
    runner.plan(Path("plan"), {})
    runner.apply(Path("plan"))
    assert "-lock=false" in given["plan"]
    assert not [option for option in given["apply"] if option.startswith("-lock=")]


@pytest.mark.parametrize(("listed", "exists"), [("default\n* dev", True), ("* default\n  staging", False)])
def test_identity_that_only_reads_creates_no_workspace(
    listed: str, exists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    given = dict[str, list[str]]()

    def command(_: Terraform, subcommand: str, options: list[str]) -> list[str]:
        given[subcommand] = list(options)
        return ["printf", "%s\n", listed]

    monkeypatch.setattr(Terraform, "_command", command)
    runner = Terraform(Target("foundation", "dev"))
    runner._select(create=False)
    assert runner.exists == exists
    assert given.get("workspace select") == (["dev"] if exists else None)
    runner._select(create=True)
    assert given["workspace select"] == ["-or-create", "dev"]


def test_held_lock_error_gives_advice() -> None:
    advice = Terraform(Target("service", "dev"))._advice(["│ Error: Error acquiring the state lock"])
    assert "python -m ops unlock service" in advice


@pytest.mark.parametrize(
    ("layer", "environment", "message"),
    [
        ("database", "dev", "layer 'database' is not known: use one of account, foundation, service"),
        ("service", None, "no environment: give --environment or set PMP_ENVIRONMENT"),
        ("service", "production", "environment 'production' is not known: use one of dev, staging, prod, local"),
    ],
)
def test_unknown_target_is_refused(layer: str, environment: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Target.of(layer, environment)
