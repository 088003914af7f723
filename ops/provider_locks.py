"""Which Terraform providers the lock files have to name, and for which machines, so that every job runs the same ones.

The registry's modules need more providers than PMP's own (`NEEDED`). Their hashes for other machines can only be had
from the registry, so `record` is a step of the first deployment and of each release.
https://developer.hashicorp.com/terraform/cli/commands/providers/lock
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path

from ops import providers
from ops.errors import UserError
from ops.output import say
from ops.settings import LAYERS

PLATFORMS = ("linux_amd64", "linux_arm64", "darwin_arm64")
"""Machines that run Terraform: jobs, runners and laptops."""
NEEDED = {
    "account": ("aws",),
    # terraform-aws-modules/rds asks for random,
    "foundation": ("aws", "random"),
    # and terraform-aws-modules/lambda for the other three.
    "service": ("aws", "external", "local", "null"),
}
COMMAND = "python -m ops lock-providers"

_PROVIDER = re.compile(r'^provider "[^"]*/([^"/]+)" \{\n(.*?)^\}', re.MULTILINE | re.DOTALL)


def lacking(repository: Path) -> list[str]:
    """Return what the lock files lack, in words: providers without an entry, or with hashes of too few machines.

    A hash does not say of which machine it is, so their number counts (``h1:``, one a machine).
    """
    found = []
    for layer in LAYERS:
        locked = _hashes(repository / "envs" / layer)
        for name in NEEDED[layer]:
            if name not in locked:
                found.append(f"{layer} does not name {name}")
            elif locked[name] < len(PLATFORMS):
                found.append(f"{layer} has {locked[name]} of {len(PLATFORMS)} hashes of {name}")
    return found


def named(root: Path) -> set[str]:
    """Return the providers that a root's lock file names, such as ``aws``."""
    return set(_hashes(root))


def options(root: Path, *, stand_ins: bool) -> list[str]:
    """Return the options of ``terraform init`` that let it add nothing to a root's lock file.

    There are none with the stand-ins and a complete lock file: they need aws alone, so Terraform has to shorten it.

    Args:
        root: folder of the lock file.
        stand_ins: whether modules come from PMP's stand-ins.
    """
    return [] if stand_ins and named(root) - {"aws"} else ["-lockfile=readonly"]


def _hashes(root: Path) -> dict[str, int]:
    file = root / ".terraform.lock.hcl"
    text = file.read_text() if file.exists() else ""
    return {name: entry.count('"h1:') for name, entry in _PROVIDER.findall(text)}


def record(repository: Path) -> None:
    """Record the hashes of all providers for all `PLATFORMS` in the lock files of every layer.

    Raises:
        UserError: the registry does not answer, or Terraform failed.
    """
    if not providers.registry_answers():
        raise UserError(
            f"{providers.REGISTRY_HOST} does not answer, and nobody else knows the hashes for other machines: run "
            f"'{COMMAND}' where it does, and commit envs/*/.terraform.lock.hcl"
        )
    with tempfile.TemporaryDirectory(prefix="pmp-locks-") as scratch:
        configuration = Path(scratch) / "terraformrc"
        configuration.write_text("provider_installation {\n  direct {}\n}\n")
        options = [f"-platform={platform}" for platform in PLATFORMS]
        for layer in LAYERS:
            environment = os.environ | {
                "TF_CLI_CONFIG_FILE": str(configuration),
                "TF_DATA_DIR": str(Path(scratch) / layer),
            }
            for command in (["get"], ["providers", "lock", *options]):
                done = subprocess.run(
                    ["terraform", f"-chdir={repository / 'envs' / layer}", *command],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                if done.returncode:
                    raise UserError(f"terraform {' '.join(command)} in envs/{layer}: {done.stderr.strip()}")
    say(f"the lock files name every provider for {', '.join(PLATFORMS)}")
