"""The deployment's recovery and its record of finished steps, with a scripted stand-in for ``python -m ops``."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local import deployment, function, processes
from local.account import Account
from local.deployment import Deployment
from local.environments import Environment, write_account_variables, write_platform_variables
from ops import alias
from ops.errors import UserError
from ops.settings import Target

BUCKET = "pmp-terraform-state-trial"
STATE = "foundation/local/foundation.tfstate"

# Records its arguments, then behaves as the file "mode" says; in the mode "hang" it shuts down cleanly on SIGINT.
OPS = """
import json, os, pathlib, sys, time
here = pathlib.Path(__file__).parent.parent
with (here / "calls").open("a") as calls:
    calls.write(json.dumps([sys.argv[1:], os.environ["AWS_ACCESS_KEY_ID"], os.environ["PMP_ENVIRONMENT"]]) + "\\n")
mode = (here / "mode").read_text() if (here / "mode").exists() else ""
if mode == "fail":
    print("│ Error: creating thing", "error: thing: AccessDenied: use another key", "bye", sep="\\n")
    sys.exit(1)
if mode == "hang":
    try:
        print("hanging", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        print("state saved", flush=True)
        sys.exit(130)
if sys.argv[1] == "plan":
    plan = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    plan.mkdir(parents=True, exist_ok=True)
    (plan / "plan.json").write_text((here / "plan.json").read_text())
print("first", "last line", sep="\\n")
"""


def _plan(*actions: list[str]) -> str:
    changes = [
        {"address": f"x.y{index}", "type": "x", "change": {"actions": one, "before": {"a": 1}, "after": {"a": 2}}}
        for index, one in enumerate(actions)
    ]
    return json.dumps({"applyable": bool(actions), "resource_changes": changes})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a scripted ``ops``, one layer and one commit."""
    root = tmp_path / "repository"
    (root / "ops").mkdir(parents=True)
    (root / "ops/__main__.py").write_text(OPS)
    (root / "envs/foundation").mkdir(parents=True)
    (root / "envs/foundation/main.tf").write_text("# one\n")
    (root / "plan.json").write_text(_plan())
    monkeypatch.setattr(deployment, "ROOT", root)
    return root


@pytest.fixture
def deploy(root: Path, account: Account) -> Deployment:
    write_account_variables(account.instance)
    write_platform_variables(account.instance, "local")
    admin = account.session("admin")
    admin.client("s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    admin.client("ssm").put_parameter(Name="/pmp/bootstrap/state_bucket_name", Value=BUCKET, Type="String")
    return Deployment(account.instance, account, Environment(account.instance, "local"))


def _calls(root: Path) -> list[list[Any]]:
    path = root / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _commands(root: Path) -> list[str]:
    return [call[0][0] for call in _calls(root)]


def _silent(_: str) -> None:
    return


def _lock(account: Account) -> None:
    account.session("admin").client("s3").put_object(Bucket=BUCKET, Key=f"{STATE}.tflock", Body=b"{}")


def _keys(account: Account) -> list[str]:
    answer = account.session("admin").client("s3").list_objects_v2(Bucket=BUCKET)
    return [item["Key"] for item in answer.get("Contents", [])]


def test_command_gets_only_the_platforms_variables(
    deploy: Deployment, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "company")
    seen: list[str] = []
    assert deploy.run_ops("admin", ["smoke"], "smoke", seen.append) == "last line"
    assert seen == ["first", "last line"]
    assert _calls(root) == [[["smoke"], deploy.account.admin().access_key_id, "local"]]
    assert "$ python -m ops smoke   # as admin" in (deploy.instance.logs / "smoke.log").read_text()


def test_failed_command_is_reported_by_its_error_line(deploy: Deployment, root: Path) -> None:
    (root / "mode").write_text("fail")
    with pytest.raises(UserError, match=r"^thing: AccessDenied: use another key \(log: .*smoke\.log\)$"):
        deploy.run_ops("admin", ["smoke"], "smoke", _silent)


def test_empty_plan_is_not_applied_or_repeated(deploy: Deployment, root: Path) -> None:
    assert deploy.layer("foundation", "admin", _silent) == "nothing to change"
    assert deploy.layer("foundation", "admin", _silent) == "unchanged"
    assert _commands(root) == ["plan"]


def test_a_forgotten_step_is_done_again(deploy: Deployment, root: Path) -> None:
    deploy.layer("foundation", "admin", _silent)
    deploy.forget("foundation")
    assert deploy.layer("foundation", "admin", _silent) == "nothing to change"
    assert _commands(root) == ["plan", "plan"]


def test_after_a_reload_the_function_first_gets_the_zip_that_terraform_knows(
    deploy: Deployment, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssm = deploy.account.session("admin").client("ssm")
    recorded = {"/pmp/local/service/code_sha256": "1" * 64, "/pmp/local/service/release": "commit"}
    for name, value in (recorded | {"/pmp/account/deployment_bucket_name": "deployments"}).items():
        ssm.put_parameter(Name=name, Value=value, Type="String")
    given: list[Any] = []
    monkeypatch.setattr(function, "give_code", lambda _client, *arguments: given.append((arguments, _commands(root))))
    served: list[str] = []
    monkeypatch.setattr(alias.Alias, "give_all", lambda one: served.append(one._function))
    monkeypatch.setattr(deploy.account, "session", lambda *_: deploy.account._session(deploy.account.admin()))
    monkeypatch.setattr(deploy.account, "credentials", lambda *_: deploy.account.admin())
    monkeypatch.setattr(deploy, "code_digest", lambda: "2" * 64)
    monkeypatch.setattr(deployment, "release", lambda: "commit")
    deploy.forget("service", reloaded=True)
    assert deploy.service(_silent) == "nothing to change"
    assert given == [(("local", "deployments", "1" * 64, "commit"), [])], "before the plan"
    deploy.forget("service")
    deploy.service(_silent)
    assert len(given) == 1, "only after a reload"
    assert served == ["pmp-local"] * 2, "what is deployed serves"


def test_plan_with_only_known_gaps_is_not_applied(
    deploy: Deployment, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps = tmp_path / "gaps.yml"
    gaps.write_text("unchanged_plan: [{type: x, attributes: [a], reason: it forgets}]\n")
    monkeypatch.setattr(deployment, "UNCHANGED_PLAN", gaps)
    (root / "plan.json").write_text(_plan(["update"]))
    assert deploy.layer("foundation", "admin", _silent) == "nothing to change"
    assert _commands(root) == ["plan"]


def test_plan_with_changes_is_applied_as_saved(deploy: Deployment, root: Path) -> None:
    (root / "plan.json").write_text(_plan(["create"], ["create"], ["update"], ["delete", "create"], ["no-op"]))
    assert deploy.layer("foundation", "admin", _silent) == "3 added, 1 changed, 1 removed"
    assert _commands(root) == ["plan", "apply"]
    plan, apply = (call[0] for call in _calls(root))
    assert plan[plan.index("--out") + 1] == apply[apply.index("--plan") + 1]


@pytest.mark.parametrize("change", ["main.tf", "tfvars", "platform"])
def test_changed_input_causes_a_new_plan(deploy: Deployment, root: Path, change: str) -> None:
    deploy.layer("foundation", "admin", _silent)
    paths = {
        "main.tf": root / "envs/foundation/main.tf",
        "tfvars": root / "envs/local.tfvars",
        "platform": deploy.instance.platform_directory / "local.tfvars.json",
    }
    paths[change].write_text("# two\n")
    deploy.layer("foundation", "admin", _silent)
    assert _commands(root) == ["plan", "plan"]


def test_restarted_account_causes_a_new_plan(deploy: Deployment, root: Path) -> None:
    deploy.layer("foundation", "admin", _silent)
    deploy.trusted = False
    deploy.layer("foundation", "admin", _silent)
    assert _commands(root) == ["plan", "plan"]


def test_failed_layer_is_planned_again(deploy: Deployment, root: Path) -> None:
    (root / "mode").write_text("fail")
    for _ in range(2):
        with pytest.raises(UserError):
            deploy.layer("foundation", "admin", _silent)
    assert _commands(root) == ["plan", "plan"]


def test_unreadable_plan_is_an_error(deploy: Deployment, root: Path) -> None:
    (root / "plan.json").write_text("{")
    with pytest.raises(UserError, match=r"plan\.json is not a plan"):
        deploy.layer("foundation", "admin", _silent)


def test_smoke_test_repeats_after_a_change_or_without_an_answer(
    deploy: Deployment, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deploy.account, "credentials", lambda *_: deploy.account.admin())
    answers = [True, False]
    monkeypatch.setattr(Deployment, "_answers", lambda _: answers.pop(0))
    assert deploy.smoke(_silent) == "last line"
    assert deploy.smoke(_silent) == "unchanged, the API answers"
    assert deploy.smoke(_silent) == "last line"
    deploy.layer("foundation", "admin", _silent)
    assert deploy.smoke(_silent) == "last line"
    assert _commands(root) == ["smoke", "smoke", "plan", "smoke"]


def test_zip_is_rebuilt_only_after_a_change(deploy: Deployment, root: Path) -> None:
    (root / "lambda").mkdir()
    (root / "lambda/handler.py").write_text("# one\n")
    build = deploy.instance.build
    build.mkdir()
    (build / "lambda.sha256").write_text("abc\n")
    (build / "lambda-abc.zip").write_text("")
    for _ in range(2):
        deploy.package(_silent)
    assert _commands(root) == ["package"]
    (build / "lambda-abc.zip").unlink()
    deploy.package(_silent)
    (build / "lambda-abc.zip").write_text("")
    (root / "lambda/handler.py").write_text("# two\n")
    deploy.package(_silent)
    assert _commands(root) == ["package"] * 3


def test_interrupt_lets_the_command_shut_down_cleanly(deploy: Deployment, root: Path) -> None:
    (root / "mode").write_text("hang")
    seen: list[str] = []

    def report(line: str) -> None:
        seen.append(line)
        if line == "hanging":
            threading.Timer(0.1, deploy.interrupt).start()

    with pytest.raises(UserError):
        deploy.run_ops("admin", ["apply"], "foundation-local", report, "foundation")
    assert seen == ["hanging", "state saved"]


def _dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def _journal(deploy: Deployment, *, changes: bool, pid: int, started: float = 1.0) -> None:
    entry = {"layer": "foundation", "environment": "local", "changes": changes, "pid": pid, "started": started}
    path = deploy.instance.directory / "journal/foundation-local.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(entry))


def test_interrupted_apply_is_undone(deploy: Deployment, root: Path, account: Account) -> None:
    account.checkpoint()
    _lock(account)
    account.session("admin").client("ssm").put_parameter(Name="/half", Value="made", Type="String")
    (root / "envs/foundation/errored.tfstate").write_text("{}")
    _journal(deploy, changes=True, pid=_dead_process())
    assert deploy.recover(_silent) == "undid the interrupted apply of foundation"
    assert _keys(account) == []
    with pytest.raises(UserError, match="no parameter /half"):
        account.parameter("/half")
    assert not (root / "envs/foundation/errored.tfstate").exists()
    assert deploy.recover(_silent) == ""


def _save_state(account: Account, status: str | None) -> None:
    zone = {"attributes": {"id": "Z1"}} | ({"status": status} if status else {})
    state = {"version": 4, "resources": [{"type": "aws_route53_zone", "name": "this", "instances": [zone]}]}
    account.session("admin").client("s3").put_object(Bucket=BUCKET, Key=STATE, Body=json.dumps(state).encode())


def test_apply_stopped_during_a_creation_is_undone(deploy: Deployment, account: Account) -> None:
    _save_state(account, None)
    account.checkpoint()
    account.session("admin").client("ssm").put_parameter(Name="/half", Value="made", Type="String")
    _save_state(account, "tainted")
    _journal(deploy, changes=True, pid=_dead_process())
    assert deploy.recover(_silent) == "undid the interrupted apply of foundation"
    assert not deploy._is_half_made(Target.of("foundation", "local"))
    with pytest.raises(UserError, match="no parameter /half"):
        account.parameter("/half")


@pytest.mark.parametrize("has_state", [False, True])
def test_failed_apply_is_kept(deploy: Deployment, account: Account, has_state: bool) -> None:
    account.checkpoint()
    account.session("admin").client("ssm").put_parameter(Name="/made", Value="1", Type="String")
    if has_state:
        _save_state(account, None)
    _journal(deploy, changes=True, pid=_dead_process())
    assert deploy.recover(_silent) == ""
    assert account.parameter("/made") == "1"


def test_lock_of_an_interrupted_plan_is_released(deploy: Deployment, account: Account) -> None:
    _lock(account)
    _journal(deploy, changes=False, pid=_dead_process())
    assert deploy.recover(_silent) == "released the lock of a plan of foundation"
    assert _keys(account) == []


def test_lock_of_another_run_is_kept(deploy: Deployment, account: Account) -> None:
    _lock(account)
    assert deploy.recover(_silent) == ""
    assert _keys(account) == [f"{STATE}.tflock"]


def test_recovery_waits_for_a_command_that_still_runs(deploy: Deployment, tmp_path: Path) -> None:
    record = processes.start(
        tmp_path / "left",
        "left",
        [sys.executable, "-c", "import time; time.sleep(600)"],
        port=1,
        log=tmp_path / "left.log",
        environment=os.environ,
        directory_to_run_in=tmp_path,
    )
    _journal(deploy, changes=True, pid=record.pid, started=record.started)
    seen: list[str] = []

    def report(line: str) -> None:
        seen.append(line)
        processes.end_session(record)

    deploy.recover(report)
    assert seen == [f"waiting for the foundation run of an earlier command (process {record.pid})"]
    assert deploy.journals() == []


@pytest.mark.parametrize("mode", ["", "fail"])
def test_only_a_failed_command_leaves_a_journal(deploy: Deployment, root: Path, mode: str) -> None:
    (root / "mode").write_text(mode)
    outcome: Callable[[], str] = lambda: deploy.run_ops("admin", ["apply"], "x", _silent, "foundation")  # noqa: E731
    if mode:
        with pytest.raises(UserError):
            outcome()
    else:
        outcome()
    assert len(deploy.journals()) == (1 if mode else 0)


def test_error_names_the_signal_that_killed_a_command(deploy: Deployment, root: Path) -> None:
    (root / "mode").write_text("hang")

    def report(_: str) -> None:
        for journal in deploy.journals():
            os.kill(journal.pid, signal.SIGKILL)

    with pytest.raises(UserError, match="ended by SIGKILL"):
        deploy.run_ops("admin", ["apply"], "x", report, "foundation")
    assert [one.layer for one in deploy.journals()] == ["foundation"]
