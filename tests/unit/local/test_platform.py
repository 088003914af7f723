"""The platform refuses an unusable instance before it creates anything, and ``down`` removes all of an instance."""

import io
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from checks.stack import free_port
from local import processes, services
from local.environments import Environment
from local.instance import PORTS_PER_INSTANCE, Instance
from local.platform import Platform
from ops.errors import UserError


def _platform(instance: Instance) -> Platform:
    return Platform(instance, Console(file=io.StringIO()))


@pytest.fixture
def fresh(instance: Instance) -> Instance:
    """An instance that has never been up."""
    instance.directory.rmdir()
    return instance


PORTS: dict[str, Callable[[Instance], int]] = {
    "aws": lambda instance: instance.aws_port,
    "registry": lambda instance: instance.registry_port,
    "vendor-list": lambda instance: instance.vendor_list_port,
    "PostgreSQL of local": lambda instance: instance.postgres_port("local"),
    "PgBouncer of local": lambda instance: instance.pgbouncer_port("local"),
}


@pytest.mark.parametrize("name", PORTS)
def test_occupied_port_is_refused_before_anything_is_created(fresh: Instance, name: str) -> None:
    port = PORTS[name](fresh)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(UserError) as caught:
        _platform(fresh).up("local")
    assert str(caught.value).startswith(f"port {port}, which {name} needs, is taken by process {os.getpid()} (")
    assert not fresh.directory.exists()


def test_ports_of_all_environments_are_checked_before_any_starts(fresh: Instance) -> None:
    with socket.create_server(("127.0.0.1", fresh.pgbouncer_port("prod"))), pytest.raises(UserError) as caught:
        _platform(fresh).start_environments(["dev", "prod"])
    assert "which PgBouncer of prod needs, is taken" in str(caught.value)
    assert not fresh.directory.exists()


def test_running_instance_cannot_change_ports(instance: Instance, tmp_path: Path) -> None:
    instance.record_port_base()
    processes.start(
        services.records(instance),
        services.REGISTRY,
        [sys.executable, "-c", "import time; time.sleep(600)"],
        port=instance.registry_port,
        log=tmp_path / "log",
        environment=os.environ,
        directory_to_run_in=tmp_path,
    )
    moved = replace(instance, port_base=instance.port_base + 20)
    with pytest.raises(UserError, match=rf"'trial' runs on the ports from {instance.port_base}: unset PMP_PORT"):
        _platform(moved).up("local")
    assert moved.recorded_port_base == instance.port_base


def test_refused_instance_leaves_no_files(tmp_path: Path) -> None:
    instance = Instance("trial", free_port(PORTS_PER_INSTANCE), tmp_path / ".pmp")
    with socket.create_server(("127.0.0.1", instance.aws_port)), pytest.raises(UserError):
        _platform(instance).up("local")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("removed", ["processes", "."])
def test_down_stops_servers_without_records(tmp_path: Path, removed: str) -> None:
    instance = Instance("trial", free_port(PORTS_PER_INSTANCE), tmp_path / ".pmp")
    instance.directory.mkdir(parents=True)
    environment = Environment(instance, "dev")
    services.start_registry(instance)
    environment.up()
    home = environment.cluster.home.directory
    shutil.rmtree(instance.directory / removed)
    assert processes.listener(instance.registry_port)
    assert set(_platform(instance).down()) == {"registry", "database (dev)"}
    assert not processes.port_is_open(instance.registry_port)
    assert not processes.port_is_open(instance.postgres_port("dev"))
    assert not home.exists()
    assert list(tmp_path.iterdir()) == []


def test_down_does_not_stop_other_programs_on_its_ports(tmp_path: Path) -> None:
    instance = Instance("trial", free_port(PORTS_PER_INSTANCE), tmp_path / ".pmp")
    script = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', int(sys.argv[1]))); print(flush=True); s.accept()"
    )
    command = [sys.executable, "-c", script, str(instance.registry_port), "local.registry"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, start_new_session=True) as other:
        try:
            assert other.stdout
            other.stdout.readline()
            assert _platform(instance).down() == []
            assert other.poll() is None
        finally:
            other.kill()
    assert list(tmp_path.iterdir()) == []
