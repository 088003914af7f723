"""Properties of ``.gitlab-ci.yml``: order, gates, identities, and no secrets."""

import itertools
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from checks.gitlab import (
    CHAIN,
    ENVIRONMENTS,
    EVENTS,
    FILE,
    document,
    included,
    jobs,
    jobs_on,
    jobs_with,
    needs,
    needs_in_all,
    specified,
)
from checks.stages import COMMAND_BY_STAGE
from ops.settings import PROMOTED_LAYERS, ROOT

PROMOTION = [f"{environment}:{step}" for environment in ENVIRONMENTS for step in CHAIN]
_TEXT = FILE.read_text() + (ROOT / "ops/pipeline/environment.yml").read_text()
CHANGING = [name for name in PROMOTION if ":apply:" in name or name.endswith(":migrate")]


def test_gitlab_schema_accepts_the_pipeline(tmp_path: Path) -> None:
    whole = tmp_path / "included.yml"
    whole.write_text(yaml.safe_dump(document()))
    program = Path(sys.executable).with_name("check-jsonschema")
    options = ["--builtin-schema", "vendor.gitlab-ci", "--data-transform", "gitlab-ci"]
    checked = subprocess.run([program, *options, whole], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


def test_pipeline_environments_match_the_list_in_order() -> None:
    includes = included(FILE, {})["include"]
    assert [one["inputs"]["environment"] for one in includes] == list(ENVIRONMENTS)
    assert specified(FILE)["target"]["options"] == list(ENVIRONMENTS)
    assert specified(FILE)["layer"]["options"] == list(PROMOTED_LAYERS)


def test_stages_are_in_order() -> None:
    assert document()["stages"] == ["check", "build", "plan", "report", "publish", *ENVIRONMENTS, "operate"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_step_needs_the_step_before_it(environment: str) -> None:
    for before, step in itertools.pairwise(CHAIN):
        assert f"{environment}:{before}" in needs(f"{environment}:{step}")
    for step in CHAIN:
        assert jobs()[f"{environment}:{step}"]["stage"] == environment
        assert jobs()[f"{environment}:{step}"]["variables"]["PMP_ENVIRONMENT"] == environment


@pytest.mark.parametrize(
    ("environment", "before"), [(after, before) for before, after in itertools.pairwise(ENVIRONMENTS)]
)
def test_gate_is_manual_and_needs_the_previous_environment(environment: str, before: str) -> None:
    gate = jobs()[f"{environment}:gate"]
    assert [rule.get("when") for rule in gate["rules"]] == ["never", "never", "manual"]
    assert gate["allow_failure"] is False
    assert gate["environment"] == {"name": environment}, "the protected environment says who may open the gate"
    assert needs(f"{environment}:gate") == {f"{environment}:preview"}, "what will be done is shown before the gate"
    assert needs(f"{environment}:preview") == {f"{before}:smoke", f"{before}:unchanged", "package"}
    for step in CHAIN[1:]:
        everything = needs_in_all(f"{environment}:{step}")
        assert {f"{environment}:gate", f"{before}:smoke", f"{before}:unchanged"} <= everything


@pytest.mark.parametrize("environment", ENVIRONMENTS[1:])
def test_service_is_applied_behind_a_second_gate(environment: str) -> None:
    gate = jobs()[f"{environment}:gate:service"]
    assert gate["script"] == ["python -m ops confirm service --preview build/preview"]
    assert needs(f"{environment}:gate:service") == {f"{environment}:preview", f"{environment}:plan:service"}
    assert f"{environment}:gate:service" in needs(f"{environment}:apply:service")
    assert gate["environment"]["name"] == environment, "the protected environment says who may run it again"
    assert gate["retry"] == 0, "running it again is an approval"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_is_shown_is_planned_by_the_identity_that_only_plans(environment: str) -> None:
    job = jobs()[f"{environment}:preview"]
    assert job["environment"] == {"name": f"plan/{environment}", "action": "prepare"}
    assert job["script"] == ["python -m ops preview --out build/preview"]
    assert job["interruptible"] is False
    assert "when" not in job["rules"][-1]


def test_dev_has_no_gate() -> None:
    assert not [name for name in jobs() if name.startswith("dev:gate")]
    assert not any(rule.get("when") == "manual" for step in CHAIN for rule in jobs()[f"dev:{step}"]["rules"])


def test_every_environment_gets_the_one_built_zip() -> None:
    assert [name for name, job in jobs().items() if "python -m ops package" in job["script"]] == ["package"]
    assert [name for name, job in jobs().items() if "python -m ops publish" in job["script"]] == ["publish"]
    for environment in ENVIRONMENTS:
        for step in ("preview", "plan:service", "smoke", "unchanged"):
            assert "package" in needs(f"{environment}:{step}"), "the job package provides the digest"


@pytest.mark.parametrize("name", [name for name in PROMOTION if not name.endswith(":preview")])
def test_promotion_jobs_are_exclusive_and_uninterruptible(name: str) -> None:
    job = jobs()[name]
    environment = name.split(":", maxsplit=1)[0]
    assert job["resource_group"] == environment
    assert job["interruptible"] is False
    assert job["environment"]["name"] == environment
    assert not any("merge_request" in rule["if"] and rule.get("when") != "never" for rule in job["rules"])


def test_what_is_applied_counts_as_a_deployment() -> None:
    """GitLab refuses outdated jobs only among deployments; older commits are asked for in git as well."""
    deployments = [name for name in PROMOTION if jobs()[name]["environment"].get("action", "start") == "start"]
    assert deployments == [f"{one}:apply:{layer}" for one in ENVIRONMENTS for layer in PROMOTED_LAYERS]
    for name in deployments:
        assert jobs()[name]["variables"]["GIT_DEPTH"] == "0"


def test_apply_uses_the_plan_of_the_preceding_job() -> None:
    for environment in ENVIRONMENTS:
        for layer in ("foundation", "service"):
            assert jobs()[f"{environment}:apply:{layer}"]["script"] == [f"python -m ops apply {layer}"]
            planned = "preview" if layer == "foundation" else "plan:service"
            found = {name for name in needs(f"{environment}:apply:{layer}") if "gate" not in name}
            assert found == {f"{environment}:{planned}"}


def test_wait_for_the_certificate_fits_the_job() -> None:
    """A job that is killed leaves Terraform's lock behind."""
    [minutes] = re.findall(r'create = "(\d+)m"', (ROOT / "modules/api/domain.tf").read_text())
    for environment in ENVIRONMENTS:
        assert jobs()[f"{environment}:apply:service"]["timeout"] == "1 hour"
    assert int(minutes) <= 45, "the rest of the hour is for what is made before and after the certificate"


def test_saved_plans_expire_and_are_for_maintainers() -> None:
    for environment in ENVIRONMENTS:
        for name, expiry in {"preview": "1 week", "plan:service": "1 day"}.items():
            artifacts = jobs()[f"{environment}:{name}"]["artifacts"]
            assert artifacts["access"] == "maintainer"
            assert artifacts["expire_in"] == expiry
            assert artifacts["reports"]["terraform"] == "build/plans/*/report.json"


def test_every_artifact_expires() -> None:
    assert [name for name, job in jobs().items() if "artifacts" in job and "expire_in" not in job["artifacts"]] == []


def test_merge_requests_plan_everything_and_keep_no_plan() -> None:
    assert needs("report") == {f"plan:{environment}" for environment in ENVIRONMENTS} | {"ci-image"}
    for environment in ENVIRONMENTS:
        plan = jobs()[f"plan:{environment}"]
        assert plan["script"] == ["python -m ops preview"]
        assert plan["variables"]["PMP_ENVIRONMENT"] == environment
        assert plan["environment"] == {"name": f"plan/{environment}", "action": "prepare"}
        assert not any(path.endswith(("tfplan", "plans/", "**")) for path in plan["artifacts"]["paths"])
        assert plan["artifacts"]["reports"]["terraform"] == "build/plans/*/report.json"


@pytest.mark.parametrize(
    "name",
    [
        *("terratest", "e2e", "promotion"),
        *("lint", "unit", "database", "compatibility", "integration", "terraform", "infra", "pipeline"),
        *("nightly", "report", "site", "pages"),
        *(f"{environment}:preview" for environment in ENVIRONMENTS),
        *(f"{job}:{environment}" for job in ("plan", "drift", "drift:account") for environment in ENVIRONMENTS),
    ],
)
def test_read_only_jobs_have_no_deployment_identity(name: str) -> None:
    assert jobs()[name].get("environment", {"name": "plan/"})["name"].startswith("plan/")


def test_a_tag_only_publishes_a_release() -> None:
    tagged = {name for name, job in jobs().items() if any("$CI_COMMIT_TAG" in rule["if"] for rule in job["rules"])}
    assert tagged == {"package", "release"}
    assert needs("release") == {"package"}
    assert "environment" not in jobs()["release"], "a release changes no environment"


CHECKS = {"lint", "unit", "database", "compatibility", "integration", "terraform", "infra", "pipeline"}


def test_merge_requests_run_only_their_own_jobs() -> None:
    plans = {f"plan:{environment}" for environment in ENVIRONMENTS}
    images = {"ci-image", "image-recorded"}
    assert set(jobs_on("merge request")) == CHECKS | {"package", "site", "report"} | plans | images


def test_every_stage_of_the_tests_is_a_check() -> None:
    by_stage = {"db": "database"}
    # terratest and e2e start an emulator and take minutes; the nightly and a promotion cover them.
    stages = set(COMMAND_BY_STAGE) - {"terratest", "e2e"}
    assert {by_stage.get(stage, stage) for stage in stages} == CHECKS - {"compatibility"}


def test_main_promotes_only_what_it_has_checked() -> None:
    """The first job that writes anything needs every check, and no environment can be reached without it."""
    checks = {name for name in jobs_on("main") if jobs()[name]["stage"] == "check"}
    assert checks == CHECKS
    assert needs("publish") == CHECKS | {"package"}
    for name in PROMOTION:
        assert needs_in_all(name) >= CHECKS | {"publish"}, name


def generalised(names: Iterable[str]) -> str:
    """Return job names as Markdown, the jobs of several environments once: `plan:<environment>`."""
    environments: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(":")
        found = [part for part in parts if part in ENVIRONMENTS]
        general = ":".join("<environment>" if part in ENVIRONMENTS else part for part in parts)
        # In the order of the last environment, which has the gates.
        environments[general] = [*environments.pop(general, []), *found]
    return " ".join(
        f"`{name}`" + (f" ({', '.join(found)})" if found and tuple(found) != ENVIRONMENTS else "")
        for name, found in environments.items()
    )


def rows(document: Path, heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    section = document.read_text().split(f"\n## {heading}\n")[1]
    lines = itertools.dropwhile(lambda line: not line.startswith("|"), section.splitlines())
    table = list(itertools.takewhile(lambda line: line.startswith("|"), lines))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[2:]]


def test_readme_says_what_each_pipeline_runs() -> None:
    expected = [[event, generalised(jobs_on(event))] for event in EVENTS]
    table = "\n".join(f"| {event} | {names} |" for event, names in expected)
    assert rows(ROOT / "README.md", "What the pipeline runs") == expected, f"write this table:\n{table}"


def reach() -> dict[str, tuple[str, str]]:
    """Return, by scope of GitLab's variables, the jobs that get them and the pipelines that have such a job."""
    names: dict[str, dict[str, None]] = {}
    events: dict[str, dict[str, None]] = {}
    for event, (_, inputs) in EVENTS.items():
        for name in jobs_on(event):
            scope = jobs(**inputs)[name].get("environment", {}).get("name", "none")
            if name in {"unlock", "rollback"}:
                assert scope == inputs["target"]
            general = "/".join("<environment>" if part in ENVIRONMENTS else part for part in scope.split("/"))
            names.setdefault(general, {})[name] = None
            events.setdefault(general, {})[event] = None
    return {scope: (generalised(names[scope]), ", ".join(events[scope])) for scope in names}


def test_document_says_which_job_reaches_which_credential() -> None:
    found = {row[0].strip("`"): (row[2], row[3]) for row in rows(
        ROOT / "docs/pipeline.md", "Which job can reach which credential")}  # fmt: skip
    table = "\n".join(f"| `{scope}` | … | {names} | {events} |" for scope, (names, events) in reach().items())
    assert found == reach(), f"write this table:\n{table}"


def test_jobs_of_a_merge_request_reach_only_what_reads_no_secret() -> None:
    scopes = {jobs()[name].get("environment", {"name": "plan/"})["name"] for name in jobs_on("merge request")}
    assert {scope for scope in scopes if not scope.startswith("plan/")} == set()
    found = {scope for scope, (_, events) in reach().items() if "merge request" in events}
    assert found == {"none", "plan/<environment>", "plan/note"}


def test_id_tokens_are_for_the_gitlab_that_runs_the_job() -> None:
    """The host of gitlab.com in this file would have to be edited wherever GitLab runs elsewhere."""
    audiences = {name: job["id_tokens"]["PMP_ID_TOKEN"]["aud"] for name, job in jobs().items() if "id_tokens" in job}
    assert set(audiences.values()) == {"$CI_SERVER_URL"}
    assert {f"{environment}:apply:service" for environment in ENVIRONMENTS} <= audiences.keys()


def test_operations_run_nothing_else() -> None:
    assert jobs_on("unlock") == ["unlock"]
    assert jobs_on("rollback") == ["rollback"]


@pytest.mark.parametrize("operation", ["promote", "unlock", "rollback"])
@pytest.mark.parametrize("ref", [{"CI_COMMIT_BRANCH": "main"}, {"CI_COMMIT_BRANCH": "x"}, {"CI_COMMIT_TAG": "v1.2.3"}])
@pytest.mark.parametrize("source", ["push", "web", "api", "schedule", "trigger"])
def test_every_pipeline_has_what_its_jobs_need(source: str, ref: dict[str, str], operation: str) -> None:
    """GitLab creates no pipeline of a job without the job that it needs."""
    variables = {"CI_DEFAULT_BRANCH": "main", "GITLAB_CI": "true", "CI_PIPELINE_SOURCE": source, **ref}
    found = jobs_with(variables, {"operation": operation, "target": "prod"})
    for name in found:
        for need in jobs(operation=operation, target="prod")[name].get("needs", []):
            if isinstance(need, str) or not need.get("optional"):
                assert (need if isinstance(need, str) else need["job"]) in found, f"{name} needs {need}"
    if ref != {"CI_COMMIT_BRANCH": "main"}:
        scopes = {jobs()[name].get("environment", {"name": "plan/"})["name"] for name in found}
        assert all(scope.startswith("plan/") for scope in scopes), "only the default branch reaches what deploys"


def test_every_job_of_a_merge_request_waits_for_its_image() -> None:
    own = set(jobs_on("merge request"))
    assert {"lint", "package", "report", "image-recorded"} <= own
    assert [name for name in own - {"ci-image"} if "ci-image" not in needs(name)] == []
    for name in own - {"ci-image"}:
        [need] = [need for need in jobs()[name]["needs"] if isinstance(need, dict) and need["job"] == "ci-image"]
        assert need["optional"], "a merge request that leaves the image as it is builds none"
    assert jobs()["ci-image"]["artifacts"]["reports"] == {"dotenv": "image.env"}
    assert document()["default"]["image"] == "$PMP_IMAGE"


def test_promotions_run_the_recorded_image() -> None:
    assert document()["variables"]["PMP_IMAGE"] == "$CI_REGISTRY_IMAGE/ci@$PMP_IMAGE_DIGEST"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", document()["variables"]["PMP_IMAGE_DIGEST"])
    assert [event for event in EVENTS if "ci-image" in jobs_on(event)] == ["merge request"]


def test_only_migrations_run_on_runners_inside_the_vpc() -> None:
    tagged = {name: job["tags"] for name, job in jobs().items() if job.get("tags")}
    assert tagged == {f"{environment}:migrate": [f"pmp-{environment}", "pmp-migration"] for environment in ENVIRONMENTS}


def test_scheduled_drift_covers_all_layers_and_environments() -> None:
    for environment in ENVIRONMENTS:
        for name in (f"drift:{environment}", f"drift:account:{environment}"):
            assert jobs()[name]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "schedule"'}]
        assert jobs()[f"drift:{environment}"]["variables"] == {"PMP_ENVIRONMENT": environment}
        assert jobs()[f"drift:{environment}"]["script"] == ["python -m ops drift"]
        assert jobs()[f"drift:account:{environment}"]["script"] == ["python -m ops drift account"]


def test_the_nightly_job_does_not_accept_a_skipped_comparison() -> None:
    assert jobs()["nightly"]["script"] == ["make nightly"]
    assert jobs()["nightly"]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "schedule"'}]
    [commands] = re.findall(r"^nightly:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert "-m checks.parity --required" in commands
    assert "pytest tests -m nightly" in commands


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("terratest", "make test-terratest"),
        ("e2e", "make test-e2e"),
        ("promotion", 'make test-pipeline ARGS="-m e2e"'),
    ],
)
def test_what_no_merge_request_waits_for_runs_at_night(name: str, command: str) -> None:
    assert jobs()[name]["script"] == [command]
    assert jobs()[name]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "schedule"'}]


@pytest.mark.parametrize("name", ["unlock", "rollback"])
def test_repairs_are_manual_and_reach_the_chosen_environment(name: str) -> None:
    job = jobs(operation=name, target="staging")[name]
    assert [rule.get("when") for rule in job["rules"]] == ["manual"]
    assert job["resource_group"] == "staging"
    assert job["environment"]["name"] == "staging"
    assert job["interruptible"] is False


def test_no_rule_reads_a_variable_that_a_person_can_set() -> None:
    """A namespace may forbid the variables of a pipeline, and without it anybody who may push could set them."""
    of_gitlab = {"CI_PIPELINE_SOURCE", "CI_COMMIT_BRANCH", "CI_COMMIT_TAG", "CI_DEFAULT_BRANCH", "GITLAB_CI"}
    # Whoever sets this one makes a merge request build an image that it does not need.
    of_image = {"PMP_IMAGE_INPUTS"}
    for name, job in jobs().items():
        for rule in job["rules"]:
            read = set(re.findall(r"\$(\w+)", rule["if"]))
            assert read <= (of_gitlab | of_image if name in {"ci-image", "image-recorded"} else of_gitlab), name


def test_text_of_an_input_stays_within_its_value() -> None:
    """GitLab pastes it into the file before it reads the file as YAML, so a quote could end the value."""
    free = {name: one for name, one in specified(FILE).items() if "options" not in one}
    assert free.keys() == {"digest", "allow_destroy"}
    for name, one in free.items():
        assert re.fullmatch(one["regex"], one["default"]), name
        for text in ("a'b", "a\nb", "a\\", "a#b", "$a", "a: b", "{a}"):
            assert not re.fullmatch(one["regex"], text), name
    addresses = 'module.a["x-1"].aws_s3_bucket.this[0], aws_kms_key.this'
    assert re.fullmatch(free["allow_destroy"]["regex"], addresses)
    assert document(allow_destroy=addresses)["variables"]["PMP_ALLOW_DESTROY"] == addresses


def test_no_pipeline_variable_holds_a_secret() -> None:
    held = [document()["variables"], *(job.get("variables", {}) for job in jobs().values())]
    names = {name for variables in held for name in variables}
    assert not {name for name in names if re.search(r"PASS|SECRET|TOKEN|KEY|CREDENTIAL", name)}
    assert not re.search(r"AKIA[0-9A-Z]{16}|glpat-|-----BEGIN|\b\d{12}\b", _TEXT)


def test_every_ops_command_in_the_pipeline_exists() -> None:
    from typer.main import get_command

    from ops.__main__ import application

    known = set(getattr(get_command(application), "commands"))  # noqa: B009 - a click.Group's
    used = set(re.findall(r"python -m ops ([a-z-]+)", _TEXT))
    assert used <= known
    assert {
        "preview",
        "confirm",
        "plan",
        "apply",
        "migrate",
        "package",
        "publish",
        "smoke",
        "drift",
        "unlock",
        "rollback",
        "report",
    } <= used


def test_scripts_of_jobs_in_other_images_parse_in_their_shell() -> None:
    others = {name: job for name, job in jobs().items() if "image" in job}
    assert {job["image"].split(":")[0] for job in others.values()} == {"docker"}, "whose shell is BusyBox's"
    for name, job in others.items():
        script = "\n".join([*job.get("before_script", []), *job["script"]])
        called = [(ROOT / file).read_text() for file in re.findall(r"\bsh (\S+\.sh)", script)]
        called += [(ROOT / file).read_text() for text in called for file in re.findall(r"\bsh (\S+\.sh)", text)]
        for text in (script, *called):
            checked = subprocess.run(["busybox", "sh", "-n"], input=text, capture_output=True, text=True, check=False)
            assert checked.returncode == 0, f"{name}: {checked.stderr}"
