"""Run ``.gitlab-ci.yml`` on the laptop platform.

gitlab-ci-local runs the jobs with its shell executor, each in a separate folder with the files of one commit and the
artifacts that the job needs. The access keys, which GitLab would keep as variables of an environment's scope, are read
from the platform; while the pipeline runs, they are in a file that only the owner can read.
"""

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from local import services
from local.account import ACCOUNT
from local.deployment import Deployment
from local.platform import Platform, alone
from ops.errors import UserError
from ops.git import checkout
from ops.output import say
from ops.processes import run
from ops.settings import PROMOTED_ENVIRONMENTS, ROOT

EXECUTOR = ROOT / "local" / "executor" / "node_modules" / ".bin" / "gitlab-ci-local"
# The executor derives GitLab's host and project from this URL; no request is ever sent to it.
_REMOTE = "https://gitlab.invalid/pmp/pmp.git"
_VARIABLES = ".gitlab-ci-local-variables.yml"
_WRAPPER = ".gitlab-ci-local-inputs.yml"
_LINE = re.compile(r"\[[\d:]{8}\s+[^\]]*\] (?P<job>\S+)\s+(?P<text>.*)")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Outcome:
    """What a run of the pipeline did.

    Attributes:
        status: the executor's exit status.
        seconds: duration by job, for the jobs that ran, in the order in which they ended.
        failed: jobs that ended with an error.
        transcript: every line of output, with times.
    """

    status: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    transcript: list[str] = field(default_factory=list)


def write_variables(
    directory: Path, variables: Mapping[str, str], scoped: Mapping[str, Mapping[str, str]] | None = None
) -> None:
    """Write the project's variables for the executor, as GitLab would keep them.

    Args:
        directory: the checkout.
        variables: values by name, for every job.
        scoped: by name, values by environment scope.
    """
    content: dict[str, object] = {
        # Without a type, a value that begins with a slash would become a copy of that file.
        name: {"type": "variable", "values": dict(values)}
        for name, values in ({name: {"*": value} for name, value in variables.items()} | dict(scoped or {})).items()
    }
    path = directory / _VARIABLES
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        yaml.safe_dump(content, file)


def execute(
    directory: Path,
    gates: Sequence[str],
    jobs: Sequence[str] = (),
    *,
    inputs: Mapping[str, str] | None = None,
    quiet: bool = False,
) -> Outcome:
    """Run the pipeline of the checkout in ``directory``.

    Args:
        directory: a folder created by `checkout` and completed by `write_variables`.
        gates: manual jobs to start.
        jobs: run only these and the jobs they need; empty for all.
        inputs: what a person would enter who starts the pipeline by hand; the defaults otherwise.
        quiet: print nothing.

    Raises:
        UserError: the executor is not installed.
        InterruptedRunError: we received a signal, and the running job has ended.
    """
    if not EXECUTOR.exists():
        raise UserError(
            "gitlab-ci-local is not installed: 'make pipeline' installs it, or 'npm ci --prefix local/executor'"
        )
    command = [
        *(str(EXECUTOR), "--force-shell-executor", "--shell-isolation", "--timestamps"),
        *("--no-artifacts-to-source", "--no-color", "--concurrency", "2"),
        # Its copy of GitLab's schema is older than `artifacts: access: maintainer`; the lint has a newer one.
        "--json-schema-validation=false",
        *("--file", _wrap(directory, inputs or {})),
        *(word for gate in gates for word in ("--manual", gate)),
        *(["--needs", *jobs] if jobs else []),
    ]
    # A job's credentials must come from its own variables alone.
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_", "PMP_", "CI_", "GCL_"))
    }
    outcome = Outcome()
    started: dict[str, float] = {}

    def show(raw: str) -> None:
        line = _COLOR.sub("", raw)
        outcome.transcript.append(line)
        match = _LINE.match(line)
        if not match:
            return
        job, text = match["job"], match["text"]
        if text.startswith("starting shell"):
            started[job] = time.monotonic()
        elif text.startswith("finished in"):
            seconds = time.monotonic() - started.get(job, time.monotonic())
            is_failed = "FAIL" in text
            outcome.seconds[job] = seconds
            outcome.failed += [job] if is_failed else []
            if not quiet:
                mark, style = ("✗", "red") if is_failed else ("✓", "")
                say(f"  {time.strftime('%H:%M:%S')}  {mark} {job:<26} {seconds:7.1f} s", style)
        elif text.startswith("> error: ") and not quiet:
            say(f"            {text.removeprefix('> ')}", "red")

    outcome.status, _ = run(command, directory=directory, environment=kept, show=show)
    return outcome


def _wrap(directory: Path, inputs: Mapping[str, str]) -> str:
    """Write a file that includes the pipeline's with ``inputs``, and return its name.

    The executor can give inputs to an included file, but not to the file that it is started with.
    """
    content = {"include": [{"local": ".gitlab-ci.yml", "inputs": dict(inputs)}]}
    (directory / _WRAPPER).write_text(yaml.safe_dump(content))
    return _WRAPPER


# -- the platform ----------------------------------------------------------------------------------------------------


def prepare(platform: Platform, environments: Sequence[str]) -> None:
    """Bring the platform to the state of an account that an administrator has set up, and start the databases.

    Raises:
        UserError: something does not start.
    """
    platform.start_environments(list(environments))
    account, instance = platform.account, platform.instance
    with alone(instance):
        deployment = Deployment(instance, account, platform.environment(environments[0]))
        deployment.trusted = not account.start()
        deployment.recover(_ignore)
        services.start_registry(instance)
        services.start_vendor_list(instance)
        deployment.bootstrap(_ignore)
        deployment.layer("account", "admin", _ignore)
        account.ensure_keys()


def _ignore(_text: str) -> None:
    return


def variables_of(platform: Platform) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Return what GitLab would hold for this platform: the variables of every job, and those by environment scope."""
    common = platform.instance.tool_environment("dev")
    # These would be the same for every environment, and would mix their plans.
    common = {name: value for name, value in common.items() if name not in {"PMP_ENVIRONMENT", "PMP_BUILD_DIRECTORY"}}
    common["PMP_TOOLS"] = str(ROOT / ".venv")
    # Nobody waits for a release of an emulator to prove itself; it is judged by the canary's own requests.
    common["PMP_CANARY_MINUTES"] = "0"
    scoped: dict[str, dict[str, str]] = {}
    scopes = {"plan/account/*": ("plan", ACCOUNT)}
    for environment in PROMOTED_ENVIRONMENTS:
        scopes |= {environment: ("gitlab", environment), f"plan/{environment}": ("plan", environment)}
    for scope, (identity, environment) in scopes.items():
        for name, value in platform.account.credentials(identity, environment).environment().items():
            scoped.setdefault(name, {})[scope] = value
    return common, scoped


def promoted(directory: Path, environment: str) -> dict[str, str]:
    """Return the schema that the pipeline deployed, as tag and change, from the migration job's artifact."""
    kept = directory / ".gitlab-ci-local" / "artifacts"
    # The executor encodes job names in folder names, but only the migration's artifact has this file.
    found = sorted(kept.rglob(f"build/migrations/{environment}.json"))
    return dict(json.loads(found[0].read_text())) if found else {}


def promote(platform: Platform, directory: Path, through: str) -> Outcome:
    """Run the pipeline of the checkout in ``directory`` up to the environment ``through``, with all gates opened.

    Raises:
        UserError: the executor is not installed.
    """
    environments = PROMOTED_ENVIRONMENTS[: PROMOTED_ENVIRONMENTS.index(through) + 1]
    gates = [f"{environment}:gate" for environment in environments[1:]]
    try:
        write_variables(directory, *variables_of(platform))
        return execute(directory, gates, [] if through == PROMOTED_ENVIRONMENTS[-1] else [f"{through}:unchanged"])
    finally:
        (directory / _VARIABLES).unlink(missing_ok=True)


def run_pipeline(platform: Platform, commit: str, through: str) -> None:
    """Promote a commit by running .gitlab-ci.yml on the laptop platform.

    Args:
        platform: where to run it; started and set up if need be.
        commit: the commit to promote; anything that git can resolve.
        through: last environment whose gate is opened.

    Raises:
        UserError: the environment is not known, or a job failed.
    """
    if through not in PROMOTED_ENVIRONMENTS:
        raise UserError(f"--through {through}: use one of {', '.join(PROMOTED_ENVIRONMENTS)}")
    begun = time.monotonic()
    environments = PROMOTED_ENVIRONMENTS[: PROMOTED_ENVIRONMENTS.index(through) + 1]
    say("platform: emulator, bootstrap, account, databases …")
    prepare(platform, environments)
    say(f"platform: ready after {time.monotonic() - begun:.0f} s")
    directory = platform.instance.directory / "pipeline" / "checkout"
    checkout(commit, directory, ROOT, _REMOTE)
    outcome = promote(platform, directory, through)
    transcript = platform.instance.logs / "pipeline.log"
    transcript.write_text("\n".join(outcome.transcript) + "\n")
    say(f"transcript: {transcript}")
    if outcome.status:
        where = ", ".join(outcome.failed) or f"its set-up ({(outcome.transcript or ['no output'])[-1]})"
        raise UserError(f"the pipeline failed in {where}: see {transcript}")
    if not outcome.seconds:
        raise UserError(f"the pipeline has no job to run: see {transcript}")
    account = platform.account
    for environment in environments:
        running = {
            name: account.parameter(f"/pmp/{environment}/service/{name}")
            for name in ("release", "code_sha256", "api_url")
        }
        schema = promoted(directory, environment)
        say(
            f"  {environment:<8} commit {running['release'][:12]}  lambda {running['code_sha256'][:12]}  "
            f"schema {schema.get('tag') or '(no tag)'} {schema.get('change', '?')}  {running['api_url']}"
        )
    say(f"pipeline: {len(outcome.seconds)} jobs in {time.monotonic() - begun:.0f} s", "bold")
