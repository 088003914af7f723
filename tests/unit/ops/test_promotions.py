"""An older pipeline must not apply over a newer one, and a plan that nobody was shown waits for a second approval."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from ops import aws, layers, plans, promotions
from ops.errors import UserError
from ops.settings import Target
from ops.terraform import TerraformError

PROD = Target("foundation", "prod")
SERVICE = Target("service", "prod")


class Parameters:
    """SSM's parameters; a class of exceptions as boto3's clients have."""

    class exceptions:  # noqa: N801 - boto3's name
        ParameterNotFound = KeyError

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def put_parameter(self, *, Name: str, Value: str, Type: str, Overwrite: bool) -> None:  # noqa: N803 - AWS's names
        assert (Type, Overwrite) == ("String", True)
        self.values[Name] = Value

    def delete_parameter(self, *, Name: str) -> None:  # noqa: N803 - AWS's name
        del self.values[Name]


@pytest.fixture
def parameters(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found = Parameters()
    monkeypatch.setattr(aws, "client", lambda _service: found)
    monkeypatch.setattr(aws, "parameter_or_none", found.values.get)
    return found.values


@pytest.fixture
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the commits one, two and three of the main branch, and one of another branch that begins at one."""
    monkeypatch.setattr(promotions, "ROOT", tmp_path)

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.com", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet", "--initial-branch", "main")
    found: list[str] = []
    for name in ("one", "two", "three", "other"):
        if name == "other":
            git("checkout", "--quiet", "-b", "other", found[0])
        git("commit", "--quiet", "--allow-empty", "--message", name)
        found.append(git("rev-parse", "HEAD"))
    return found


COMMIT = "/pmp/prod/promotion/foundation_commit"


def test_newer_commits_and_repeated_jobs_are_accepted(parameters: dict[str, str], commits: list[str]) -> None:
    for commit in (commits[0], commits[1], commits[1], commits[2]):
        promotions.claim(PROD, commit)
        assert parameters == {COMMIT: commit}


@pytest.mark.usefixtures("parameters")
def test_layers_and_environments_are_remembered_apart(commits: list[str]) -> None:
    promotions.claim(PROD, commits[2])
    promotions.claim(SERVICE, commits[0])
    promotions.claim(Target("foundation", "dev"), commits[0])


def test_older_commit_is_refused_and_changes_nothing(parameters: dict[str, str], commits: list[str]) -> None:
    promotions.claim(PROD, commits[2])
    with pytest.raises(UserError, match=rf"deployed from {commits[2][:12]}, which is newer than {commits[0][:12]}"):
        promotions.claim(PROD, commits[0])
    assert parameters == {COMMIT: commits[2]}


def test_commit_that_the_clone_does_not_have_is_newer(parameters: dict[str, str], commits: list[str]) -> None:
    """GitLab fetches the history of the pipeline's commit alone, so an older pipeline does not know a newer commit."""
    parameters[COMMIT] = "f" * 40
    with pytest.raises(UserError, match=rf"not in the history of .*delete-parameter --name {COMMIT}"):
        promotions.claim(PROD, commits[2])


def test_other_branch_is_told(
    commits: list[str], parameters: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    promotions.claim(PROD, commits[2])
    promotions.claim(PROD, commits[3])
    assert parameters == {COMMIT: commits[3]}
    assert "a commit of another branch" in capsys.readouterr().out


def test_destroyed_target_is_forgotten(parameters: dict[str, str], commits: list[str]) -> None:
    promotions.claim(PROD, commits[2])
    promotions.claim(SERVICE, commits[2])
    promotions.forget(PROD)
    assert list(parameters) == ["/pmp/prod/promotion/service_commit"]
    promotions.forget(Target("account", ""))


# -- the second gate ---------------------------------------------------------------------------------------------------


def entry(address: str, action: str, **after: Any) -> dict[str, Any]:
    change = {"actions": [action], "before": None if action == "create" else {"memory": 1}, "after": after}
    return {"address": address, "type": address.partition(".")[0], "mode": "managed", "change": change}


def saved(directory: Path, *entries: dict[str, Any], **more: Any) -> Path:
    directory.mkdir()
    origin = plans.Origin("service", "prod", "a" * 40, "b" * 64)
    plans.save(directory, origin, {"resource_changes": list(entries), **more}, "the whole plan")
    return directory


UPDATE = entry("aws_lambda_function.this", "update", memory=2)
OTHER = entry("aws_lambda_function.this", "update", memory=3)
NEW = entry("aws_sns_topic.this", "create", name="n")
OUTPUT = {"output_changes": {"url": {"actions": ["update"], "before": "a", "after": "b"}}}
READ = entry("data.aws_region.this", "read")


@pytest.mark.usefixtures("parameters")
def test_plan_that_does_what_was_shown_passes(tmp_path: Path) -> None:
    preview = saved(tmp_path / "preview", UPDATE, READ)
    layers.confirm(SERVICE, preview, saved(tmp_path / "plan", READ, UPDATE, entry("aws_vpc.this", "no-op")))


OTHER_PLANS: dict[str, tuple[list[dict[str, Any]] | None, list[dict[str, Any]], dict[str, Any]]] = {
    "another value": ([UPDATE], [OTHER], {}),
    "more": ([UPDATE], [UPDATE, NEW], {}),
    "less": ([UPDATE, NEW], [UPDATE], {}),
    "another output": ([UPDATE], [UPDATE], OUTPUT),
    "not planned before the foundation": (None, [UPDATE], {}),
}


@pytest.mark.parametrize("case", OTHER_PLANS)
def test_other_plan_is_shown_and_passes_when_the_job_is_run_again(
    case: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parameters: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown, planned, more = OTHER_PLANS[case]
    monkeypatch.setenv("CI_PIPELINE_ID", "1")
    preview = tmp_path / "preview"
    if shown:
        saved(preview, *shown)
    else:
        preview.mkdir()
        plans.save_reason(preview, plans.NEEDS_FOUNDATION)
    plan = saved(tmp_path / "plan", *planned, **more)
    with pytest.raises(UserError, match=r"service \(prod\) is not the one that was shown.* run this job again"):
        layers.confirm(SERVICE, preview, plan)
    assert "the whole plan" in capsys.readouterr().out
    layers.confirm(SERVICE, preview, plan)
    assert "approved" in capsys.readouterr().out

    # An approval is for one plan in one pipeline.
    different = saved(tmp_path / "different", *planned, entry("aws_sqs_queue.this", "create"), **more)
    with pytest.raises(UserError):
        layers.confirm(SERVICE, preview, different)
    with pytest.raises(UserError):
        layers.confirm(SERVICE, preview, plan)
    monkeypatch.setenv("CI_PIPELINE_ID", "2")
    with pytest.raises(UserError):
        layers.confirm(SERVICE, preview, plan)
    assert list(parameters) == ["/pmp/prod/promotion/service_shown"]


@pytest.mark.usefixtures("parameters")
def test_first_deployment_may_create_everything_and_no_more(tmp_path: Path) -> None:
    preview = tmp_path / "preview"
    preview.mkdir()
    plans.save_reason(preview, plans.DOES_NOT_EXIST)
    layers.confirm(SERVICE, preview, saved(tmp_path / "plan", NEW, **OUTPUT))
    with pytest.raises(UserError, match="is not the one that was shown"):
        layers.confirm(SERVICE, preview, saved(tmp_path / "other", NEW, UPDATE))


def test_missing_plan_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no plan: create it with"):
        layers.confirm(SERVICE, tmp_path, tmp_path)


# -- what is shown before the gate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("foundation_changes", [True, False])
def test_service_that_needs_the_foundation_is_planned_later(
    foundation_changes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def plan(target: Target, directory: Path, *, read_only: bool, show: bool) -> bool:
        assert read_only
        assert show
        if target.layer == "service":
            directory.mkdir()
            raise TerraformError("/pmp/prod/foundation/new was not found")
        return foundation_changes

    monkeypatch.setattr(layers, "plan", plan)
    if not foundation_changes:
        with pytest.raises(UserError, match="was not found"):
            layers.preview("prod", tmp_path / "out")
        return
    layers.preview("prod", tmp_path / "out")
    assert (
        "cannot be made before the foundation is applied (/pmp/prod/foundation/new was not found"
        in capsys.readouterr().out
    )
    assert (tmp_path / "out" / plans.TEXT).read_text() == plans.NEEDS_FOUNDATION


@pytest.mark.parametrize("foundation_changes", [True, False])
def test_refused_plan_of_the_service_fails_before_the_gate(
    foundation_changes: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(target: Target, _directory: Path, **_options: bool) -> bool:
        if target.layer == "service":
            raise UserError("the plan would destroy the bucket")
        return foundation_changes

    monkeypatch.setattr(layers, "plan", plan)
    with pytest.raises(UserError, match="would destroy the bucket"):
        layers.preview("prod", tmp_path)


@pytest.mark.parametrize(("found", "is_refused"), [([NEW], False), ([NEW, UPDATE], True)])
def test_layer_that_did_not_exist_is_planned_after_the_gate(
    found: list[dict[str, Any]], is_refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "plan"

    def plan(_target: Target, directory: Path) -> bool:
        saved(directory, *found)
        (directory / plans.PLAN).touch()
        return True

    monkeypatch.setattr(layers, "plan", plan)
    if is_refused:
        with pytest.raises(UserError, match=r"now it does: the plan would change ~ aws_lambda_function\.this"):
            layers._plan_creation(PROD, directory)
        assert not (directory / plans.PLAN).exists()
    else:
        layers._plan_creation(PROD, directory)
        assert (directory / plans.PLAN).exists()
