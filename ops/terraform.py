"""Run Terraform for one layer in one environment, with that environment's state and variable files."""

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ops import aws, provider_locks, providers
from ops.errors import UserError
from ops.output import say, shown, step
from ops.processes import run
from ops.settings import ROOT, Target, platform_directory

# Variables that could point Terraform to another state, or give it other values, than this command does.
_STEERING = ("TF_WORKSPACE", "TF_DATA_DIR", "TF_CLI_ARGS", "TF_VAR_")
_LOCK_WAIT = "-lock-timeout=10s"
GOGC = "400"
"""How far the heap of Terraform and of each provider may grow, in percent, before Go collects garbage.

They live for seconds and decode a large schema at each start. With the usual 100, a plan of the foundation layer takes
5.8 s of processor time and 340 MiB; with 400, 4.2 s and 450 MiB (https://pkg.go.dev/runtime#hdr-Environment_Variables).
"""
# What `init -lockfile=readonly` says about providers that the lock file does not name, or not for this machine.
_NOT_LOCKED = ("Provider dependency changes detected", "any of the checksums previously recorded")
CHANGES_PRESENT = 2
"""Exit status of ``terraform plan -detailed-exitcode`` when the plan changes something."""


class TerraformError(UserError):
    """Terraform failed; the message is its own first error."""


class Terraform:
    """Terraform in the root of ``target``, initialised by `init`."""

    def __init__(self, target: Target) -> None:
        """Check that nothing in the process environment contradicts ``target``.

        Raises:
            UserError: ``TF_WORKSPACE`` names another environment.
        """
        self.target = target
        self.exists = True
        """Whether the target has a state, known after `init`."""
        workspace = os.environ.get("TF_WORKSPACE")
        if workspace and workspace != target.workspace:
            raise UserError(
                f"TF_WORKSPACE={workspace} contradicts {target}: unset it, the environment alone selects the state"
            )
        if not (target.root / "backend.hcl").exists():
            raise UserError(f"{shown(target.root)} is not a Terraform root: it has no backend.hcl")

    def environment(self) -> dict[str, str]:
        """Return the process environment of every Terraform run."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_STEERING)}
        return kept | {
            "TF_DATA_DIR": str(self.target.data_directory),
            "TF_IN_AUTOMATION": "1",
            "TF_INPUT": "0",
            "GOGC": GOGC,
            "AWS_REGION": aws.region(),
        }

    def init(self, *, create: bool = True) -> None:
        """Initialise the root with the state bucket, and select its workspace.

        Args:
            create: create a workspace that does not exist, which writes its empty state. Without it, `exists` says
                whether there is one.

        Raises:
            UserError: Terraform's own first error, or the bootstrap is missing.
        """
        self.target.data_directory.mkdir(parents=True, exist_ok=True)
        backend = {
            "bucket": aws.parameter("/pmp/bootstrap/state_bucket_name"),
            "kms_key_id": aws.parameter("/pmp/bootstrap/kms_key_arn"),
            "region": aws.region(),
        }
        if aws.is_emulated():
            backend["use_path_style"] = "true"
        say(f"terraform  {providers.configured_sources()}")
        settings = [f"-backend-config={name}={value}" for name, value in backend.items()]
        if os.environ.get("CI"):
            # A job must not choose providers: the next environment's job could choose others.
            settings += provider_locks.options(self.target.root, stand_ins=providers.modules_are_stand_ins())
        with step(f"terraform init {self.target}"):
            # -reconfigure: the state never moves, so a data directory that remembers another bucket is merely stale.
            self._run("init", ["-reconfigure", "-backend-config=backend.hcl", *settings], quiet=True)
            if self.target.environment:
                self._select(create=create)

    def _select(self, *, create: bool) -> None:
        if not create:
            command = self._command("workspace list", [])
            status, lines = run(command, directory=ROOT, environment=self.environment(), show=None)
            self.exists = status == 0 and self.target.workspace in {line.lstrip("* ").strip() for line in lines}
            if status == 0 and not self.exists:
                return
        self._run("workspace select", ["-or-create"] * create + [self.target.workspace], quiet=True)
        self.exists = True

    def variable_files(self) -> list[str]:
        """Return ``-var-file`` options for the files of the environment and, if there is one, of its platform.

        Raises:
            UserError: a file is missing.
        """
        files = [ROOT / "envs" / f"{self.target.environment}.tfvars"] if self.target.environment else []
        if directory := platform_directory():
            files.append(directory / f"{self.target.environment or self.target.layer}.tfvars.json")
        elif not self.target.environment:
            # By the account's id: the values of another account cannot be applied here.
            files.append(self.target.root / "accounts" / f"{aws.account_id()}.tfvars")
        for file in files:
            if not file.exists():
                raise UserError(f"{shown(file)} is missing: it holds the variables of {self.target}")
        return [f"-var-file={file}" for file in files]

    def plan(self, out: Path, variables: dict[str, str], *, destroy: bool = False) -> bool:
        """Write a plan to ``out``, without taking the state's lock; whether it changes anything.

        Raises:
            UserError: Terraform's own first error.
        """
        options = ["-detailed-exitcode", "-lock=false", f"-out={out}", *self.variable_files()]
        options += [f"-var={name}={value}" for name, value in variables.items()]
        options += ["-destroy"] if destroy else []
        with step(f"terraform plan {self.target}"):
            return self._run("plan", options, accepted=(0, CHANGES_PRESENT), quiet=True) == CHANGES_PRESENT

    def apply(self, plan: Path) -> None:
        """Apply a saved plan, and show its progress.

        Raises:
            UserError: Terraform's own first error.
        """
        with step(f"terraform apply {self.target}"):
            self._run("apply", [_LOCK_WAIT, str(plan)])

    def force_unlock(self, identifier: str) -> None:
        """Remove the lock with this id from the state.

        Raises:
            UserError: Terraform's own first error, for example because another lock has taken its place.
        """
        self._run("force-unlock", ["-force", identifier])

    def show_json(self, plan: Path) -> dict[str, Any]:
        """Return a saved plan as Terraform's JSON document. It holds secrets, so it must not be written unredacted.

        Raises:
            UserError: the file is not a plan of this root.
        """
        document = json.loads(self._show(plan, "-json"))
        if not isinstance(document, dict):
            raise UserError(f"{shown(plan)} is not a Terraform plan: create it again with 'python -m ops plan'")
        return document

    def show_text(self, plan: Path) -> str:
        """Return a saved plan as text for people; Terraform itself leaves secrets out.

        Raises:
            UserError: the file is not a plan of this root.
        """
        return self._show(plan, "-no-color")

    def _show(self, plan: Path, option: str) -> str:
        done = subprocess.run(
            self._command("show", [option, str(plan)]),
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise UserError(
                f"{shown(plan)} cannot be read as a plan of {self.target} ({first_error(done.stderr.splitlines())}): "
                "create it again with 'python -m ops plan'"
            )
        return done.stdout

    def _command(self, subcommand: str, options: Sequence[str]) -> list[str]:
        return ["terraform", f"-chdir={self.target.root}", *subcommand.split(), *options]

    def _run(
        self, subcommand: str, options: Sequence[str], accepted: Sequence[int] = (0,), *, quiet: bool = False
    ) -> int:
        if subcommand in {"init", "plan", "apply"}:
            options = ["-input=false", "-no-color", *options]
        status, lines = run(
            self._command(subcommand, options),
            directory=ROOT,
            environment=self.environment(),
            show=None if quiet else say,
        )
        if status not in accepted:
            if quiet:
                say("\n".join(lines))
            reason = first_error(lines) if status >= 0 else f"ended by {signal.Signals(-status).name}"
            raise TerraformError(f"terraform {subcommand} {self.target}: {reason}{self._advice(lines)}")
        return status

    def _advice(self, lines: Sequence[str]) -> str:
        text = "\n".join(lines)
        if "Error acquiring the state lock" in text:
            return (
                "; another run holds it, or a killed one left it: "
                f"'python -m ops unlock {self.target.layer}' releases it"
            )
        # Terraform wraps its lines and puts a bar before each.
        if any(words in " ".join(text.replace("│", " ").split()) for words in _NOT_LOCKED):
            return (
                f"; '{provider_locks.COMMAND}' records them where the Terraform registry answers: commit the lock files"
            )
        if "Saved plan is stale" in text:
            return "; the state has changed since it was planned: run the job again that planned it, then this one"
        return ""


def first_error(lines: Sequence[str]) -> str:
    """Return the first error in Terraform's output, title and detail in one line."""
    cleaned = [line.lstrip("│╷╵ ").rstrip() for line in lines]
    starts = [number for number, line in enumerate(cleaned) if line.startswith("Error: ")]
    if not starts:
        return next((line for line in reversed(cleaned) if line), "no output")
    words = [cleaned[starts[0]].removeprefix("Error: ")]
    for line in cleaned[starts[0] + 1 :]:
        if line.startswith(("Error: ", "Warning: ")):
            break
        # Skip the source position: `on main.tf line 3, in resource …:` and the quoted line below it.
        if line and not line.startswith("on ") and not line.split(":", 1)[0].isdecimal() and not line.startswith("├"):
            words.append(line)
        if len(words) == 4:
            break
    return " ".join(words)
