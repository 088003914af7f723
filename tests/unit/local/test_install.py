import contextlib
import os
from pathlib import Path

import pytest

from local import install
from local.install import InstallError


def _program(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with git and a good Terraform alone, and a provider mirror."""
    _program(tmp_path, "git", "true")
    _program(tmp_path, "terraform", """echo '{"terraform_version": "1.11.4"}'""")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(install, "find_mirror", lambda: tmp_path)
    return tmp_path


@pytest.mark.usefixtures("programs")
def test_all_tools_there() -> None:
    install.check_tools()


@pytest.mark.parametrize("tool", ["git", "terraform"])
def test_a_missing_tool_is_named(programs: Path, tool: str) -> None:
    (programs / tool).unlink()
    with pytest.raises(InstallError, match=f"^{tool} is not on PATH: install "):
        install.check_tools()


@pytest.mark.parametrize("version", ["1.10.5", "0.15.0"])
def test_an_old_terraform_is_refused(programs: Path, version: str) -> None:
    _program(programs, "terraform", f"""echo '{{"terraform_version": "{version}"}}'""")
    with pytest.raises(InstallError, match=rf"Terraform 1\.11\.0 or newer .* terraform is {version}"):
        install.check_tools()


@pytest.mark.parametrize("version", ["1.11.0", "1.12.0-beta1", "2.0.0"])
def test_a_newer_terraform_is_taken(programs: Path, version: str) -> None:
    _program(programs, "terraform", f"""echo '{{"terraform_version": "{version}"}}'""")
    install.check_tools()


@pytest.mark.parametrize("script", ["exit 3", "echo nonsense", "echo '{}'"])
def test_a_terraform_that_tells_no_version_is_refused(programs: Path, script: str) -> None:
    _program(programs, "terraform", script)
    with pytest.raises(InstallError, match="does not answer with a version"):
        install.check_tools()


def test_an_old_python_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "MINIMUM_PYTHON", (9, 9))
    with pytest.raises(InstallError, match=r"Python 3\.11 or newer is needed"):
        install.check_tools()


def test_without_root_the_exact_command_is_printed_and_nothing_is_done(
    programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _program(programs, "apt-get", f"touch {programs}/called")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(InstallError, match=r"as root.*: apt-get install --no-install-recommends pgbouncer sqitch$"):
        install.install_debian_packages(["pgbouncer", "sqitch"])
    assert not (programs / "called").exists()


def test_another_system_gets_the_list(programs: Path) -> None:
    with pytest.raises(InstallError, match="missing: pgbouncer"):
        install.install_debian_packages(["pgbouncer"])


@pytest.mark.usefixtures("programs")
def test_a_program_not_on_path_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        install, "DEBIAN_PACKAGES", {"git": "git", "x": "no-such-program", "y": "/no/such/*/file", "z": "/etc/host*"}
    )
    assert install.missing_debian_packages() == ["x", "y"]


def test_lists_are_refreshed_when_a_package_is_not_found(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f'echo "$1" >> {programs}/calls; [ "$1" = update ] && touch {programs}/fresh; [ -e {programs}/fresh ]'
    _program(programs, "apt-get", script)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(install, "LOG", programs / "install.log")
    monkeypatch.setattr(install, "_services_stay_down", contextlib.nullcontext)
    install.install_debian_packages(["x"])
    assert (programs / "calls").read_text().split() == ["install", "update", "install"]


def test_uv_is_installed_by_its_hashes() -> None:
    lines = install.uv_requirement(install.LOCK.read_text()).strip().splitlines()
    assert lines[0].startswith("uv==")
    assert len(lines) > 1
    assert all(line.strip().startswith("--hash=sha256:") for line in lines[1:])


def test_a_lock_without_uv_is_refused() -> None:
    with pytest.raises(InstallError, match="pins no uv"):
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
