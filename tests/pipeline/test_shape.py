"""What ``.gitlab-ci.yml`` promises: order, gates, identities, and nothing secret in it."""

import itertools
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ops.settings import ROOT
from tests.pipeline.gitlab import CHAIN, ENVIRONMENTS, FILE, document, jobs, needs, needs_in_all

PROMOTION = [f"{environment}:{step}" for environment in ENVIRONMENTS for step in CHAIN]
_TEXT = FILE.read_text() + (ROOT / "ops/pipeline/environment.yml").read_text()
CHANGING = [name for name in PROMOTION if ":apply:" in name or name.endswith(":migrate")]


def test_gitlab_s_own_schema_accepts_it(tmp_path: Path) -> None:
    whole = tmp_path / "included.yml"
    whole.write_text(yaml.safe_dump(document()))
    program = Path(sys.executable).with_name("check-jsonschema")
    options = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]
    checked = subprocess.run([program, *options, FILE, whole], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_the_environments_are_those_of_the_one_list_in_its_order() -> None:
    includes = yaml.safe_load(FILE.read_text())["include"]
    assert [one["inputs"]["environment"] for one in includes] == list(ENVIRONMENTS)
    for name in ("PMP_TARGET",):
        assert document()["variables"][name]["options"] == list(ENVIRONMENTS)


def test_stages_come_in_order() -> None:
    assert document()["stages"] == ["check", "build", "plan", "report", "publish", *ENVIRONMENTS, "operate"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_a_chain_has_every_step_after_the_one_before(environment: str) -> None:
    for before, step in itertools.pairwise(CHAIN):
        assert f"{environment}:{before}" in needs(f"{environment}:{step}")
    for step in CHAIN:
        assert jobs()[f"{environment}:{step}"]["stage"] == environment
        assert jobs()[f"{environment}:{step}"]["variables"]["PMP_ENVIRONMENT"] == environment


@pytest.mark.parametrize(
    ("environment", "before"), [(after, before) for before, after in itertools.pairwise(ENVIRONMENTS)]
)
def test_a_gate_opens_by_hand_after_the_environment_before(environment: str, before: str) -> None:
    gate = jobs()[f"{environment}:gate"]
    assert [rule.get("when") for rule in gate["rules"]] == ["never", "never", "manual"]
    assert gate["allow_failure"] is False
    assert gate["environment"] == {"name": environment}, "who may open it is a matter of the protected environment"
    assert needs(f"{environment}:gate") == {f"{before}:smoke", f"{before}:unchanged"}
    for step in CHAIN:
        everything = needs_in_all(f"{environment}:{step}")
        assert {f"{environment}:gate", f"{before}:smoke", f"{before}:unchanged"} <= everything


def test_dev_waits_for_nobody() -> None:
    assert "dev:gate" not in jobs()
    assert not any(rule.get("when") == "manual" for step in CHAIN for rule in jobs()[f"dev:{step}"]["rules"])


def test_one_zip_is_built_and_every_environment_gets_that_one() -> None:
    assert [name for name, job in jobs().items() if "python -m ops package" in job["script"]] == ["package"]
    assert [name for name, job in jobs().items() if "python -m ops publish" in job["script"]] == ["publish"]
    for environment in ENVIRONMENTS:
        for step in ("plan:service", "smoke", "unchanged"):
            assert "package" in needs(f"{environment}:{step}"), "its digest comes from there"


@pytest.mark.parametrize("name", PROMOTION)
def test_a_promotion_is_alone_in_its_environment_and_is_not_cut_off(name: str) -> None:
    job = jobs()[name]
    environment = name.split(":", maxsplit=1)[0]
    assert job["resource_group"] == environment
    assert job["interruptible"] is False
    assert job["environment"]["name"] == environment
    assert not any("merge_request" in rule["if"] and rule.get("when") != "never" for rule in job["rules"])


def test_only_the_apply_of_the_service_counts_as_deployment() -> None:
    deployments = [name for name in PROMOTION if jobs()[name]["environment"].get("action", "start") == "start"]
    assert deployments == [f"{environment}:apply:service" for environment in ENVIRONMENTS]


def test_an_apply_takes_the_plan_of_the_job_before() -> None:
    for environment in ENVIRONMENTS:
        for layer in ("foundation", "service"):
            assert jobs()[f"{environment}:apply:{layer}"]["script"] == [f"python -m ops apply {layer}"]
            assert needs(f"{environment}:apply:{layer}") == {f"{environment}:plan:{layer}"}


def test_plans_are_kept_briefly_and_for_few() -> None:
    for environment in ENVIRONMENTS:
        for layer in ("foundation", "service"):
            artifacts = jobs()[f"{environment}:plan:{layer}"]["artifacts"]
            assert artifacts["access"] == "maintainer"
            assert artifacts["expire_in"] == "1 day"
            assert artifacts["reports"]["terraform"] == "build/plans/*/report.json"


def test_every_artifact_expires() -> None:
    assert [name for name, job in jobs().items() if "artifacts" in job and "expire_in" not in job["artifacts"]] == []


def test_merge_requests_plan_everything_and_keep_no_plan() -> None:
    plan = jobs()["plan"]
    [matrix] = plan["parallel"]["matrix"]
    assert matrix == {"PMP_ENVIRONMENT": list(ENVIRONMENTS), "PMP_LAYER": ["foundation", "service"]}
    assert plan["environment"] == {"name": "plan/$PMP_ENVIRONMENT", "action": "prepare"}
    assert not any(path.endswith(("tfplan", "plans/", "**")) for path in plan["artifacts"]["paths"])
    assert plan["artifacts"]["reports"]["terraform"] == "build/plans/*/report.json"


@pytest.mark.parametrize(
    "name",
    ["lint", "unit", "database", "compatibility", "terraform", "plan", "report", "drift", "drift:account"],
)
def test_what_only_looks_has_no_deploying_identity(name: str) -> None:
    assert jobs()[name].get("environment", {"name": "plan/"})["name"].startswith("plan/")


def test_merge_requests_run_nothing_else() -> None:
    def runs(rules: list[dict[str, str]]) -> bool:
        first = next((rule for rule in rules if "merge_request_event" in rule["if"]), {"when": "never"})
        return first.get("when") != "never"

    found = {name for name, job in jobs().items() if runs(job["rules"])}
    assert found == {"lint", "unit", "database", "compatibility", "terraform", "package", "plan", "report"}


def test_only_migrations_run_inside_the_network() -> None:
    tagged = {name: job["tags"] for name, job in jobs().items() if job.get("tags")}
    assert tagged == {f"{environment}:migrate": [f"pmp-{environment}", "pmp-migration"] for environment in ENVIRONMENTS}


def test_drift_runs_at_night_over_all_layers_and_environments() -> None:
    for name in ("drift", "drift:account"):
        assert jobs()[name]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "schedule"'}]
    assert jobs()["drift"]["parallel"]["matrix"] == [{"PMP_ENVIRONMENT": list(ENVIRONMENTS)}]
    assert jobs()["drift:account"]["script"] == ["python -m ops drift account"]


@pytest.mark.parametrize("name", ["unlock", "rollback"])
def test_repairs_are_started_by_hand(name: str) -> None:
    job = jobs()[name]
    assert job["rules"] == [{"if": f'$CI_PIPELINE_SOURCE == "web" && $PMP_OPERATION == "{name}"', "when": "manual"}]
    assert job["resource_group"] == "$PMP_TARGET"
    assert job["environment"]["name"] == "$PMP_TARGET"
    assert job["interruptible"] is False


def test_no_variable_holds_a_secret() -> None:
    held = [document()["variables"], *(job.get("variables", {}) for job in jobs().values())]
    names = {name for variables in held for name in variables}
    assert not {name for name in names if re.search(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL", name)}
    assert not re.search(r"AKIA[0-9A-Z]{16}|glpat-|-----BEGIN|\b\d{12}\b", _TEXT)


def test_commands_exist() -> None:
    from typer.main import get_command

    from ops.__main__ import application

    known = set(getattr(get_command(application), "commands"))  # noqa: B009 - a click.Group's
    used = set(re.findall(r"python -m ops ([a-z]+)", _TEXT))
    assert used <= known
    assert {"plan", "apply", "migrate", "package", "publish", "smoke", "drift", "unlock", "rollback", "report"} <= used


def test_the_image_has_the_go_that_the_linters_need() -> None:
    def version(pattern: str, file: str) -> tuple[int, ...]:
        match = re.search(pattern, (ROOT / file).read_text(), re.MULTILINE)
        assert match, f"{file} names no version of Go"
        return tuple(map(int, match[1].split(".")))

    wanted = version(r"^go (\d+\.\d+)", "tests/terratest/go.mod")
    assert version(r"^FROM golang:(\d+\.\d+)", "ops/image/Dockerfile") >= wanted


def test_scripts_of_jobs_in_other_images_parse_in_a_plain_shell() -> None:
    others = {name: job for name, job in jobs().items() if "image" in job}
    assert others, "the job that builds the image runs in another one"
    for name, job in others.items():
        script = "\n".join([*job.get("before_script", []), *job["script"]])
        checked = subprocess.run(["dash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, f"{name}: {checked.stderr}"
