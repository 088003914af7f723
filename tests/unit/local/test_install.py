import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from local import install
from ops.errors import UserError


def _program(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with only git and a suitable Terraform."""
    _program(tmp_path, "git", "true")
    _program(tmp_path, "terraform", """echo '{"terraform_version": "1.11.4"}'""")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("programs")
def test_complete_tools_pass_the_check() -> None:
    install.check_tools()


@pytest.mark.parametrize("tool", ["git", "terraform"])
def test_error_names_a_missing_tool(programs: Path, tool: str) -> None:
    (programs / tool).unlink()
    with pytest.raises(UserError, match=f"^{tool} is not on PATH: install "):
        install.check_tools()


@pytest.mark.parametrize("version", ["1.10.5", "0.15.0"])
def test_old_terraform_is_refused(programs: Path, version: str) -> None:
    _program(programs, "terraform", f"""echo '{{"terraform_version": "{version}"}}'""")
    with pytest.raises(UserError, match=rf"Terraform 1\.11\.0 or newer .* terraform is {version}"):
        install.check_tools()


@pytest.mark.parametrize("version", ["1.11.0", "1.12.0-beta1", "2.0.0"])
def test_newer_terraform_is_accepted(programs: Path, version: str) -> None:
    _program(programs, "terraform", f"""echo '{{"terraform_version": "{version}"}}'""")
    install.check_tools()


@pytest.mark.parametrize("script", ["exit 3", "echo nonsense", "echo '{}'"])
def test_terraform_without_a_version_is_refused(programs: Path, script: str) -> None:
    _program(programs, "terraform", script)
    with pytest.raises(UserError, match="does not answer with a version"):
        install.check_tools()


def test_old_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "MINIMUM_PYTHON", (9, 9))
    with pytest.raises(UserError, match=r"Python 3\.11 or newer is needed"):
        install.check_tools()


def test_without_root_the_error_gives_the_command_to_run(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _program(programs, "apt-get", f"touch {programs}/called")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match=r"as root.*: apt-get install --no-install-recommends pgbouncer sqitch$"):
        install.install_debian_packages(["pgbouncer", "sqitch"])
    assert not (programs / "called").exists()
    assert capsys.readouterr().out == ""


def test_without_apt_the_error_lists_missing_packages(programs: Path) -> None:
    with pytest.raises(UserError, match="missing: pgbouncer"):
        install.install_debian_packages(["pgbouncer"])


@pytest.mark.usefixtures("programs")
def test_package_of_a_missing_program_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        install,
        "debian_packages",
        lambda _: {"git": "git", "x": "no-such-program", "y": "/no/such/*/file", "z": "/etc/host*"},
    )
    assert install.missing_debian_packages() == ["x", "y"]


@pytest.fixture
def as_root(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same programs, run as root, with all written files in the test's folder."""
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(install, "LOG", programs / "install.log")
    monkeypatch.setattr(install, "SERVICE_POLICY", programs / "policy-rc.d")
    return programs


def test_interrupted_installation_is_finished_after_a_refresh(as_root: Path) -> None:
    for name in ("apt-get", "dpkg"):
        script = (
            f'echo "{name} $1" >> {as_root}/calls; [ "$1" = update ] && touch {as_root}/fresh; [ "$1" = --configure ]'
        )
        _program(as_root, name, f"{script} || [ -e {as_root}/fresh ]")
    install.install_debian_packages(["x"])
    calls = (as_root / "calls").read_text().splitlines()
    assert calls == ["apt-get install", "dpkg --configure", "apt-get update", "apt-get install"]


def test_error_names_the_failed_installation(as_root: Path) -> None:
    for name in ("apt-get", "dpkg"):
        _program(as_root, name, "exit 100")
    with pytest.raises(UserError, match=r"'apt-get install --no-install-recommends x' failed; its output is in"):
        install.install_debian_packages(["x"])


@pytest.mark.parametrize("left_behind", [False, True])
def test_installation_starts_no_services(as_root: Path, left_behind: bool) -> None:
    policy = as_root / "policy-rc.d"
    _program(as_root, "apt-get", f"{policy}; echo $? >> {as_root}/answers; cp {policy} {as_root}/kept")
    install.install_debian_packages(["x"])
    if left_behind:  # by a kill
        shutil.copy(as_root / "kept", policy)
        install.install_debian_packages(["x"])
    assert set((as_root / "answers").read_text().split()) == {"101"}
    assert not policy.exists()


def test_existing_service_policy_is_kept(as_root: Path) -> None:
    _program(as_root, "policy-rc.d", "exit 0")
    _program(as_root, "apt-get", "true")
    install.install_debian_packages(["x"])
    assert (as_root / "policy-rc.d").read_text() == "#!/bin/sh\nexit 0\n"


_INSTALL_X = """
import os, sys
from pathlib import Path
from local import install
os.geteuid = lambda: 0
install.LOG, install.SERVICE_POLICY = Path(sys.argv[1], "install.log"), Path(sys.argv[1], "policy-rc.d")
try:
    install.install_debian_packages(["x"])
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_ctrl_c_waits_for_the_package_setup(as_root: Path) -> None:
    _program(
        as_root,
        "apt-get",
        f"touch {as_root}/begun; while [ ! -e {as_root}/go ]; do sleep 0.05; done; touch {as_root}/end",
    )
    command = [sys.executable, "-c", _INSTALL_X, str(as_root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as running:
        _wait_for(as_root / "begun")
        os.killpg(running.pid, signal.SIGINT)
        assert running.stdout
        assert running.stdout.readline() == "  install  Debian packages: x …\n"
        assert "stopping: the set-up of the packages ends first" in running.stdout.readline()
        (as_root / "go").touch()
        assert running.wait(30) == 130
    assert (as_root / "end").exists()
    assert not (as_root / "policy-rc.d").exists()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The commands that would fill a `.venv` that does not exist yet. Running one only creates uv's file."""
    seen: list[Sequence[str]] = []

    def step(command: Sequence[str], _what: str) -> None:
        seen.append(command)
        install.UV.parent.mkdir(parents=True, exist_ok=True)
        install.UV.touch()

    monkeypatch.setattr(install, "_step", step)
    monkeypatch.setattr(install, "VIRTUAL_ENVIRONMENT", tmp_path)
    monkeypatch.setattr(install, "UV", tmp_path / "bin/uv")
    monkeypatch.setattr(install, "STAMP", tmp_path / "stamp")
    return seen


def test_interrupted_python_packages_are_reinstalled(steps: list[Sequence[str]]) -> None:
    install.install_python_packages()
    assert [command[-1] == "--reinstall" for command in steps] == [False, False, False]
    assert install.python_packages_are_current()
    install.install_python_packages()  # the lock file has changed: the installed packages are complete
    assert steps[-1][-1] != "--reinstall"
    install.STAMP.unlink()
    install.install_python_packages()
    assert steps[-1][-1] == "--reinstall"


def test_python_without_venv_needs_python3_venv(steps: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "debian_packages", lambda _: {})
    assert install.missing_debian_packages() == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert install.missing_debian_packages() == ["python3-venv"]
    install.install_python_packages()
    assert install.missing_debian_packages() == []


def test_uv_is_pinned_by_hashes() -> None:
    lines = install.uv_requirement(install.LOCK.read_text()).strip().splitlines()
    assert lines[0].startswith("uv==")
    assert len(lines) > 1
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:])


def test_lock_file_without_uv_is_refused() -> None:
    with pytest.raises(UserError, match="pins no uv"):
        install.uv_requirement("boto3==1.0\n")


def test_packages_are_current_only_if_the_stamp_matches_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "STAMP", tmp_path / "stamp")
    assert not install.python_packages_are_current()
    (tmp_path / "stamp").write_text(install.lock_digest() + "\n")
    assert install.python_packages_are_current()
    (tmp_path / "stamp").write_text("other")
    assert not install.python_packages_are_current()


@pytest.mark.parametrize("tool", ["go", "node"])
def test_what_only_tests_need_is_named_when_it_is_missing(programs: Path, tool: str) -> None:
    with pytest.raises(
        UserError, match=rf"^install {tool.capitalize()} \d+\S* or newer .*; 'make up' does not need it$"
    ):
        install.require([tool])
    _program(programs, tool, {"go": "echo go version go1.26.3", "node": "echo v20.1.0"}[tool])
    _program(programs, "npm", "true")
    install.require([tool])


@pytest.mark.parametrize(
    ("tool", "script"), [("go", "echo 'flag provided but not defined: -C'; exit 2"), ("node", "echo v18.19.0")]
)
def test_what_only_tests_need_is_named_when_it_is_too_old(programs: Path, tool: str, script: str) -> None:
    _program(programs, tool, script)
    _program(programs, "npm", "true")
    with pytest.raises(UserError, match=r"or newer"):
        install.require([tool])
