"""Check and install what the laptop platform needs: ``python3 -m local.install``, with the standard library only.

``--require go node`` only checks for these two, which some tests need. ``--offer`` also says which of them is missing.

Tools that a person chooses (git, Terraform) are checked but never installed. Debian packages are installed when run as
root; without root rights the exact command is printed and nothing is installed. Python packages are installed into
``.venv`` from ``requirements.lock``, and each is checked against its hash.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ops import providers
from ops.errors import UserError, run_command
from ops.settings import ROOT

VIRTUAL_ENVIRONMENT = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
UV = VIRTUAL_ENVIRONMENT / "bin/uv"
STAMP = VIRTUAL_ENVIRONMENT / "pmp-lock.sha256"
LOG = ROOT / ".pmp" / "install.log"

SERVICE_POLICY = Path("/usr/sbin/policy-rc.d")

MINIMUM_TERRAFORM = (1, 11, 0)
MINIMUM_PYTHON = (3, 11)

PACKAGES = ROOT / "ops" / "packages.txt"


TERRATEST = ROOT / "tests" / "terratest"
EXECUTOR = ROOT / "local" / "executor" / "package.json"


def debian_packages(purpose: str) -> dict[str, str]:
    """Return the Debian packages for ``laptop``, ``image`` or ``runner``, each with the program or file it brings."""
    rows = [line.split() for line in PACKAGES.read_text().splitlines() if not line.startswith("#")]
    return {package: proof for package, purposes, proof in rows if purpose in purposes.split(",")}


def check_tools() -> None:
    """Check for Python 3.11, git and Terraform 1.11.

    Raises:
        UserError: a tool is missing or too old.
    """
    if sys.version_info < MINIMUM_PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise UserError(f"Python 3.11 or newer is needed, python3 is {found}: install it and put it first on PATH")
    for tool, advice in {
        "git": "install the Debian package git",
        "terraform": "install Terraform 1.11 or newer from HashiCorp and put it on PATH",
    }.items():
        if not shutil.which(tool):
            raise UserError(f"{tool} is not on PATH: {advice}")
    version = terraform_version()
    if version < MINIMUM_TERRAFORM:
        raise UserError(
            f"Terraform {'.'.join(map(str, MINIMUM_TERRAFORM))} or newer is needed (state locks in S3, write-only "
            f"arguments), terraform is {'.'.join(map(str, version))}: install a newer one and put it first on PATH"
        )


def terraform_version() -> tuple[int, ...]:
    """Return the version of ``terraform`` on PATH.

    Raises:
        UserError: it does not run, or prints no version.
    """
    # A CLI configuration that a shell profile names but that no longer exists would only add warnings here.
    environment = {key: value for key, value in os.environ.items() if key != "TF_CLI_CONFIG_FILE"}
    command = ["terraform", "version", "-json"]
    try:
        answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        return tuple(int(part) for part in re.split(r"[.-]", json.loads(answer)["terraform_version"])[:3])
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError) as error:
        raise UserError(f"'{' '.join(command)}' does not answer with a version: {error}") from error


def missing_debian_packages() -> list[str]:
    """Return the laptop's packages that are neither installed as packages nor present in another way.

    Includes ``python3-venv`` if ``.venv`` does not exist yet, because Debian's python3 cannot create it alone.
    """
    missing = [name for name, proof in debian_packages("laptop").items() if not _present(proof)]
    if not UV.exists() and importlib.util.find_spec("ensurepip") is None:
        missing.append("python3-venv")
    return missing


def missing_for_tests(tool: str) -> str | None:
    """Return what is missing of ``go`` or ``node``, and where to get it; None if it is there and new enough."""
    if tool == "go":
        wanted = re.search(r"^go (\S+)$", (TERRATEST / "go.mod").read_text(), re.MULTILINE)
        # In the module's folder, where a newer toolchain is fetched if the settings allow it.
        answer = _answer(["go", "-C", str(TERRATEST), "version"])
        if wanted is None or answer:
            return None
        return f"Go {wanted[1]} or newer (https://go.dev/dl), for 'make lint', 'make docs' and 'make test-terratest'"
    wanted = re.search(r"\d+", json.loads(EXECUTOR.read_text())["engines"]["node"])
    found = re.match(r"v(\d+)", _answer(["node", "--version"]) or "")
    if wanted is None or (found and int(found[1]) >= int(wanted[0]) and shutil.which("npm")):
        return None
    return f"Node {wanted[0]} or newer with npm (https://nodejs.org), for 'make test-integration' and 'make pipeline'"


def _answer(command: Sequence[str]) -> str | None:
    """Return what a command prints, or None if there is no such program or it fails."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None


def require(tools: Sequence[str]) -> None:
    """Check for tools that only tests need.

    Raises:
        UserError: one is missing or too old.
    """
    if missing := [text for tool in tools if (text := missing_for_tests(tool))]:
        raise UserError(f"install {' and '.join(missing)}; 'make up' does not need it")


def _present(proof: str) -> bool:
    if proof.startswith("/"):
        return any(Path("/").glob(proof.removeprefix("/")))
    # pgbouncer lives in /usr/sbin, which is not on every user's PATH.
    return shutil.which(proof, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


@contextlib.contextmanager
def _services_stay_down() -> Iterator[None]:
    """Keep Debian from starting a system PostgreSQL and PgBouncer at installation: the platform runs its own."""
    ours = "#!/bin/sh\n# Only while PMP installs Debian packages.\nexit 101\n"
    # A killed run may have left our own file; any other file stays.
    if SERVICE_POLICY.exists() and SERVICE_POLICY.read_text() != ours:
        yield
        return
    SERVICE_POLICY.write_text(ours)
    SERVICE_POLICY.chmod(0o755)
    try:
        yield
    finally:
        SERVICE_POLICY.unlink(missing_ok=True)


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Act on Ctrl-C only at the end: packages that are interrupted during set-up block every later installation."""
    heard: list[int] = []

    def note(number: int, _frame: object) -> None:
        if not heard:
            print("  stopping: the set-up of the packages ends first …", flush=True)
        heard.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


def install_debian_packages(packages: Sequence[str]) -> None:
    """Install ``packages`` with apt-get. If that fails, finish a killed run's set-up, refresh the lists and try again.

    Raises:
        UserError: not root, no apt-get, or apt-get failed.
    """
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if not shutil.which("apt-get"):
        raise UserError(f"missing: {', '.join(packages)} (Debian names); install them with the package manager")
    if os.geteuid() != 0:
        raise UserError(f"missing Debian packages; run this as root, then 'make up' again: {command}")
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    again = (["dpkg", "--configure", "-a"], ["apt-get", "update"], install)
    with _announced(f"Debian packages: {', '.join(packages)}"), _services_stay_down(), _interrupts_wait():
        if _logged(install) and any(map(_logged, again)):
            raise UserError(f"'{command}' failed; its output is in {LOG}")


def _logged(command: Sequence[str]) -> int:
    """Run ``command`` with its output appended to the log; return its exit status."""
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n")
        log.flush()
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        # In its own process group, so that the caller decides whether Ctrl-C ends it.
        done = subprocess.run(command, check=False, stdout=log, stderr=log, env=environment, process_group=0)
        return done.returncode


def lock_digest() -> str:
    """Return the SHA-256 of the lock file; packages are installed again when it changes."""
    return hashlib.sha256(LOCK.read_bytes()).hexdigest()


def python_packages_are_current() -> bool:
    """Whether the last complete installation used this lock file."""
    return STAMP.exists() and STAMP.read_text().strip() == lock_digest()


def uv_requirement(lock: str) -> str:
    """Return the lines of the lock file that pin uv and its hashes.

    Raises:
        UserError: the lock file does not pin uv.
    """
    match = re.search(r"^uv==.*(?:\\\n\s+--hash=\S+\s*)+", lock, re.MULTILINE)
    if not match:
        raise UserError(f"{LOCK.name} pins no uv with hashes: lock requirements.in again")
    return match[0]


def install_python_packages() -> None:
    """Create ``.venv`` and install the lock file into it; an interrupted earlier attempt is finished or replaced.

    Raises:
        UserError: a step failed; the log has its output.
    """
    python = VIRTUAL_ENVIRONMENT / "bin/python"
    # A package whose unpacking was interrupted looks installed to uv.
    doubtful = UV.exists() and not STAMP.exists()
    STAMP.unlink(missing_ok=True)
    if not UV.exists():
        _step([sys.executable, "-m", "venv", "--clear", str(VIRTUAL_ENVIRONMENT)], "making .venv")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirement:
            requirement.write(uv_requirement(LOCK.read_text()))
            requirement.flush()
            arguments = ["install", "--disable-pip-version-check", "--require-hashes", "-r", requirement.name]
            _step([str(python), "-m", "pip", *arguments], "installing uv")
    install = ["pip", "install", "--python", str(python), "--require-hashes", "-r", str(LOCK)]
    _step([str(UV), *install, *(["--reinstall"] if doubtful else [])], "installing Python packages")
    STAMP.write_text(lock_digest() + "\n")


def _step(command: Sequence[str], what: str) -> None:
    if _logged(command):
        raise UserError(f"{what} failed; its output is in {LOG}")


def install() -> None:
    """Check the machine, install what is missing, and print how long each step took.

    Raises:
        UserError: a person has to act.
    """
    check_tools()
    print(f"  install  Terraform providers from {providers.described()}", flush=True)
    if missing := missing_debian_packages():
        install_debian_packages(missing)
    if not python_packages_are_current():
        with _announced("Python packages from requirements.lock"):
            install_python_packages()


def main() -> None:
    """Run what the command line asks for."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--require"]:
        require(arguments[1:])
        return
    install()
    if "--offer" in arguments:
        for text in filter(None, map(missing_for_tests, ("go", "node"))):
            print(f"  install  not here, only for tests: {text}")


@contextlib.contextmanager
def _announced(what: str) -> Iterator[None]:
    started = time.monotonic()
    print(f"  install  {what} …", flush=True)
    yield
    print(f"  install  done in {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    run_command(main, "interrupted: 'make up' continues from here")
