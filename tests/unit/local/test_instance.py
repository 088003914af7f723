from pathlib import Path

import pytest

from local import instance
from local.instance import Instance
from ops.errors import UserError
from ops.settings import ENVIRONMENTS


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PMP_INSTANCE", raising=False)
    monkeypatch.delenv("PMP_PORT_BASE", raising=False)
    monkeypatch.setattr(instance, "ROOT", tmp_path)


def test_default_instance_is_local_on_24500() -> None:
    assert instance.current() == Instance("local", 24500)


@pytest.mark.parametrize("name", ["test", "a", "b-2", "z" * 31])
def test_named_instance_has_stable_ports_below_the_ephemeral_range(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PMP_INSTANCE", name)
    base = instance.current().port_base
    assert base == instance.current().port_base
    assert 25000 <= base <= 32768 - 20


@pytest.mark.parametrize("name", ["Test", "../up", "a b", "-a", "a/b", "z" * 32])
def test_name_that_cannot_be_a_folder_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PMP_INSTANCE", name)
    with pytest.raises(UserError, match="PMP_INSTANCE="):
        instance.current()


@pytest.mark.parametrize("base", ["80", "65530", "x", "-1", "24500.5"])
def test_unusable_port_base_is_refused(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setenv("PMP_PORT_BASE", base)
    with pytest.raises(UserError, match=r"PMP_PORT_BASE=.* 1024 to 65495"):
        instance.current()


def test_recorded_port_base_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".pmp/local").mkdir(parents=True)
    (tmp_path / ".pmp/local/port_base").write_text("30100\n")
    assert instance.current().port_base == 30100
    monkeypatch.setenv("PMP_PORT_BASE", "30200")
    assert instance.current().port_base == 30200


def test_no_two_servers_share_a_port() -> None:
    one = Instance("local", 24500)
    ports = [one.aws_port, one.registry_port, one.vendor_list_port]
    ports += [one.postgres_port(name) for name in ENVIRONMENTS]
    ports += [one.pgbouncer_port(name) for name in ENVIRONMENTS]
    ports += one.doors
    assert len(set(ports)) == len(ports) == 3 + 3 * len(ENVIRONMENTS)
    assert max(ports) < 24500 + 40


def test_tools_do_not_inherit_aws_or_terraform_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "company")
    monkeypatch.setenv("TF_WORKSPACE", "prod")
    environment = instance.clean_environment()
    assert not [name for name in environment if name.startswith(("AWS_", "TF_"))]
    assert "PATH" in environment


@pytest.mark.parametrize("text", ["", "24x"])
def test_unreadable_port_base_record_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / ".pmp/local").mkdir(parents=True)
    (tmp_path / ".pmp/local/port_base").write_text(text)
    assert instance.current().port_base == 24500
