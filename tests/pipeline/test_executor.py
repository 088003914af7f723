"""Run ``.gitlab-ci.yml`` in gitlab-ci-local, with a ``python`` and a ``make`` that only record their calls.

The commit contains this working tree's pipeline, so that the tests see changes before they are committed.
"""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from checks.gitlab import CHAIN, ENVIRONMENTS
from local import pipeline as laptop
from ops.git import checkout
from ops.settings import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not laptop.EXECUTOR.exists(), reason="gitlab-ci-local is not installed: 'make test-pipeline' does"
    ),
]

# Records job, environment, key, commit, arguments and digest, and writes the artifacts that later jobs need. The job
# named in PMP_FAIL fails.
PYTHON = """#!/bin/sh
digest=$(cat build/lambda.sha256 2>/dev/null)
echo "$CI_JOB_NAME|$PMP_ENVIRONMENT|$AWS_ACCESS_KEY_ID|$CI_COMMIT_SHA|$*|$digest|$PMP_ALLOW_DESTROY" >> "$PMP_NOTES"
[ "$CI_JOB_NAME" != "$PMP_FAIL" ] || { echo "error: PMP_FAIL" >&2; exit 1; }
mkdir -p build/plans/x build/migrations build/preview
case "$*" in
  "-m ops package") echo content > build/lambda-d1.zip; echo d1 > build/lambda.sha256 ;;
  "-m ops plan "*|"-m ops preview"*) echo '{"create": 0, "update": 0, "delete": 0}' > build/plans/x/report.json
                  echo "$CI_JOB_NAME" > build/plans/x/plan.tfplan ;;
  "-m ops apply "*) echo "$CI_JOB_NAME|applies|$(cat build/plans/x/plan.tfplan)" >> "$PMP_NOTES" ;;
  "-m ops migrate") echo '{}' > build/migrations/x.json ;;
esac
"""


@dataclass
class Ran:
    """A run of the pipeline: its outcome, and the calls that the fake ``python`` recorded."""

    outcome: laptop.Outcome
    lines: list[list[str]]

    @property
    def jobs(self) -> list[str]:
        """The jobs that ran a command, in order and without repetition."""
        return list(dict.fromkeys(line[0] for line in self.lines))


def pipeline(
    tmp_path: Path,
    gates: list[str],
    *,
    fail: str = "",
    jobs: tuple[str, ...] = (),
    started_by: Mapping[str, str] | None = None,
    inputs: Mapping[str, str] | None = None,
) -> Ran:
    """Run the pipeline for a push to the default branch, or as the variables ``started_by`` and the inputs say."""
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "ops" / "pipeline", checkout / "ops" / "pipeline")
    shutil.copy(ROOT / ".gitlab-ci.yml", checkout)
    git = ["git", "-C", str(checkout), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (
        ["init", "--quiet", "--initial-branch", "main"],
        ["remote", "add", "origin", "https://gitlab.invalid/pmp/pmp.git"],
        ["add", "."],
        ["commit", "--quiet", "--message", "one"],
        # The rules of the job that builds the image ask what changed since then.
        ["update-ref", "refs/remotes/origin/main", "HEAD"],
    ):
        subprocess.run([*git, *command], check=True)
    tools, notes = tmp_path / "tools", tmp_path / "notes"
    (tools / "bin").mkdir(parents=True)
    for program in ("python", "make"):
        (tools / "bin" / program).write_text(PYTHON)
        (tools / "bin" / program).chmod(0o755)
    notes.touch()
    keys = {"plan/account/*": "plan-account"}
    for environment in ENVIRONMENTS:
        keys |= {environment: f"deploy-{environment}", f"plan/{environment}": f"plan-{environment}"}
    variables = {"PMP_TOOLS": str(tools), "PMP_NOTES": str(notes), "PMP_FAIL": fail, **(started_by or {})}
    laptop.write_variables(checkout, variables, {"AWS_ACCESS_KEY_ID": keys})
    outcome = laptop.execute(checkout, gates, jobs, inputs=inputs, quiet=True)
    return Ran(outcome, [line.split("|") for line in notes.read_text().splitlines()])


BOTH = ["staging:gate", "prod:gate"]


def test_one_commit_passes_through_all_environments_in_order(tmp_path: Path) -> None:
    ran = pipeline(tmp_path, BOTH)
    assert ran.outcome.status == 0, "\n".join(ran.outcome.transcript[-20:])
    gated = [step for before in CHAIN for step in (["gate:service"] if before == "apply:service" else []) + [before]]
    chains = [
        f"{environment}:{step}" for environment in ENVIRONMENTS for step in (CHAIN if environment == "dev" else gated)
    ]
    assert ran.jobs == ["package", "publish", *chains]
    commands = [line for line in ran.lines if line[1] != "applies"]
    assert len({line[3] for line in commands}) == 1, "all jobs run on one commit"
    digests = {line[5] for line in commands if line[4] in {"-m ops plan service", "-m ops smoke --built"}}
    assert digests == {"d1"}, "all jobs use the digest of the only build"
    for line in commands:
        if line[1] in ENVIRONMENTS:
            assert line[2] == f"{'plan' if line[0].endswith(':preview') else 'deploy'}-{line[1]}"
    assert {line[2] for line in commands if line[0] == "package"} == {""}, "a build needs no credentials"
    applied = {line[0]: line[2] for line in ran.lines if line[1] == "applies"}
    assert applied == {
        f"{environment}:apply:{layer}": f"{environment}:{planned}"
        for environment in ENVIRONMENTS
        for layer, planned in {"foundation": "preview", "service": "plan:service"}.items()
    }


@pytest.mark.parametrize("step", ["smoke", "unchanged"])
def test_prod_does_not_run_until_staging_has_passed(step: str, tmp_path: Path) -> None:
    ran = pipeline(tmp_path, BOTH, fail=f"staging:{step}")
    assert ran.outcome.status != 0
    assert ran.outcome.failed == [f"staging:{step}"]
    assert not [name for name in ran.jobs if name.startswith("prod:")]
    assert "prod:gate" not in ran.outcome.seconds, "the gate itself cannot be opened"


def test_prod_cannot_bypass_staging(tmp_path: Path) -> None:
    ran = pipeline(tmp_path, ["prod:gate"], jobs=("prod:smoke",))
    assert ran.outcome.status != 0
    assert not [name for name in ran.jobs if name.startswith(("staging:", "prod:"))]


def test_failed_migration_stops_all_later_jobs(tmp_path: Path) -> None:
    ran = pipeline(tmp_path, BOTH, fail="dev:migrate")
    assert ran.outcome.failed == ["dev:migrate"]
    assert ran.jobs == ["package", "publish", "dev:preview", "dev:apply:foundation", "dev:migrate"]


def test_closed_second_gate_stops_the_service(tmp_path: Path) -> None:
    ran = pipeline(tmp_path, BOTH, fail="staging:gate:service")
    assert ran.outcome.failed == ["staging:gate:service"]
    assert "staging:migrate" in ran.jobs
    assert not [name for name in ran.jobs if name.startswith(("staging:apply:service", "staging:smoke", "prod:"))]


def test_merge_request_plans_with_the_read_only_identity(tmp_path: Path) -> None:
    # Other tests cover the jobs that need no platform.
    jobs = (*(f"plan:{environment}" for environment in ENVIRONMENTS), "report")
    ran = pipeline(tmp_path, [], jobs=jobs, started_by={"CI_PIPELINE_SOURCE": "merge_request_event"})
    assert ran.outcome.status == 0, "\n".join(ran.outcome.transcript[-20:])
    planned = {(line[1], line[4], line[2]) for line in ran.lines if line[4].startswith("-m ops preview")}
    assert planned == {(environment, "-m ops preview", f"plan-{environment}") for environment in ENVIRONMENTS}
    [report] = [line for line in ran.lines if line[0] == "report"]
    assert report[2] == "", "a report needs no credentials"
    kept = {path.name for path in (tmp_path / "checkout" / ".gitlab-ci-local" / "artifacts").rglob("build/plans/*/*")}
    assert kept == {"report.json"}, "the plan itself is not kept"


def test_nightly_schedule_changes_nothing(tmp_path: Path) -> None:
    ran = pipeline(tmp_path, [], started_by={"CI_PIPELINE_SOURCE": "schedule"})
    assert ran.outcome.status == 0, "\n".join(ran.outcome.transcript[-20:])
    assert {(line[1], line[2], line[4]) for line in ran.lines} == {
        *(("", "", make) for make in ("nightly", "test-terratest", "test-e2e", "test-pipeline ARGS=-m e2e")),
        ("", "plan-account", "-m ops drift account"),
        *((environment, f"plan-{environment}", "-m ops drift") for environment in ENVIRONMENTS),
    }


@pytest.mark.parametrize(
    ("operation", "commands"),
    [
        ("unlock", ["-m ops unlock foundation"]),
        ("rollback", [f"-m ops rollback {'d0' * 32}", "-m ops smoke --events 8"]),
    ],
)
def test_repair_runs_in_the_selected_environment(operation: str, commands: list[str], tmp_path: Path) -> None:
    asked = {"operation": operation, "target": "staging", "layer": "foundation", "digest": "d0" * 32}
    ran = pipeline(tmp_path, [operation], started_by={"CI_PIPELINE_SOURCE": "web"}, inputs=asked)
    assert ran.outcome.status == 0, "\n".join(ran.outcome.transcript[-20:])
    assert [line[4] for line in ran.lines] == commands
    assert {(line[1], line[2]) for line in ran.lines} == {("staging", "deploy-staging")}


def test_promotion_started_by_hand_may_destroy_what_it_names(tmp_path: Path) -> None:
    # As `ops plan` prints it: GitLab pastes the text of an input into the file before it reads it as YAML.
    named = 'module.buckets["imports"].aws_s3_bucket.this[0]'
    asked = {"operation": "promote", "allow_destroy": named}
    by_hand = {"CI_PIPELINE_SOURCE": "web"}
    ran = pipeline(tmp_path, [], jobs=("dev:preview",), started_by=by_hand, inputs=asked)
    assert ran.outcome.status == 0, "\n".join(ran.outcome.transcript[-20:])
    [planned] = [line for line in ran.lines if line[0] == "dev:preview"]
    assert planned[6] == named


def test_work_on_another_branch_can_be_promoted(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (
        ["init", "--quiet", "--initial-branch", "feature"],
        ["commit", "--quiet", "--allow-empty", "--message", "one"],
    ):
        subprocess.run([*git, *command], check=True)
    checkout(commit="HEAD", directory=tmp_path / "checkout", source=tmp_path, remote="https://gitlab.invalid/a/b.git")
    command = ["git", "-C", str(tmp_path / "checkout"), "symbolic-ref", "--short"]
    for name, expected in {"HEAD": "main", "refs/remotes/origin/HEAD": "origin/main"}.items():
        asked = subprocess.run([*command, name], check=True, capture_output=True, text=True)
        assert asked.stdout.strip() == expected, "gitlab-ci-local takes the remote's branch for the default one"


def test_main_is_checked_before_it_is_promoted(tmp_path: Path) -> None:
    """On GitLab; a laptop leaves the checks to `make test`."""
    ran = pipeline(tmp_path, [], jobs=("dev:smoke",), fail="infra", started_by={"GITLAB_CI": "true"})
    assert ran.outcome.failed == ["infra"], "\n".join(ran.outcome.transcript[-20:])
    assert not [name for name in ran.jobs if name.startswith(("publish", "dev:"))]
