"""How ``make test-image`` runs jobs, on a file system of two programs; the image itself takes half an hour."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from checks import gitlab
from checks.image.filesystem import Image
from checks.image.jobs import Job, Runner, of_merge_request, script
from local.pipeline import EXECUTOR
from ops.git import git
from ops.settings import ROOT


def _job(name: str, *lines: str, **content: Any) -> Job:
    return Job(name, {"script": list(lines), **content}, {"GIT_DEPTH": content.pop("depth", "1"), "CI": "true"})


def _refusal_of_mounts(folder: Path) -> str:
    """Return why a job cannot be isolated here, for example because this is a job itself; empty if it can."""
    for part in ("lower", "upper", "work", "root"):
        (folder / part).mkdir(parents=True)
    mount = ["mount", "-t", "overlay", "-o", "lowerdir=lower,upperdir=upper,workdir=work", "overlay", "root"]
    command = ["unshare", "--mount", "--pid", "--fork", *mount]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stderr.strip()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A runner whose image has bash and BusyBox, for a repository of two commits and a tag."""
    if refusal := _refusal_of_mounts(tmp_path / "trial"):
        pytest.skip(f"this machine mounts no overlay: {refusal}")
    root = tmp_path / "image"
    for part in ("bin", "dev", "etc", "lib64", "proc", "sys", "tmp"):
        (root / part).mkdir(parents=True)
    for program in ("bash", "busybox"):
        found = shutil.which(program)
        assert found
        shutil.copy(found, root / "bin")
        # A static program, such as that of the package busybox-static, has none; then ldd fails.
        libraries = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", libraries):
            target = root / library.removeprefix("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, target)
    for name in ("cat", "env", "grep", "ls", "mkdir", "sh"):
        (root / "bin" / name).symlink_to("busybox")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    git(checkout, "init", "--quiet", "--initial-branch", "main")
    for subject in ("one", "two"):
        (checkout / "subject").write_text(subject)
        git(checkout, "add", ".")
        git(checkout, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", subject)
    git(checkout, "tag", "v1.0.0", "HEAD~1")
    return Runner(Image(root, {"PATH": "/bin", "PMP_BUILT_FROM": "x"}), checkout, tmp_path / "runs")


def _output(runner: Runner, job: Job) -> tuple[str, str]:
    return runner.run(job).verdict, runner.log(job.name).read_text()


def test_a_job_sees_its_image_and_its_clone_only(runner: Runner, tmp_path: Path) -> None:
    verdict, output = _output(runner, _job("look", "cat subject", "ls /", "env"))
    assert verdict == "passed", output
    assert "$ cat subject\ntwo" in output
    assert "home" not in output.split("$ ls /")[1].split("$ env")[0].split()
    variables = re.findall(r"^(\w+)=", output.split("$ env")[1], re.MULTILINE)
    shells_own = {"PWD", "OLDPWD", "SHLVL", "_"}
    assert set(variables) - shells_own == {"HOME", "PATH", "PMP_BUILT_FROM", "GIT_DEPTH", "CI"}
    assert not (tmp_path / "image/builds").exists(), "a job leaves the image as it is"


@pytest.mark.parametrize(
    ("file", "verdict"),
    [
        ("/opt/pmp-tree/build/judges/pmp-lock.sha256", "failed"),
        ("/opt/pmp/lib/new.py", "failed"),
        ("/usr/bin/new", "failed"),
        ("/opt/pmp/lib/new.pyc", "passed"),
        ("/opt/pmp/lib/hcl2/.lark_cache.bin", "passed"),
        ("/opt/go/cache/x", "passed"),
        ("build/new", "passed"),
    ],
)
def test_a_job_that_installs_tools_again_fails(runner: Runner, file: str, verdict: str) -> None:
    ended, output = _output(runner, _job("install", f"mkdir -p {Path(file).parent}", f"echo x > {file}"))
    assert ended == verdict, output
    assert ("the job changed what the image brings:\n  " + file in output) == (verdict == "failed")


@pytest.mark.parametrize(("depth", "there"), [("1", False), ("0", True)])
def test_a_job_gets_tags_and_history_only_if_it_asks(runner: Runner, depth: str, there: bool) -> None:
    verdict, output = _output(runner, _job("tags", "ls .git/refs/tags", depth=depth))
    assert verdict == "passed", output
    assert ("v1.0.0" in output) == there
    assert _output(runner, _job("shallow", "cat .git/shallow", depth=depth))[0] == ("failed" if there else "passed")


def test_artifacts_reach_the_jobs_that_need_them(runner: Runner) -> None:
    jobs = [
        _job("make", "mkdir build", "echo zip > build/one.zip", "echo x > other", artifacts={"paths": ["build/*.zip"]}),
        _job("use", "cat build/one.zip", "[ ! -e other ]", needs=[{"job": "make"}]),
        _job("fail", "cat other"),
        _job("later", "true", needs=[{"job": "fail"}]),
        _job("plan", "true", id_tokens={"PMP_ID_TOKEN": {"aud": "x"}}),
    ]
    verdicts = {result.name: result.verdict for result in runner.run_all(jobs, lambda _: None)}
    assert verdicts == {
        "make": "passed",
        "use": "passed",
        "fail": "failed",
        "later": "not run: it needs fail",
        "plan": "not run: it needs credentials of AWS",
    }


@pytest.mark.parametrize(
    ("lines", "status", "printed"),
    [
        (["echo one", "false", "echo two"], 1, "$ echo one\none\n$ false\n"),
        (["false | true", "echo on"], 1, "$ false | true\n"),
        (["cat", "set -eu", "echo 'it'\"s\""], 0, "$ cat\n$ set -eu\n$ echo 'it'\"s\"\nits\n"),
    ],
)
def test_commands_run_in_one_shell_until_the_first_that_fails(lines: list[str], status: int, printed: str) -> None:
    done = subprocess.run(["bash", "-c", script(lines)], input="typed", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (status, printed)


@pytest.mark.skipif(not EXECUTOR.exists(), reason="gitlab-ci-local is not installed: 'make test-pipeline' does")
def test_two_readers_find_the_same_jobs_of_a_merge_request(tmp_path: Path) -> None:
    for name in (".gitlab-ci.yml", "ops/pipeline/environment.yml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "--quiet", "-m", "one")
    git(tmp_path, "remote", "add", "origin", "https://gitlab.invalid/pmp/pmp.git")
    found = of_merge_request(tmp_path)
    in_image = {
        name
        for name, job in gitlab.jobs().items()
        if "image" not in job and any(need == {"job": "ci-image", "optional": True} for need in job.get("needs", []))
    }
    # A laptop leaves out the check of a recorded image.
    assert {job.name.partition(": [")[0] for job in found} == in_image - {"image-recorded"}
    for job in found:
        assert job.lines == [". ops/pipeline/job.sh", *gitlab.jobs()[job.name.partition(": [")[0]]["script"]]
