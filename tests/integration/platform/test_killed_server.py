"""A killed database server starts again, even if its process or PID file still exists."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from checks.stack import free_port
from local.servers.certificates import Authority
from local.servers.postgres import Cluster

ROOT = Path(__file__).resolve().parents[3]

# Starts the server and never reaps it, as an init process that reaps late or not at all.
_PARENT = """
import sys, time
from pathlib import Path
from local.servers.certificates import Authority
from local.servers.postgres import Cluster
directory, port = Path(sys.argv[1]), int(sys.argv[2])
authority = Authority(directory / "ca")
certificate = authority.issue("database", ["localhost"], ["127.0.0.1"])
Cluster(directory / "postgres", port, certificate, authority).start()
print("started", flush=True)
time.sleep(600)
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    authority = Authority(tmp_path / "ca")
    certificate = authority.issue("database", ["localhost"], ["127.0.0.1"])
    cluster = Cluster(tmp_path / "postgres", free_port(), certificate, authority)
    yield cluster
    cluster.destroy()


@contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        process.kill()


def _wait_for(state: str, process: psutil.Process) -> None:
    deadline = time.monotonic() + 10
    while process.status() != state:
        assert time.monotonic() < deadline, process
        time.sleep(0.01)


def test_cluster_starts_while_its_killed_server_is_a_zombie(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PARENT, str(tmp_path), str(cluster.port)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent, _ended(parent):
        assert parent.stdout
        assert parent.stdout.readline() == "started\n"
        assert cluster.pid
        killed = psutil.Process(cluster.pid)
        killed.kill()
        _wait_for(psutil.STATUS_ZOMBIE, killed)
        cluster.start()
        assert cluster.pid != killed.pid
        assert killed.status() == psutil.STATUS_ZOMBIE
    assert cluster.psql("SELECT 1") == "1"


def test_cluster_starts_when_another_server_has_its_old_pid(cluster: Cluster, tmp_path: Path) -> None:
    other = Cluster(tmp_path / "other", free_port(), cluster.certificate, cluster.authority)
    try:
        other.start()
        cluster.start()
        killed = cluster.pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        # As after a reboot: the PID in the file now belongs to another server.
        pid_file = cluster.data / "postmaster.pid"
        pid_file.write_text(pid_file.read_text().replace(str(killed), str(other.pid), 1))
        assert not cluster.is_running
        cluster.start()
        assert cluster.is_running
        assert cluster.psql("SELECT 1") == other.psql("SELECT 1") == "1"
    finally:
        other.destroy()


def test_killed_server_gives_no_key_twice(cluster: Cluster) -> None:
    """Migrations make a table and its first rows in one transaction."""
    cluster.start()
    cluster.psql(
        "BEGIN; CREATE TABLE counted (n integer GENERATED ALWAYS AS IDENTITY, t text); "
        "INSERT INTO counted (t) VALUES ('a'), ('b'); COMMIT"
    )
    cluster.psql("INSERT INTO counted (t) VALUES ('c')")
    cluster.kill()
    cluster.start()
    assert int(cluster.psql("INSERT INTO counted (t) VALUES ('d') RETURNING n").split()[0]) > 3
