"""Run jobs of ``.gitlab-ci.yml`` in a file system, as GitLab's Docker executor runs them in an image.

Each job gets a fresh copy of the file system, its own processes, and a fresh clone of the depth that it asks for. A job
that changes the tools of the image fails: it would install on every run what the image should bring.
"""

import csv
import io
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from checks.image.filesystem import Image
from local.pipeline import EXECUTOR
from ops.errors import UserError
from ops.git import git

PROJECT = Path("/builds/pmp/pmp")
_ORIGIN = "https://gitlab.invalid/pmp/pmp.git"
_MERGE_REQUEST = {"CI_PIPELINE_SOURCE": "merge_request_event", "CI_MERGE_REQUEST_IID": "1"}
_HOUR = 3600


@dataclass(frozen=True)
class Job:
    """One job, with what GitLab would give it."""

    name: str
    content: Mapping[str, Any]
    variables: Mapping[str, str]

    @property
    def lines(self) -> list[str]:
        """The commands that GitLab runs in one shell."""
        return [*self.content.get("before_script", []), *self.content["script"]]

    @property
    def depth(self) -> int:
        """How many commits are cloned; 0 for all, with the tags."""
        return int(self.variables["GIT_DEPTH"])

    @property
    def needs(self) -> list[str]:
        """Names of the jobs whose artifacts it gets."""
        return [need["job"] for need in self.content.get("needs", [])]

    @property
    def left_out_because(self) -> str:
        """Why this machine cannot run it, or the empty string."""
        return "it needs credentials of AWS" if "id_tokens" in self.content else ""


@dataclass(frozen=True)
class Result:
    """How a job ended; ``verdict`` is one word, or why it did not run."""

    name: str
    verdict: str
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        """Whether the job ran and failed."""
        return self.verdict == "failed"


def of_merge_request(checkout: Path) -> list[Job]:
    """Return the jobs of a merge request's pipeline in order, as gitlab-ci-local reads the file and its rules.

    Raises:
        UserError: the executor cannot read the file.
    """
    command = [str(EXECUTOR), "--json-schema-validation=false"]
    command += [word for name, value in _MERGE_REQUEST.items() for word in ("--variable", f"{name}={value}")]
    text: dict[str, str] = {}
    for option in ("--list-csv", "--preview"):
        done = subprocess.run([*command, option], cwd=checkout, capture_output=True, text=True, check=False)
        if done.returncode:
            raise UserError(f"gitlab-ci-local {option} failed:\n{done.stdout}{done.stderr}")
        text[option] = done.stdout
    table = text["--list-csv"]
    rows = csv.DictReader(io.StringIO(table[table.index("name;") :]), delimiter=";")
    # Before the document, it warns that a predefined variable is set.
    document = yaml.safe_load(text["--preview"].partition("---\n")[2])
    jobs = []
    for name in dict.fromkeys(row["name"] for row in rows):
        # A job of a matrix is called "name: [value, …]".
        content = document[name.partition(": [")[0]]
        jobs.append(Job(name, content, _variables(document.get("variables", {}), content, name, checkout)))
    return jobs


def _variables(common: Mapping[str, Any], job: Mapping[str, Any], name: str, checkout: Path) -> dict[str, str]:
    """Return the variables that GitLab sets, https://docs.gitlab.com/ci/variables/predefined_variables."""
    commit = git(checkout, "rev-parse", "HEAD").strip()
    values = {
        "CI": "true",
        "GITLAB_CI": "true",
        "CI_API_V4_URL": "https://gitlab.invalid/api/v4",
        "CI_BUILDS_DIR": "/builds",
        "CI_COMMIT_REF_NAME": "change",
        "CI_COMMIT_SHA": commit,
        "CI_COMMIT_SHORT_SHA": commit[:8],
        "CI_DEFAULT_BRANCH": "main",
        "CI_JOB_ID": "1",
        "CI_JOB_NAME": name,
        "CI_JOB_STAGE": str(job["stage"]),
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        "CI_PIPELINE_ID": "1",
        "CI_PROJECT_DIR": str(PROJECT),
        "CI_PROJECT_ID": "1",
        "CI_PROJECT_PATH": "pmp/pmp",
        "CI_REGISTRY_IMAGE": "registry.invalid/pmp/pmp",
        "CI_SERVER_HOST": "gitlab.invalid",
        "CI_SERVER_URL": "https://gitlab.invalid",
        **_MERGE_REQUEST,
    }
    for key, given in {**common, **job.get("variables", {})}.items():
        value = str(given["value"] if isinstance(given, dict) else given)
        values[key] = re.sub(r"\$\{?(\w+)\}?", lambda match: values.get(match[1], ""), value)
    return values


def script(lines: list[str]) -> str:
    """Return the shell script that GitLab's runner makes of a job's commands.

    The commands read nothing, and the first that fails ends the job
    (https://gitlab.com/gitlab-org/gitlab-runner/-/blob/main/shells/bash.go).
    """
    commands = "\n".join(f"echo {shlex.quote(f'$ {line}')}\n{line}" for line in lines)
    return f"set -eo pipefail\nset +o noclobber\n: | eval {shlex.quote(commands)}\n"


class Runner:
    """Runs jobs in copies of one image's file system."""

    def __init__(self, image: Image, checkout: Path, folder: Path) -> None:
        """``checkout`` is the repository to clone, ``folder`` a place for clones, logs and artifacts."""
        self._image = image
        self._checkout = checkout
        self._folder = folder

    def log(self, job: str) -> Path:
        """Return the file with a job's output."""
        return self._folder / "logs" / f"{re.sub(r'[^a-z0-9-]+', '-', job)}.log"

    def run(self, job: Job) -> Result:
        """Run one job to its end, and keep its artifacts for the jobs that need it."""
        folder = self._folder / "job"
        shutil.rmtree(folder, ignore_errors=True)
        for part in ("upper", "work", "system"):
            (folder / part).mkdir(parents=True)
        clone = folder / "upper" / PROJECT.relative_to("/")
        self._clone(clone, job.depth)
        for need in job.needs:
            kept = self._artifacts(need)
            if kept.exists():
                shutil.copytree(kept, clone, dirs_exist_ok=True)
        (folder / "upper/job.sh").write_text(script(job.lines))
        variables = {"HOME": "/root", **self._image.variables, **job.variables}
        self.log(job.name).parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with self.log(job.name).open("w") as log:
            entered = [
                str(self._image.root),
                str(folder),
                str(PROJECT),
                *(f"{key}={value}" for key, value in variables.items()),
            ]
            status = subprocess.run(
                [*_ISOLATED, *entered], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False
            ).returncode
        seconds = time.monotonic() - started
        if changed := _changed_tools(folder / "upper"):
            with self.log(job.name).open("a") as log:
                print("the job changed what the image brings:", *changed[:5], sep="\n  ", file=log)
            status = 1
        if not status:
            self._keep_artifacts(job, clone)
        shutil.rmtree(folder, ignore_errors=True)
        return Result(job.name, "failed" if status else "passed", seconds)

    def run_all(self, jobs: list[Job], report: Callable[[Result], None]) -> list[Result]:
        """Run the jobs in order; one that needs a job that did not pass does not run."""
        results: dict[str, Result] = {}
        for job in jobs:
            stopped_by = [
                result.name
                for result in results.values()
                if result.name.partition(": [")[0] in job.needs and result.verdict != "passed"
            ]
            if reason := job.left_out_because or (f"it needs {stopped_by[0]}" if stopped_by else ""):
                results[job.name] = Result(job.name, f"not run: {reason}")
            else:
                results[job.name] = self.run(job)
            report(results[job.name])
        return list(results.values())

    def _clone(self, target: Path, depth: int) -> None:
        """Clone as GitLab's runner does: one commit without tags, or everything if the depth is 0."""
        target.mkdir(parents=True)
        git(target, "init", "--quiet")
        commit = git(self._checkout, "rev-parse", "HEAD").strip()
        fetch = ["fetch", "--quiet", f"file://{self._checkout}"]
        if depth:
            git(target, *fetch, "--no-tags", "--depth", str(depth), f"+{commit}:refs/pipelines/1")
        else:
            git(target, *fetch, f"+{commit}:refs/pipelines/1", "+refs/heads/*:refs/remotes/origin/*")
            git(target, *fetch, "+refs/tags/*:refs/tags/*")
        git(target, "checkout", "--quiet", "--detach", commit)
        git(target, "remote", "add", "origin", _ORIGIN)

    def _artifacts(self, job: str) -> Path:
        return self._folder / "artifacts" / job

    def _keep_artifacts(self, job: Job, clone: Path) -> None:
        for pattern in job.content.get("artifacts", {}).get("paths", []):
            for path in clone.glob(pattern.rstrip("/")):
                target = self._artifacts(job.name) / path.relative_to(clone)
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():
                    shutil.copytree(path, target, dirs_exist_ok=True)
                else:
                    shutil.copy2(path, target)


def _changed_tools(upper: Path) -> list[str]:
    """Return the files of the image's tools that a job wrote, from the layer in which its changes are."""
    written = (path for part in ("opt/pmp", "opt/pmp-tree", "usr") for path in (upper / part).rglob("*"))
    # Python compiles a module when it is first imported, and parsers keep their tables beside their grammar.
    tools = (path for path in written if path.is_file() and path.suffix != ".pyc" and "cache" not in path.name)
    return sorted(f"/{path.relative_to(upper)}" for path in tools)


# $1: the image's file system, $2: the job's folder, $3: the project's folder, then the job's variables.
_ENTER = """
image="$1" job="$2" project="$3"
shift 3
mount --make-rprivate /
hostname runner
mount -t overlay overlay -o "lowerdir=$image,upperdir=$job/upper,workdir=$job/work" "$job/system"
mount -t proc proc "$job/system/proc"
mount -t sysfs -o ro sysfs "$job/system/sys"
mount --rbind /dev "$job/system/dev"
mount -t tmpfs -o mode=1777 tmpfs "$job/system/dev/shm"
printf '127.0.0.1 localhost runner\\n' > "$job/system/etc/hosts"
cp /etc/resolv.conf "$job/system/etc/resolv.conf"
exec chroot "$job/system" env -i "$@" bash -c "cd $project && exec bash /job.sh"
"""

_ISOLATED = (
    *("timeout", "--kill-after=10", str(_HOUR)),
    *("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"),
    *("sh", "-euc", _ENTER, "enter"),
)
