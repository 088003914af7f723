"""The pipeline on a laptop platform: everything is real except AWS. It takes about twenty minutes.

``PMP_PIPELINE_INSTANCE`` names an existing platform to use and keep; the last test destroys its dev environment.
Without it the tests create a platform and remove it.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from checks import aws_requests
from local import instance as instances
from local import pipeline as laptop
from local.account import ACCOUNT
from local.platform import Platform
from ops import git, http, policies
from ops.settings import PROMOTED_ENVIRONMENTS, ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STAMP = "2030-01-01T00:00:00Z PMP <pmp@example.com>"


@pytest.fixture(scope="module")
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A platform on which this commit has been promoted from dev to prod."""
    if "e2e" not in request.config.option.markexpr:
        pytest.skip("takes twenty minutes: run it with -m e2e")
    kept = os.environ.get("PMP_PIPELINE_INSTANCE")
    os.environ["PMP_INSTANCE"] = kept or "pipeline-test"
    found = Platform(instances.current(), Console())
    if not kept:
        subprocess.run([sys.executable, "-m", "local.pipeline"], cwd=ROOT, check=True)
    os.environ["AWS_CA_BUNDLE"] = str(found.instance.ca_file)
    yield found
    if not kept:
        found.down()


@pytest.fixture
def other_commit(platform: Platform) -> Iterator[None]:
    """For a test that promotes to dev a commit from which the next test's does not descend: forget it."""
    yield
    ssm = platform.account.session("admin").client("ssm")
    for layer in ("foundation", "service"):
        name = f"/pmp/dev/promotion/{layer}_commit"
        ssm.put_parameter(Name=name, Value=commit(platform), Type="String", Overwrite=True)


def ci(
    platform: Platform,
    environment: str,
    *arguments: str,
    identity: str = "gitlab",
    directory: Path | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m ops`` as a job does, in the promoted checkout or in ``directory``."""
    directory = directory or checkout(platform)
    process = os.environ | platform.instance.tool_environment(environment) | {"CI_COMMIT_SHA": head(directory)}
    # The identity that plans the account layer is nobody's of an environment.
    subject = ACCOUNT if "account" in arguments else environment
    process |= platform.account.credentials(identity, subject).environment() | variables
    command = [sys.executable, "-m", "ops", *arguments]
    return subprocess.run(command, cwd=directory, env=process, capture_output=True, text=True, check=False)


def checkout(platform: Platform) -> Path:
    return platform.instance.directory / "pipeline" / "checkout"


def head(directory: Path) -> str:
    command = ["git", "-C", str(directory), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit(platform: Platform) -> str:
    return head(checkout(platform))


def commit_all(directory: Path, message: str) -> None:
    git = ["git", "-C", str(directory), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", message], check=True)


def last_line(run: subprocess.CompletedProcess[str]) -> str:
    return (run.stderr.strip() or run.stdout.strip()).splitlines()[-1]


def health(platform: Platform, environment: str) -> dict[str, str]:
    answer = http.request("GET", f"{platform.api_url(environment)}/v1/health")
    assert answer.status == 200, answer.body
    return dict(answer.json())


def schema(platform: Platform, environment: str) -> str:
    cluster = platform.environment(environment).cluster
    return cluster.psql(
        "SELECT table_name, column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = 'pmp' ORDER BY 1, 2;"
        "SELECT change_id, change FROM sqitch.changes ORDER BY planned_at, change"
    )


def test_all_environments_run_the_same_commit_zip_and_schema(platform: Platform) -> None:
    running = [health(platform, environment) for environment in PROMOTED_ENVIRONMENTS]
    assert [one["environment"] for one in running] == list(PROMOTED_ENVIRONMENTS)
    assert {one["release"] for one in running} == {commit(platform)}
    assert len({one["code_sha256"] for one in running}) == 1
    schemas = [laptop.promoted(checkout(platform), environment) for environment in PROMOTED_ENVIRONMENTS]
    assert len({(one["tag"], one["change"]) for one in schemas}) == 1
    assert len({schema(platform, environment) for environment in PROMOTED_ENVIRONMENTS}) == 1


@pytest.mark.usefixtures("other_commit")
def test_failed_migration_stops_the_pipeline_and_changes_nothing(platform: Platform, tmp_path: Path) -> None:
    broken = tmp_path / "source"
    git.checkout(commit(platform), broken, checkout(platform))
    with (broken / "db" / "sqitch.plan").open("a") as plan:
        plan.write(f"create_extra {STAMP} # Fine\nadd_broken {STAMP} # Fails\n")
    scripts = {"create_extra": "CREATE TABLE pmp.extra (a int PRIMARY KEY);", "add_broken": "SELECT 1 / 0;"}
    for name, script in scripts.items():
        (broken / "db" / "deploy" / f"{name}.sql").write_text(f"BEGIN;\n{script}\nCOMMIT;\n")
        (broken / "db" / "revert" / f"{name}.sql").write_text("BEGIN;\nDROP TABLE pmp.extra;\nCOMMIT;\n")
        (broken / "db" / "verify" / f"{name}.sql").write_text("SELECT 1 / (true)::int;\n")
    commit_all(broken, "Break the schema")
    running, before = health(platform, "dev"), schema(platform, "dev")

    directory = tmp_path / "checkout"
    git.checkout("HEAD", directory, broken)
    outcome = laptop.promote(platform, directory, "staging")

    assert outcome.status != 0
    assert outcome.failed == ["dev:migrate"]
    assert not [job for job in outcome.seconds if job.startswith(("dev:plan:service", "dev:apply:service", "staging"))]
    assert any("division by zero" in line for line in outcome.transcript)
    assert schema(platform, "dev") == before
    assert health(platform, "dev") == running


def test_plan_for_one_environment_is_refused_by_another(platform: Platform, tmp_path: Path) -> None:
    planned = ci(platform, "dev", "plan", "foundation", "--out", str(tmp_path))
    assert planned.returncode == 0, planned.stderr

    refused = ci(platform, "staging", "apply", "foundation", "--plan", str(tmp_path))
    assert refused.returncode == 1
    assert "was created for foundation (dev), but this job applies foundation (staging)" in last_line(refused)

    origin = json.loads((tmp_path / "origin.json").read_text())
    (tmp_path / "origin.json").write_text(json.dumps(origin | {"environment": "staging"}))
    refused = ci(platform, "staging", "apply", "foundation", "--plan", str(tmp_path))
    assert refused.returncode == 1
    assert "the plan itself is for environment dev, but this job applies foundation (staging)" in last_line(refused)


def test_older_commit_cannot_apply_over_a_newer_one(platform: Platform, tmp_path: Path) -> None:
    git.checkout(f"{commit(platform)}~1", tmp_path / "older", checkout(platform))
    plan = tmp_path / "plan"
    planned = ci(platform, "dev", "plan", "foundation", "--out", str(plan), directory=tmp_path / "older")
    assert planned.returncode == 0, planned.stderr
    refused = ci(platform, "dev", "apply", "foundation", "--plan", str(plan), directory=tmp_path / "older")
    assert refused.returncode == 1
    assert f"deployed from {commit(platform)[:12]}, which is newer than" in last_line(refused)


def test_plan_identity_can_plan_but_not_apply(platform: Platform, tmp_path: Path) -> None:
    planned = ci(platform, "dev", "plan", "foundation", "--out", str(tmp_path), identity="plan")
    assert planned.returncode == 0, planned.stderr
    refused = ci(platform, "dev", "client", "intruder", identity="plan")
    assert refused.returncode == 1
    assert "AccessDenied" in last_line(refused)


def test_stale_lock_names_its_holder_and_can_be_released(platform: Platform, tmp_path: Path) -> None:
    s3 = platform.account.session("admin").client("s3")
    bucket = platform.account.parameter("/pmp/bootstrap/state_bucket_name")
    key = "foundation/dev/foundation.tfstate.tflock"
    lock = {
        "ID": "0b2c1f4e-0000-4000-8000-000000000001",
        "Operation": "OperationTypeApply",
        "Info": "",
        "Version": "1",
        "Who": "somebody@runner",
        "Created": "2026-01-01T00:00:00.0Z",
        "Path": f"{bucket}/{key[:-7]}",
    }
    s3.put_object(
        Bucket=bucket,
        Key=key,
        Body=json.dumps(lock).encode(),
        ServerSideEncryption="aws:kms",
        SSEKMSKeyId=platform.account.parameter("/pmp/bootstrap/kms_key_arn"),
    )
    # A plan takes no lock, and so is held up by none.
    assert ci(platform, "dev", "plan", "foundation", "--out", str(tmp_path)).returncode == 0
    held = ci(platform, "dev", "apply", "foundation", "--plan", str(tmp_path))
    assert held.returncode == 1
    assert "Error acquiring the state lock" in last_line(held)
    assert "python -m ops unlock foundation" in last_line(held)

    young = ci(platform, "dev", "unlock", "foundation", "--older-than", "1000000000")
    assert "its run may still be active" in last_line(young)
    released = ci(platform, "dev", "unlock", "foundation")
    assert released.returncode == 0, released.stderr
    assert "somebody@runner" in released.stdout
    assert s3.list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"] == 0


def test_manual_change_is_reported_as_drift(platform: Platform) -> None:
    for layers in (["account"], ["foundation", "service"]):
        clean = ci(platform, "dev", "drift", *layers, identity="plan")
        assert clean.returncode == 0, clean.stderr
    functions = platform.account.session("admin").client("lambda")
    name = platform.account.parameter("/pmp/dev/service/function_name")
    memory = functions.get_function_configuration(FunctionName=name)["MemorySize"]
    functions.update_function_configuration(FunctionName=name, MemorySize=memory + 64)
    try:
        found = ci(platform, "dev", "drift", "service", identity="plan")
        assert found.returncode == 1
        assert "aws_lambda_function" in last_line(found)
        assert "memory_size" in last_line(found)
    finally:
        functions.update_function_configuration(FunctionName=name, MemorySize=memory)


def test_manually_widened_policy_is_reported_as_drift(platform: Platform) -> None:
    iam = platform.account.session("admin").client("iam")
    policy = next(
        one["PolicyArn"]
        for one in iam.list_attached_user_policies(UserName="gitlab-dev")["AttachedPolicies"]
        if one["PolicyName"] == "pmp-dev-artifacts"
    )
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    original = iam.get_policy(PolicyArn=policy)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=policy, VersionId=original)["PolicyVersion"]["Document"]
    iam.create_policy_version(PolicyArn=policy, PolicyDocument=json.dumps(everything), SetAsDefault=True)
    try:
        found = ci(platform, "dev", "drift", "account", identity="plan")
        assert found.returncode == 1
        assert 'module.delivery["dev"].aws_iam_policy.delivery["artifacts"]' in last_line(found)
    finally:
        # The emulator cannot make an older version the default again.
        iam.create_policy_version(PolicyArn=policy, PolicyDocument=json.dumps(document), SetAsDefault=True)
        for version in iam.list_policy_versions(PolicyArn=policy)["Versions"]:
            if not version["IsDefaultVersion"]:
                iam.delete_policy_version(PolicyArn=policy, VersionId=version["VersionId"])


def test_rollback_requires_a_published_zip(platform: Platform) -> None:
    refused = ci(platform, "dev", "rollback", "0" * 64)
    assert refused.returncode == 1
    assert f"no zip {'0' * 64} is published; the newest are: " in last_line(refused)
    assert health(platform, "dev")["code_sha256"] in last_line(refused)


@pytest.mark.usefixtures("other_commit")
def test_a_release_that_fails_goes_back_by_itself(platform: Platform, tmp_path: Path) -> None:
    good = health(platform, "dev")
    broken = tmp_path / "broken"
    git.checkout(commit(platform), broken, checkout(platform))
    route = broken / "lambda" / "pmp" / "http" / "routes" / "service.py"
    start = "def get_readiness(_request: Request) -> Response:\n"
    assert start in route.read_text()
    route.write_text(route.read_text().replace(start, f'{start}    raise RuntimeError("broken on purpose")\n'))
    commit_all(broken, "Break readiness")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return ci(platform, "dev", *arguments, directory=broken)

    for line in ("package", "publish", "plan service", "apply service"):
        done = run(*line.split())
        assert done.returncode == 0, f"{line}: {done.stdout}\n{done.stderr}"
    assert health(platform, "dev") == good, "what is applied serves nobody yet"

    back = run("canary", "--minutes", "0")
    assert back.returncode == 1
    assert f"(commit {head(broken)[:12]}) went back after" in last_line(back)
    assert "GET /v1/ready answered 500" in last_line(back)
    assert {json.dumps(health(platform, "dev")) for _ in range(50)} == {json.dumps(good)}
    listed = run("releases").stdout.splitlines()
    assert "serves" not in listed[0], "the newest version"
    assert f"{good['release'][:12]}  {good['code_sha256'][:12]}  serves 100%" in listed[1]

    # Terraform does not mind who serves.
    unchanged = run("plan", "service", "--refuse-changes", "--out", str(tmp_path / "unchanged"))
    assert unchanged.returncode == 0, unchanged.stderr
    rolled_back = run("rollback", good["function_version"])
    assert rolled_back.returncode == 0, rolled_back.stderr
    assert health(platform, "dev")["code_sha256"] == good["code_sha256"]


def test_published_zip_is_never_overwritten(platform: Platform) -> None:
    build = checkout(platform) / ".gitlab-ci-local" / "artifacts" / "package" / "build"
    again = ci(platform, "dev", "publish", PMP_BUILD_DIRECTORY=str(build))
    assert again.returncode == 0, again.stderr
    assert "there already, digest verified" in again.stdout


def test_policies_suffice_for_update_rollback_and_destroy(platform: Platform, tmp_path: Path) -> None:
    """This test comes last because it destroys dev."""
    first = health(platform, "dev")
    changed = tmp_path / "changed"
    git.checkout(commit(platform), changed, checkout(platform))
    with (changed / "lambda" / "pmp" / "__init__.py").open("a") as source:
        source.write("# Changed.\n")
    settings = changed / "envs" / "dev.tfvars"
    # However the file aligns its values.
    text = re.sub(r" +=", " =", settings.read_text())
    for old, new in {
        "memory_mb = 1024": "memory_mb = 1088",
        "{ rate_per_second = 5, burst = 10 }": "{ rate_per_second = 5, burst = 9 }",
        "runner = { enable = true }": 'runner = { enable = true, instance_type = "t4g.medium" }',
    }.items():
        assert old in text
        text = text.replace(old, new)
    settings.write_text(text)
    commit_all(changed, "Change code, memory, throttling and the runner")

    def run(*arguments: str, identity: str = "gitlab", **variables: str) -> str:
        done = ci(platform, "dev", *arguments, identity=identity, directory=changed, **variables)
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    for line in ("package", "publish"):
        run(line)
    shown = run("preview", "--out", "build/preview", identity="plan")
    assert "aws_lambda_function.this" in shown
    for line in ("apply foundation", "migrate", "plan service"):
        run(*line.split())
    assert "does what was shown at the gate" in run("confirm", "service", "--preview", "build/preview")
    for line in ("apply service", "canary --minutes 0", "smoke --built"):
        run(*line.split())
    assert health(platform, "dev")["release"] == head(changed)
    assert health(platform, "dev")["code_sha256"] != first["code_sha256"]

    run("rollback", first["code_sha256"])
    run("smoke", "--events", "8")
    assert {**health(platform, "dev"), "function_version": ""} == {**first, "function_version": ""}

    run("destroy", "service")
    refused = ci(platform, "dev", "destroy", "foundation", directory=changed)
    assert refused.returncode == 1
    assert "the plan would destroy the " in last_line(refused)
    run("destroy", "foundation", PMP_ALLOW_DESTROY=last_line(refused).rpartition("PMP_ALLOW_DESTROY=")[2].strip("'"))
    assert (
        not platform.account.session("admin")
        .client("rds")
        .describe_db_instances(Filters=[{"Name": "db-instance-id", "Values": ["pmp-dev"]}])["DBInstances"]
    )

    # Requests recorded on this platform and those committed earlier: one run does not cover every kind of change.
    iam = platform.account.session("admin").client("iam")
    lines = platform.instance.iam_record.read_text().splitlines()
    for identity in policies.attached(iam):
        committed = policies.committed(identity.part, identity.environment)
        requests = policies.merged(policies.recorded(lines, identity.user), committed)
        for one in policies.balance(policies.attached_policies(iam, identity), requests):
            assert not one.unexplained, one.policy
            assert not one.needless, one.policy
    assert aws_requests.recorded_violations(platform.instance.request_record.read_text().splitlines()) == []
