import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from checks.stack import free_port
from local import processes
from ops.errors import UserError

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
# A parent that starts a child and prints its process id.
PARENT = [
    sys.executable,
    "-c",
    (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
        "print(p.pid, flush=True); time.sleep(60)"
    ),
]


def _start(directory: Path, command: list[str], name: str = "one", port: int = 0) -> processes.Record:
    return processes.start(
        directory,
        name,
        command,
        port=port or free_port(),
        log=directory / f"{name}.log",
        environment=os.environ,
        directory_to_run_in=directory,
    )


def test_started_process_runs_until_it_is_stopped(tmp_path: Path) -> None:
    record = _start(tmp_path, SLEEP)
    assert processes.is_running(tmp_path, "one")
    assert processes.read(tmp_path, "one") == record
    deadline = time.monotonic() + 20  # a program that has just started has no pages yet
    while processes.memory(record) <= 1024**2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert processes.memory(record) > 1024**2
    assert processes.stop(tmp_path, "one")
    assert not processes.is_running(tmp_path, "one")
    assert not processes.stop(tmp_path, "one")


def test_child_of_a_killed_process_is_stopped(tmp_path: Path) -> None:
    record = _start(tmp_path, PARENT)
    log = Path(record.log)
    while not log.read_text():
        time.sleep(0.02)
    child = psutil.Process(int(log.read_text()))
    os.kill(record.pid, signal.SIGKILL)
    os.waitpid(record.pid, 0)
    assert not processes.is_running(tmp_path, "one")
    assert child.is_running()
    assert processes.stop(tmp_path, "one")
    assert not processes._lives(child)


def test_process_with_a_reused_pid_is_not_stopped(tmp_path: Path) -> None:
    record = _start(tmp_path, SLEEP, "other")
    earlier = replace(record, name="one", started=record.started - 100)
    (tmp_path / "one.json").write_text((tmp_path / "other.json").read_text().replace(str(record.started), "1.0"))
    assert earlier.process() is None
    assert not processes.is_running(tmp_path, "one")
    processes.end_session(replace(earlier, pid=os.getpid()))
    assert processes.is_running(tmp_path, "other")
    processes.stop(tmp_path, "other")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_truncated_record_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "one.json").write_text(text)
    assert processes.read(tmp_path, "one") is None
    assert not processes.stop(tmp_path, "one")


def test_error_names_the_process_that_uses_a_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
        with pytest.raises(UserError) as caught:
            _start(tmp_path, SLEEP, port=port)
    expected = f"port {port}, which one needs, is taken by process {os.getpid()}"
    assert str(caught.value).startswith(expected)
    assert "PMP_PORT_BASE" in str(caught.value)
    assert not (tmp_path / "one.json").exists()


def test_error_quotes_a_process_that_ends_at_once(tmp_path: Path) -> None:
    _start(tmp_path, [sys.executable, "-c", "import sys; sys.exit('no such certificate')"])
    with pytest.raises(UserError, match=r"one ended while starting: no such certificate \(log: "):
        processes.wait_until(lambda: False, tmp_path, "one", 10)


def test_process_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    record = _start(tmp_path, SLEEP)
    with pytest.raises(UserError, match=f"one does not answer on port {record.port} after 0 s"):
        processes.wait_until(lambda: False, tmp_path, "one", 0.2)
    processes.stop(tmp_path, "one")
