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
    """A PATH with git and a good Terraform alone."""
    _program(tmp_path, "git", "true")
    _program(tmp_path, "terraform", """echo '{"terraform_version": "1.11.4"}'""")
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.mark.usefixtures("programs")
def test_all_tools_there() -> None:
    install.check_tools()


@pytest.mark.parametrize("tool", ["git", "terraform"])
def test_a_missing_tool_is_named(programs: Path, tool: str) -> None:
    (programs / tool).unlink()
    with pytest.raises(UserError, match=f"^{tool} is not on PATH: install "):
        install.check_tools()


@pytest.mark.parametrize("version", ["1.10.5", "0.15.0"])
def test_an_old_terraform_is_refused(programs: Path, version: str) -> None:
    _program(programs, "terraform", f"""echo '{{"terraform_version": "{version}"}}'""")
    with pytest.raises(UserError, match=rf"Terraform 1\.11\.0 or newer .* terraform is {version}"):
        install.check_tools()


@pytest.mark.parametrize("version", ["1.11.0", "1.12.0-beta1", "2.0.0"])
def test_a_newer_terraform_is_taken(programs: Path, version: str) -> None:
    _program(programs, "terraform", f"""echo '{{"terraform_version": "{version}"}}'""")
    install.check_tools()


@pytest.mark.parametrize("script", ["exit 3", "echo nonsense", "echo '{}'"])
def test_a_terraform_that_tells_no_version_is_refused(programs: Path, script: str) -> None:
    _program(programs, "terraform", script)
    with pytest.raises(UserError, match="does not answer with a version"):
        install.check_tools()


def test_an_old_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "MINIMUM_PYTHON", (9, 9))
    with pytest.raises(UserError, match=r"Python 3\.11 or newer is needed"):
        install.check_tools()


def test_without_root_the_exact_command_is_printed_and_nothing_is_done(
    programs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _program(programs, "apt-get", f"touch {programs}/called")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UserError, match=r"as root.*: apt-get install --no-install-recommends pgbouncer sqitch$"):
        install.install_debian_packages(["pgbouncer", "sqitch"])
    assert not (programs / "called").exists()
    assert capsys.readouterr().out == ""


def test_another_system_gets_the_list(programs: Path) -> None:
    with pytest.raises(UserError, match="missing: pgbouncer"):
        install.install_debian_packages(["pgbouncer"])


@pytest.mark.usefixtures("programs")
def test_a_program_not_on_path_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        install,
        "debian_packages",
        lambda _: {"git": "git", "x": "no-such-program", "y": "/no/such/*/file", "z": "/etc/host*"},
    )
    assert install.missing_debian_packages() == ["x", "y"]


@pytest.fixture
def as_root(programs: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same programs, for one who may install packages, with nothing outside of a test's folder written to."""
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(install, "LOG", programs / "install.log")
    monkeypatch.setattr(install, "SERVICE_POLICY", programs / "policy-rc.d")
    return programs


def test_what_a_killed_run_began_is_finished_and_lists_are_refreshed(as_root: Path) -> None:
    for name in ("apt-get", "dpkg"):
        script = (
            f'echo "{name} $1" >> {as_root}/calls; [ "$1" = update ] && touch {as_root}/fresh; [ "$1" = --configure ]'
        )
        _program(as_root, name, f"{script} || [ -e {as_root}/fresh ]")
    install.install_debian_packages(["x"])
    calls = (as_root / "calls").read_text().splitlines()
    assert calls == ["apt-get install", "dpkg --configure", "apt-get update", "apt-get install"]


def test_a_package_that_cannot_be_had_is_named(as_root: Path) -> None:
    for name in ("apt-get", "dpkg"):
        _program(as_root, name, "exit 100")
    with pytest.raises(UserError, match=r"'apt-get install --no-install-recommends x' failed; its output is in"):
        install.install_debian_packages(["x"])


@pytest.mark.parametrize("left_behind", [False, True])
def test_debian_starts_no_service_meanwhile(as_root: Path, left_behind: bool) -> None:
    policy = as_root / "policy-rc.d"
    _program(as_root, "apt-get", f"{policy}; echo $? >> {as_root}/answers; cp {policy} {as_root}/kept")
    install.install_debian_packages(["x"])
    if left_behind:  # by a kill
        shutil.copy(as_root / "kept", policy)
        install.install_debian_packages(["x"])
    assert set((as_root / "answers").read_text().split()) == {"101"}
    assert not policy.exists()


def test_anothers_policy_on_services_stays(as_root: Path) -> None:
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


def test_ctrl_c_lets_debian_packages_be_set_up(as_root: Path) -> None:
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
    """What would be run to fill a `.venv` that nobody has made yet; the last step leaves uv as the real one does."""
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


def test_packages_that_were_cut_off_are_unpacked_again(steps: list[Sequence[str]]) -> None:
    install.install_python_packages()
    assert [command[-1] == "--reinstall" for command in steps] == [False, False, False]
    assert install.python_packages_are_current()
    install.install_python_packages()  # the lock file has changed: what is there is whole
    assert steps[-1][-1] != "--reinstall"
    install.STAMP.unlink()
    install.install_python_packages()
    assert steps[-1][-1] == "--reinstall"


def test_a_python_that_cannot_make_environments_needs_a_package(
    steps: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "debian_packages", lambda _: {})
    assert install.missing_debian_packages() == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert install.missing_debian_packages() == ["python3-venv"]
    install.install_python_packages()
    assert install.missing_debian_packages() == []


def test_uv_is_installed_by_its_hashes() -> None:
    lines = install.uv_requirement(install.LOCK.read_text()).strip().splitlines()
    assert lines[0].startswith("uv==")
    assert len(lines) > 1
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:])


def test_a_lock_without_uv_is_refused() -> None:
    with pytest.raises(UserError, match="pins no uv"):
        install.uv_requirement("boto3==1.0\n")


def test_an_interrupted_installation_is_not_taken_for_a_complete_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "STAMP", tmp_path / "stamp")
    assert not install.python_packages_are_current()
    (tmp_path / "stamp").write_text(install.lock_digest() + "\n")
    assert install.python_packages_are_current()
    (tmp_path / "stamp").write_text("other")
    assert not install.python_packages_are_current()
