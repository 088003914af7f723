"""A copy of the repository under ``build/`` for Terraform to run in, and a module registry for it.

Checks run Terraform in the copy: they never touch a developer's ``.terraform`` folders, lock files or running platform,
and the files that Terraform writes go with the copy. The provider is linked from the mirror, not copied (600 MB).
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops.settings import ROOT
from ops.terraform import GOGC


def source_files() -> list[Path]:
    """Return every file of the work tree that git tracks or would track, relative to the root and sorted."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return sorted(Path(name) for name in set(listed.split("\0")) if name and (ROOT / name).is_file())


@contextlib.contextmanager
def copied_tree(purpose: str) -> Iterator[Path]:
    """Copy every source file to a new folder under ``build/``, named after ``purpose``; remove it afterwards.

    Each run has its own copy, so that two runs at once do not disturb each other.
    """
    (ROOT / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{purpose}-", dir=ROOT / "build", ignore_cleanup_errors=True) as name:
        for file in source_files():
            target = Path(name) / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, target)
        yield Path(name)


def terraform_folders(tree: Path) -> list[Path]:
    """Return every folder under ``tree`` that contains Terraform files, sorted."""
    return sorted({file.parent for file in tree.rglob("*.tf") if ".terraform" not in file.parts})


@contextlib.contextmanager
def registry(modules: Path | None = None) -> Iterator[dict[str, str]]:
    """Run the module registry on a free port; yield environment variables that point Terraform at it.

    Args:
        modules: folder of modules to serve; None for the source that a deployment from here would use.

    Raises:
        RuntimeError: it did not start; the message is the first line that it printed.
    """
    settings = os.environ | ({"PMP_MODULE_MIRROR": str(modules)} if modules else {})
    with tempfile.TemporaryDirectory(prefix="pmp-registry-") as directory:
        configuration = Path(directory) / "terraformrc"
        command = [sys.executable, "-m", "local.registry", "--write-cli-config", str(configuration)]
        with subprocess.Popen(
            command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            try:
                first_line = process.stdout.readline().strip()
                if process.poll() is not None or not configuration.exists():
                    raise RuntimeError(first_line or "the module registry ended without printing anything")
                yield _terraform_environment(configuration)
            finally:
                process.terminate()


def _terraform_environment(configuration: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TF_")},
        "TF_CLI_CONFIG_FILE": str(configuration),
        "TF_IN_AUTOMATION": "1",
        "CHECKPOINT_DISABLE": "1",
        "GOGC": GOGC,
        # A check must not reach an AWS account with the credentials of the person who runs it.
        "AWS_REGION": "eu-west-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
