"""Deploy PMP to the emulated account with the same commands that the pipeline runs (``python -m ops …``).

This module adds two things. The first is recovery: before each apply the account is copied, and an interrupted apply is
undone by returning to that copy, which also removes its lock and incomplete resources. An apply counts as interrupted
if its state lock still exists, because Terraform then did not save what it had created, or if the saved state holds an
incomplete resource. The second is memory: a layer is not planned again if its inputs have not changed since its last
apply and the account has not been restarted since.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from local import function, processes
from local.account import Account
from local.environments import UNCHANGED_PLAN, Environment
from local.instance import Instance, clean_environment
from local.phases import Report
from local.registry.server import source
from ops import files, http, plans
from ops.alias import Alias
from ops.errors import UserError
from ops.output import shown
from ops.settings import ROOT, Target, release

_STATE_BUCKET_PARAMETER = "/pmp/bootstrap/state_bucket_name"
# In a longer directory the path of a Unix socket, which Terraform's plugins need, would not fit (unix(7): 107 bytes).
_LONGEST_SCRATCH = 80
_NEVER_AN_INPUT = {"__pycache__", ".terraform", ".terraform.lock.hcl", ".pytest_cache"}


@dataclass(frozen=True)
class _Journal:
    """A running ``ops`` command that may hold a state lock: written when it starts, removed when it has succeeded."""

    layer: str
    environment: str
    changes: bool
    pid: int
    started: float


@dataclass(frozen=True)
class _Planned:
    """A layer's saved plan, with the note to make once it is applied."""

    layer: str
    mark: str
    inputs: str
    directory: Path


class Deployment:
    """The layers of one environment on one instance.

    Args:
        account: where to deploy.
        environment: the servers that stand in for the database of the deployed environment.
    """

    def __init__(self, instance: Instance, account: Account, environment: Environment) -> None:
        self.instance = instance
        self.account = account
        self.environment = environment
        # Kept in the account's own folder, so that it is rolled back and removed with the account.
        self._done = account.state / "done.json"
        self._journals = instance.directory / "journal"
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self.trusted = True
        self._planned_service: _Planned | None = None

    # -- commands of ops -----------------------------------------------------------------------------------------

    def run_ops(self, identity: str, arguments: Sequence[str], log_name: str, report: Report, layer: str = "") -> str:
        """Run ``python -m ops <arguments>`` as ``identity`` in this environment; return its last line of output.

        Args:
            identity: the identity whose credentials the command gets.
            arguments: command and options.
            log_name: name of the log file that the output is appended to, without ``.log``.
            report: called with each line of output.
            layer: the layer whose state the command locks; empty if it locks none.

        Raises:
            UserError: the command failed; the message is its last error line.
        """
        log = self.instance.logs / f"{log_name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "ops", *arguments]
        with log.open("ab") as output:
            output.write(f"\n$ python -m ops {' '.join(arguments)}   # as {identity}\n".encode())
            output.flush()
            # In its own session, because Ctrl-C must reach Terraform exactly once, through `interrupt`: a second one
            # makes Terraform give up without saving its state.
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.variables(identity),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            with self._lock:
                self._running.add(process)
            journal = self._begin(process, layer, changes=arguments[0] == "apply") if layer else None
            lines: deque[str] = deque(maxlen=40)
            for raw in process.stdout or ():
                output.write(raw)
                output.flush()
                if line := raw.decode(errors="replace").strip():
                    lines.append(line)
                    report(line)
            status = process.wait()
        with self._lock:
            self._running.discard(process)
        if status != 0:
            # Keep the journal, because Terraform may not have saved its state; `recover` checks the lock.
            raise UserError(f"{_reason(lines, status)} (log: {shown(log)})")
        if journal:
            journal.unlink(missing_ok=True)
        return lines[-1] if lines else ""

    def variables(self, identity: str) -> dict[str, str]:
        """Return the environment variables with which ``ops`` works on this environment as ``identity``."""
        variables = clean_environment() | self.instance.tool_environment(self.environment.name)
        return variables | self.account.credentials(identity, self.environment.name).environment() | self._scratch()

    def interrupt(self) -> None:
        """Ask every running command to shut down cleanly."""
        with self._lock:
            running = list(self._running)
        for process in running:
            try:
                os.killpg(process.pid, signal.SIGINT)
            except ProcessLookupError:
                continue

    def _scratch(self) -> dict[str, str]:
        scratch = self.instance.directory / "tmp-tools"
        if len(os.fsencode(scratch)) > _LONGEST_SCRATCH:
            return {}
        scratch.mkdir(parents=True, exist_ok=True)
        return {"TMPDIR": str(scratch)}

    # -- layers --------------------------------------------------------------------------------------------------

    def bootstrap(self, report: Report) -> str:
        """Deploy the two CloudFormation stacks as the administrator."""
        inputs = self._digest(["bootstrap"])
        if self._is_done("bootstrap", inputs):
            return "unchanged"
        self.run_ops("admin", ["bootstrap"], "bootstrap", report)
        self._finish("bootstrap", inputs)
        return "key and state bucket"

    def layer(self, layer: str, identity: str, report: Report, extra_input: str = "") -> str:
        """Plan ``layer``, and apply the plan if it changes something; return what was done, in words."""
        planned = self._plan(layer, identity, report, extra_input)
        return self._apply(planned, identity, report) if planned else "unchanged"

    def _plan(self, layer: str, identity: str, report: Report, extra_input: str = "") -> "_Planned | None":
        """Plan ``layer``; return None if nothing has changed since its last apply."""
        name = self.environment.name
        variables = "account" if layer == "account" else name
        registry = source()
        inputs = self._digest(
            [
                *(f"envs/{layer}", f"envs/{name}.tfvars", "modules"),
                *([registry.directory] if registry.directory else []),
                self.instance.platform_directory / f"{variables}.tfvars.json",
            ],
            extra_input,
            registry.description,
        )
        mark = layer if layer == "account" else f"{layer}-{name}"
        if self._is_done(mark, inputs):
            return None
        plan = self.instance.build / "plans" / mark
        self.run_ops(identity, ["plan", layer, "--out", str(plan)], mark, report, layer)
        return _Planned(layer, mark, inputs, plan)

    def _apply(self, planned: "_Planned", identity: str, report: Report) -> str:
        changes = _changes(planned.directory)
        if changes:
            self.account.checkpoint()
            apply = ["apply", planned.layer, "--plan", str(planned.directory), "--just-planned"]
            self.run_ops(identity, apply, planned.mark, report, planned.layer)
        self._finish(planned.mark, planned.inputs)
        return changes or "nothing to change"

    def package(self, report: Report) -> str:
        """Build the Lambda's zip unless its sources are unchanged; return its shortened digest."""
        inputs = self._digest(["lambda"])
        note = self._package_inputs
        if not (note.exists() and note.read_text() == inputs and self._is_built()):
            self.run_ops("admin", ["package"], "package", report)
            note.write_text(inputs)
        return f"lambda {self.code_digest()[:12]}"

    def _is_built(self) -> bool:
        digest = self.instance.build / "lambda.sha256"
        return digest.exists() and (self.instance.build / f"lambda-{digest.read_text().split()[0]}.zip").exists()

    def code_digest(self) -> str:
        """Return the SHA-256 of the zip that `package` built.

        Raises:
            UserError: no zip was built.
        """
        for path in (self.instance.build / "lambda.sha256", ROOT / "build" / "lambda.sha256"):
            if path.exists():
                return path.read_text().split()[0]
        raise UserError("there is no built Lambda: 'python -m ops package' builds it")

    def publish(self, report: Report) -> str:
        """Upload the zip under its digest."""
        inputs = self.code_digest()
        if self._is_done("publish", inputs):
            return "unchanged"
        self.run_ops("gitlab", ["publish"], "publish", report)
        self._finish("publish", inputs)
        return f"lambda/{inputs[:12]}….zip"

    def migrate(self, report: Report) -> str:
        """Bring the database to the schema of this commit."""
        name = self.environment.name
        cluster = self.environment.cluster.psql("SELECT system_identifier FROM pg_control_system()")
        # The foundation's digest represents the secrets that the migration gives to the database.
        code = ["db", "ops/migrate.py", "ops/large_tables.py"]
        inputs = self._digest(code, cluster, self._read().get(f"foundation-{name}", ""))
        mark = f"migrate-{name}"
        if self._is_done(mark, inputs):
            return "unchanged"
        self.run_ops("gitlab", ["migrate"], mark, report)
        self._finish(mark, inputs)
        return "schema deployed and verified"

    def plan_service(self, report: Report) -> str:
        """Ensure the smoke test's client, then plan the service layer."""
        name = self.environment.name
        if _reloaded(name) in self._read():
            # Terraform deploys code only under a new key: it would not see that a reload gave the function another zip.
            prefix = f"/pmp/{name}/service"
            version = [self.account.parameter(f"{prefix}/{part}") for part in ("code_sha256", "release")]
            bucket = self.account.parameter("/pmp/account/deployment_bucket_name")
            function.give_code(self.account.session("gitlab", name).client("lambda"), name, bucket, *version)
        self._planned_service = self._plan("service", "gitlab", report, f"{release()} {self.code_digest()}")
        return "unchanged" if self._planned_service is None else "planned"

    def service(self, report: Report) -> str:
        """Plan and apply the service layer; return what was done, in words."""
        self.plan_service(report)
        return self.apply_service(report)

    def apply_service(self, report: Report) -> str:
        """Apply what `plan_service` planned; return what was done, in words."""
        done = "unchanged"
        if self._planned_service:
            done = self._apply(self._planned_service, "gitlab", report)
        # Also where nothing was applied, because the last run may have ended before this. No canary: a laptop has no
        # clients to protect.
        name = self.environment.name
        Alias(self.account.session("gitlab", name).client("lambda"), function.name(name)).give_all()
        mark = _reloaded(name)
        if mark in self._read():
            self._update_notes(lambda notes: {name: text for name, text in notes.items() if name != mark})
        return done

    def smoke(self, report: Report) -> str:
        """Run the smoke test through the custom domain; if it passed and nothing changed, only check readiness."""
        mark = f"smoke-{self.environment.name}"
        before = {name: inputs for name, inputs in self._read().items() if name != mark}
        inputs = self._digest(["ops/smoke.py"], json.dumps(before, sort_keys=True))
        if self._is_done(mark, inputs) and self._answers():
            return "unchanged, the API answers"
        said = self.run_ops("gitlab", ["smoke"], mark, report)
        self._finish(mark, inputs)
        return said

    def _answers(self) -> bool:
        """Whether the API and its database answer on the custom domain."""
        url = self.account.parameter(f"/pmp/{self.environment.name}/service/api_url")
        try:
            return http.request("GET", f"{url}/v1/ready", authority=self.instance.ca_file).status == 200
        except UserError:
            return False

    # -- memory --------------------------------------------------------------------------------------------------

    def _read(self) -> dict[str, str]:
        try:
            done: dict[str, str] = json.loads(self._done.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return done

    def _is_done(self, mark: str, inputs: str) -> bool:
        return self.trusted and self._read().get(mark) == inputs

    def _finish(self, mark: str, inputs: str) -> None:
        # Save the account's state before the note that says it is there, never the other way round.
        self.account.save()
        self._update_notes(lambda notes: notes | {mark: inputs})

    def forget(self, *steps: str, reloaded: bool = False) -> None:
        """Let the next ``make up`` do these steps again, because something else changes what they made.

        Args:
            steps: ``migrate``, ``service`` or ``smoke``.
            reloaded: the function gets another zip than the service layer gave it.
        """
        name = self.environment.name
        forgotten = {f"{step}-{name}" for step in steps}
        added = {_reloaded(name): "yes"} if reloaded else {}
        self._update_notes(lambda notes: {mark: text for mark, text in notes.items() if mark not in forgotten} | added)

    def forget_package(self) -> None:
        """Let the next ``make up`` build the Lambda again."""
        self._package_inputs.unlink(missing_ok=True)

    @property
    def _package_inputs(self) -> Path:
        return self.instance.build / "lambda.inputs"

    def _update_notes(self, update: Callable[[dict[str, str]], dict[str, str]]) -> None:
        with self._lock:
            files.replace(self._done, json.dumps(update(self._read())))

    def _digest(self, paths: Iterable[str | Path], *texts: str) -> str:
        digest = hashlib.sha256()
        for path in paths:
            top = ROOT / path
            files = sorted(one for one in top.rglob("*") if one.is_file()) if top.is_dir() else [top]
            for file in files:
                if file.is_file() and not _NEVER_AN_INPUT & set(file.parts):
                    digest.update(f"{file}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
        for text in texts:
            digest.update(f"{text}\0".encode())
        return digest.hexdigest()

    # -- recovery ------------------------------------------------------------------------------------------------

    def _journal_path(self, layer: str, environment: str) -> Path:
        return self._journals / f"{layer}-{environment}.json"

    def _begin(self, process: subprocess.Popen[bytes], layer: str, *, changes: bool) -> Path:
        path = self._journal_path(layer, self.environment.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        started = psutil.Process(process.pid).create_time()
        entry = _Journal(layer, self.environment.name, changes, process.pid, started)
        path.write_text(json.dumps(entry.__dict__))
        return path

    def journals(self) -> list[_Journal]:
        """Return the journals of commands that an earlier run started and did not see succeed."""
        found = []
        for path in sorted(self._journals.glob("*.json")):
            try:
                found.append(_Journal(**json.loads(path.read_text())))
            except (ValueError, TypeError):
                path.unlink()
        return found

    def recover(self, report: Report) -> str:
        """Clean up after an interrupted run; return what was done, in words, or an empty string.

        Waits for a command that is still running. An interrupted apply is undone; after an interrupted plan, which
        changes nothing, only the lock is released.
        """
        notes = []
        for journal in self.journals():
            record = processes.Record(journal.layer, journal.pid, journal.started, 0, "")
            while processes.session_is_alive(record):
                report(f"waiting for the {journal.layer} run of an earlier command (process {journal.pid})")
                time.sleep(0.5)
            target = Target.of(journal.layer, journal.environment)
            locked = self._is_locked(target)
            if journal.changes and (locked or self._is_half_made(target)):
                self.account.roll_back()
                _forget_errored_state(journal.layer)
                notes.append(f"undid the interrupted apply of {journal.layer}")
            elif locked:
                self._release(target)
                notes.append(f"released the lock of a plan of {journal.layer}")
            self._journal_path(journal.layer, journal.environment).unlink(missing_ok=True)
        return ", ".join(notes)

    def _is_locked(self, target: Target) -> bool:
        bucket, s3 = self._state_bucket()
        return bool(s3.list_objects_v2(Bucket=bucket, Prefix=_lock_key(target)).get("KeyCount"))

    def _is_half_made(self, target: Target) -> bool:
        """Whether the saved state holds a resource that Terraform stopped waiting for when it was interrupted.

        Terraform marks it as tainted and would replace it, which ``ops plan`` refuses for a database or hosted zone.
        """
        bucket, s3 = self._state_bucket()
        try:
            state = json.loads(s3.get_object(Bucket=bucket, Key=target.state_key)["Body"].read())
        except s3.exceptions.NoSuchKey:
            return False
        return any(
            one.get("status") == "tainted" for resource in state["resources"] for one in resource.get("instances", [])
        )

    def _release(self, target: Target) -> None:
        bucket, s3 = self._state_bucket()
        s3.delete_object(Bucket=bucket, Key=_lock_key(target))

    def _state_bucket(self) -> tuple[str, Any]:
        return self.account.parameter(_STATE_BUCKET_PARAMETER), self.account.session("admin").client("s3")


def _reloaded(environment: str) -> str:
    """Return the mark that the function of an environment runs what a reload gave it."""
    return f"reloaded-{environment}"


def _lock_key(target: Target) -> str:
    return f"{target.state_key}.tflock"


def _forget_errored_state(layer: str) -> None:
    """Remove the state that Terraform could not upload: its resources were rolled back."""
    (ROOT / "envs" / layer / "errored.tfstate").unlink(missing_ok=True)


def _changes(plan: Path) -> str:
    """Return what a plan changes, in words; empty if it changes only settings that the emulator never keeps.

    Raises:
        UserError: the plan's JSON cannot be read.
    """
    try:
        document = json.loads((plan / plans.DOCUMENT).read_text())
        applyable, found = document["applyable"], plans.changes(document)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{plan}/{plans.DOCUMENT} is not a plan ({error}): remove the folder, run again") from error
    gaps = plans.known_gaps(UNCHANGED_PLAN)
    if not applyable or (found and all(any(gap.explains(change) for gap in gaps) for change in found)):
        return ""
    number = plans.counts(found)
    words = {"create": "added", "update": "changed", "delete": "removed"}
    return ", ".join(f"{number[name]} {word}" for name, word in words.items() if number[name]) or "outputs changed"


def _reason(lines: Sequence[str], status: int) -> str:
    errors = [line for line in lines if line.startswith(("error:", "Error:", "│ Error:"))]
    if errors:
        return errors[-1].removeprefix("│ ").removeprefix("error: ").removeprefix("Error: ")
    if status < 0:
        return f"ended by {signal.Signals(-status).name}"
    return lines[-1] if lines else f"exit status {status}"
