"""A command's environment, release and folders, read from the command line and the process environment."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ops.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
_ENVIRONMENTS = json.loads((ROOT / "envs" / "environments.json").read_text())
PROMOTED_ENVIRONMENTS: tuple[str, ...] = tuple(_ENVIRONMENTS["promoted"])
"""Environments that the pipeline deploys, in the order of promotion."""
LAPTOP_ENVIRONMENT: str = _ENVIRONMENTS["laptop"]
"""The environment that only the laptop platform has."""
ENVIRONMENTS = (*PROMOTED_ENVIRONMENTS, LAPTOP_ENVIRONMENT)
LAYERS = ("account", "foundation", "service")
PROMOTED_LAYERS = ("foundation", "service")
"""Layers that the pipeline deploys; an administrator deploys ``account``."""


def build_directory() -> Path:
    """Return the folder for all that commands create: ``PMP_BUILD_DIRECTORY``, else the repository's ``build/``."""
    return Path(os.environ.get("PMP_BUILD_DIRECTORY") or ROOT / "build").absolute()


def platform_directory() -> Path | None:
    """Return the folder that describes the emulated AWS platform (``PMP_PLATFORM_DIRECTORY``), or None on AWS."""
    text = os.environ.get("PMP_PLATFORM_DIRECTORY")
    return Path(text).absolute() if text else None


def require_environment(name: str | None) -> str:
    """Return the environment to work in.

    Raises:
        UserError: no environment was given, or it is not known.
    """
    known = ", ".join(ENVIRONMENTS)
    if not name:
        raise UserError(f"no environment: give --environment or set PMP_ENVIRONMENT to one of {known}")
    if name not in ENVIRONMENTS:
        raise UserError(f"environment {name!r} is not known: use one of {known}")
    return name


def release() -> str:
    """Return the commit to deploy, 40 hexadecimal digits: ``CI_COMMIT_SHA``, else the checkout's HEAD.

    Raises:
        UserError: neither exists.
    """
    if commit := os.environ.get("CI_COMMIT_SHA"):
        return commit
    asked = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if asked.returncode:
        raise UserError("no release: set CI_COMMIT_SHA, or run in a git checkout with at least one commit")
    return asked.stdout.strip()


def require_digest(text: str) -> str:
    """Return a zip's SHA-256 that a person typed.

    Raises:
        UserError: it is not 64 hexadecimal digits.
    """
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise UserError(f"{text!r} is not a digest: give the 64 hexadecimal digits that name lambda/<digest>.zip")
    return text


@dataclass(frozen=True)
class Target:
    """One layer in one environment; ``environment`` is empty for the layer ``account``, which has a single state."""

    layer: str
    environment: str

    @classmethod
    def of(cls, layer: str, environment: str | None) -> "Target":
        """Return the target of ``layer`` and ``environment`` after checking both names.

        Raises:
            UserError: the layer or the environment is not known.
        """
        if layer not in LAYERS:
            raise UserError(f"layer {layer!r} is not known: use one of {', '.join(LAYERS)}")
        return cls(layer, "" if layer == "account" else require_environment(environment))

    def __str__(self) -> str:
        return f"{self.layer} ({self.environment})" if self.environment else self.layer

    @property
    def name(self) -> str:
        """The target's name in paths."""
        return f"{self.layer}-{self.environment}" if self.environment else self.layer

    @property
    def root(self) -> Path:
        """The folder of the Terraform root."""
        return ROOT / "envs" / self.layer

    @property
    def workspace(self) -> str:
        """Terraform's workspace."""
        return self.environment or "default"

    @property
    def state_key(self) -> str:
        """The state's key in the state bucket."""
        key = f"{self.layer}.tfstate"
        return f"{self.layer}/{self.environment}/{key}" if self.environment else key

    @property
    def plan_directory(self) -> Path:
        """The default folder for the target's plan."""
        return build_directory() / "plans" / self.name

    @property
    def data_directory(self) -> Path:
        """The folder for Terraform's own working data, one per layer and environment."""
        return build_directory() / "terraform" / self.name
