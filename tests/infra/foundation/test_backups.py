"""``foundation.database.backups`` of a variable file has the account layer make the vaults."""

import subprocess
from pathlib import Path

import pytest

from checks.planning import Planner
from checks.tree import copied_tree, registry
from ops.settings import ROOT

pytestmark = pytest.mark.slow

_ASKED = '    backups = { retention_days = 90, copy_region = "eu-central-1" }\n'
_RUN = """
run "a_variable_file_asks_for_backups" {
  command = plan

  assert {
    condition     = keys(module.backups) == ["prod"]
    error_message = "prod must have backups, and no other environment"
  }

  assert {
    condition     = local.backup_regions == ["eu-west-1", "eu-central-1"]
    error_message = "the nightly plan must read the vaults of both regions"
  }
}
"""
_REGION_OF_COPIES = """mock_provider "aws" {
  alias = "copies"
  mock_data "aws_region" {
    defaults = { name = "eu-central-1" }
  }
}
"""


def _account_tests(tree: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one test of the account layer in the tree, with the committed one's settings."""
    tests = tree / "envs/account/tests"
    beginning, _, _ = (tests / "account.tftest.hcl").read_text().partition("\nrun ")
    mock, _, variables = beginning.partition('mock_provider "aws" {\n  alias')
    (tests / "backups.tftest.hcl").write_text(mock + _REGION_OF_COPIES + variables.partition("}\n")[2] + _RUN)
    (tree / "envs/account/override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
    (tree / "envs/account/.terraform.lock.hcl").unlink(missing_ok=True)
    terraform = ["terraform", f"-chdir={tree / 'envs/account'}"]
    subprocess.run([*terraform, "init", "-input=false"], env=environment, check=True, capture_output=True)
    command = [*terraform, "test", "-no-color", "-filter=tests/backups.tftest.hcl"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_variable_file_asks_for_backups_of_its_environment() -> None:
    with registry() as environment, copied_tree("backups") as tree:
        prod = tree / "envs/prod.tfvars"
        text = prod.read_text()
        assert text.count("    backup_retention_days = 35\n") == 1
        prod.write_text(text.replace("    backup_retention_days = 35\n", f"    backup_retention_days = 35\n{_ASKED}"))
        done = _account_tests(tree, environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 passed" in done.stdout


def test_its_alarms_watch_the_vaults_and_tell_the_environments_topic(plans: Planner) -> None:
    backups = {"retention_days": 90, "copy_region": "eu-central-1"}
    plan = plans.changed("foundation", "prod", {"foundation.database.backups": backups})
    prefix = 'module.alarms.aws_cloudwatch_metric_alarm.this["backup'
    alarms = {values["alarm_name"]: values for address, values in plan.resources.items() if address.startswith(prefix)}
    assert sorted(alarms) == [
        "pmp-prod-backup-copies-failed",
        "pmp-prod-backup-copies-missing",
        "pmp-prod-backup-jobs-failed",
        "pmp-prod-backups-missing",
    ]
    # Of the vaults that modules/backups makes: its test compares the names.
    assert alarms["pmp-prod-backups-missing"]["dimensions"] == {"BackupVaultName": "pmp-prod-backups"}
    assert alarms["pmp-prod-backup-copies-missing"]["dimensions"] == {"BackupVaultName": "pmp-prod-backup-copies"}
    assert not [address for address in plans.plan("foundation", "prod").resources if address.startswith(prefix)]


def test_no_committed_variable_file_asks_for_them() -> None:
    assert [file.name for file in (ROOT / "envs").glob("*.tfvars") if "backups " in file.read_text()] == []
