"""Long-running processes of the platform: started detached, remembered on disk, recognised again, ended.

A record names the process by its id and its start time together, so a number that the system has given to another
process since is never mistaken for ours. Each process leads a session of its own, which is how its children are found
even after it died.
"""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from local.instance import PlatformError

_STOP_SECONDS = 20


@dataclass(frozen=True)
class Record:
    """What is known of a started process. ``started`` is its start time in seconds since the epoch."""

    name: str
    pid: int
    started: float
    port: int
    log: str

    def process(self) -> psutil.Process | None:
        """The live process of this record, or None when it has ended (or is a zombie)."""
        try:
            process = psutil.Process(self.pid)
            # The kernel's clock ticks 100 times a second; psutil adds the boot time to it.
            same = abs(process.create_time() - self.started) < 0.1
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


def _path(directory: Path, name: str) -> Path:
    return directory / f"{name}.json"


def read(directory: Path, name: str) -> Record | None:
    """The record of ``name`` in ``directory``, or None when there is none that can be read."""
    try:
        return Record(**json.loads(_path(directory, name).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def is_running(directory: Path, name: str) -> bool:
    """Whether the process that the record of ``name`` describes is alive."""
    record = read(directory, name)
    return record is not None and record.process() is not None


def start(
    directory: Path, name: str, command: Sequence[str], *, port: int, log: Path, environment: Mapping[str, str]
) -> Record:
    """Start ``command`` detached from this terminal, its output appended to ``log``, and remember it.

    Raises:
        PlatformError: ``port`` is taken.
    """
    require_free_port(port, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            start_new_session=True,
        )
    record = Record(name, process.pid, psutil.Process(process.pid).create_time(), port, str(log))
    partial = _path(directory, name).with_suffix(".partial")
    partial.write_text(json.dumps(asdict(record)))
    partial.replace(_path(directory, name))
    return record


def stop(directory: Path, name: str) -> bool:
    """End the process of ``name`` and whatever it left in its session; whether anything was running.

    SIGTERM first, SIGKILL after 20 s.
    """
    record = read(directory, name)
    if record is None:
        return False
    leader = record.process()
    if leader is not None:
        leader.send_signal(signal.SIGTERM)
        _gone, alive = psutil.wait_procs([leader], timeout=_STOP_SECONDS)
        for process in alive:
            process.kill()
    left = [process for process in _session(record) if process.pid != os.getpid()]
    for process in left:
        _quietly_kill(process)
    psutil.wait_procs(left, timeout=_STOP_SECONDS)
    _path(directory, name).unlink(missing_ok=True)
    return leader is not None or bool(left)


def _quietly_kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _session(record: Record) -> list[psutil.Process]:
    """Live processes of the session that ``record`` led, started no earlier than it."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == record.pid and process.create_time() >= record.started - 0.1:
                members.append(process)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
    return members


def memory(record: Record) -> int:
    """Resident bytes of a process and its session; memory shared between them counts once for each."""
    total = 0
    for process in _session(record):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def port_is_open(port: int) -> bool:
    """Whether something listens on 127.0.0.1:``port``."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def require_free_port(port: int, name: str) -> None:
    """Refuse a port that something else listens on.

    Raises:
        PlatformError: it is taken; the message names who takes it where the system tells.
    """
    if port_is_open(port):
        raise PlatformError(
            f"port {port}, which {name} needs, is taken{_listener(port)}: stop that, or choose other ports with "
            "PMP_PORT_BASE=<first of 20 free ports>"
        )


def _listener(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        return ""
    return ""


def wait_until(ready: Callable[[], bool], directory: Path, name: str, seconds: float) -> None:
    """Wait until ``ready()`` is true.

    Raises:
        PlatformError: the process ended, or was not ready in time; the message quotes the last line of its log.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        record = read(directory, name)
        if record is None or record.process() is None:
            raise PlatformError(f"{name} ended while starting{_last_words(record)}")
        if time.monotonic() > deadline:
            raise PlatformError(f"{name} does not answer on port {record.port} after {seconds:.0f} s: see {record.log}")
        time.sleep(0.1)


def _last_words(record: Record | None) -> str:
    if record is None:
        return ""
    lines = Path(record.log).read_text(errors="replace").strip().splitlines()
    return f": {lines[-1].strip()} (log: {record.log})" if lines else f" (log, empty: {record.log})"
