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


def test_the_default_instance_is_local_on_24500() -> None:
    assert instance.current() == Instance("local", 24500)


@pytest.mark.parametrize("name", ["test", "a", "b-2", "z" * 31])
def test_another_instance_has_ports_of_its_own_below_the_ephemeral_range(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("PMP_INSTANCE", name)
    base = instance.current().port_base
    assert base == instance.current().port_base
    assert 25000 <= base <= 32768 - 20


@pytest.mark.parametrize("name", ["Test", "../up", "a b", "-a", "a/b", "z" * 32])
def test_a_name_that_is_no_folder_name_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PMP_INSTANCE", name)
    with pytest.raises(UserError, match="PMP_INSTANCE="):
        instance.current()


@pytest.mark.parametrize("base", ["80", "65530", "x", "-1", "24500.5"])
def test_a_port_base_that_cannot_be_used_is_refused(monkeypatch: pytest.MonkeyPatch, base: str) -> None:
    monkeypatch.setenv("PMP_PORT_BASE", base)
    with pytest.raises(UserError, match=r"PMP_PORT_BASE=.* 1024 to 65495"):
        instance.current()


def test_the_port_base_of_last_time_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
    assert len(set(ports)) == len(ports) == 3 + 2 * len(ENVIRONMENTS)
    assert max(ports) < 24500 + 40


def test_tools_never_see_the_callers_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "company")
    monkeypatch.setenv("TF_WORKSPACE", "prod")
    environment = instance.clean_environment()
    assert not [name for name in environment if name.startswith(("AWS_", "TF_"))]
    assert "PATH" in environment


@pytest.mark.parametrize("text", ["", "24x"])
def test_a_record_of_the_port_base_that_cannot_be_read_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ".pmp/local").mkdir(parents=True)
    (tmp_path / ".pmp/local/port_base").write_text(text)
    assert instance.current().port_base == 24500
