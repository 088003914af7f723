"""Long-running processes of the platform: start them detached, record them on disk, find them again and end them.

A record identifies a process by its id and its start time, so a process that has reused the id is never mistaken for
ours. Each process leads its own session, through which its children are found even after its death.
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

from ops import files
from ops.errors import UserError

_STOP_SECONDS = 20


@dataclass(frozen=True)
class Record:
    """The record of a started process. ``started`` is its start time in seconds since the epoch."""

    name: str
    pid: int
    started: float
    port: int
    log: str

    def process(self) -> psutil.Process | None:
        """Return the live process of this record, or None if it has ended or is a zombie."""
        try:
            process = psutil.Process(self.pid)
            # The kernel's clock ticks 100 times a second; psutil adds the boot time to it.
            same = abs(process.create_time() - self.started) < 0.1
            return process if same and _lives(process) else None
        except psutil.NoSuchProcess:
            return None


def _path(directory: Path, name: str) -> Path:
    return directory / f"{name}.json"


def read(directory: Path, name: str) -> Record | None:
    """Return the record of ``name`` in ``directory``, or None if it is missing or cannot be read."""
    try:
        return Record(**json.loads(_path(directory, name).read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def is_running(directory: Path, name: str) -> bool:
    """Whether the process that the record of ``name`` describes is alive."""
    record = read(directory, name)
    return record is not None and record.process() is not None


def of_pid(name: str, pid: int, port: int, log: str) -> Record:
    """Return a record for a live process that was not started by `start`."""
    return Record(name, pid, psutil.Process(pid).create_time(), port, log)


def start(
    directory: Path,
    name: str,
    command: Sequence[str],
    *,
    port: int,
    log: Path,
    environment: Mapping[str, str],
    directory_to_run_in: Path,
) -> Record:
    """Start ``command`` detached from this terminal, append its output to ``log``, and write its record.

    Raises:
        UserError: ``port`` is taken.
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
            cwd=directory_to_run_in,
            start_new_session=True,
        )
    record = Record(name, process.pid, psutil.Process(process.pid).create_time(), port, str(log))
    files.replace(_path(directory, name), json.dumps(asdict(record)))
    return record


def stop(directory: Path, name: str) -> bool:
    """End the process of ``name`` and all processes of its session; return whether anything was running.

    SIGTERM first, SIGKILL after 20 s.
    """
    record = read(directory, name)
    if record is None:
        return False
    leader = record.process()
    if leader is not None:
        leader.send_signal(signal.SIGTERM)
        _wait_for([leader])
    left = session_is_alive(record)
    end_session(record)
    _path(directory, name).unlink(missing_ok=True)
    return leader is not None or left


def _wait_for(ending: Sequence[psutil.Process]) -> None:
    """Wait until all have ended, at most 20 s; a zombie, which only waits for its parent, counts as ended."""
    deadline = time.monotonic() + _STOP_SECONDS
    while any(_lives(process) for process in ending) and time.monotonic() < deadline:
        time.sleep(0.02)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _quietly_kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def _session(record: Record) -> list[psutil.Process]:
    """Return the record's descendants and the live processes of its session that started no earlier than it."""
    leader = record.process()
    # PostgreSQL puts each of its children into a separate session.
    members = leader.children(recursive=True) if leader else []
    for process in psutil.process_iter():
        try:
            ours = os.getsid(process.pid) == record.pid and process.create_time() >= record.started - 0.1
            if ours and process not in members and _lives(process):
                members.append(process)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
    return members


def session_is_alive(record: Record) -> bool:
    """Whether the process of ``record`` or anything it started still runs."""
    return bool(_session(record))


def end_session(record: Record) -> None:
    """Kill what is left of the process of ``record`` and of everything that it started."""
    left = _session(record)
    for process in left:
        _quietly_kill(process)
    _wait_for(left)


def memory(record: Record) -> int:
    """Return the memory of a process and its children in bytes; shared memory is divided among them (PSS)."""
    total = 0
    for process in _session(record):
        try:
            total += process.memory_full_info().pss
        except psutil.AccessDenied:
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
    """Check that nothing listens on a port.

    Raises:
        UserError: the port is taken; the message names the listening process if the system reveals it.
    """
    if port_is_open(port):
        raise UserError(
            f"port {port}, which {name} needs, is taken{_listener(port)}: stop that, or choose other ports with "
            "PMP_PORT_BASE=<first of 40 free ports>"
        )


def _listener(port: int) -> str:
    found = listener(port)
    try:
        return f" by process {found.pid} ({found.name()})" if found else ""
    except psutil.Error:
        return ""


def listener(port: int) -> psutil.Process | None:
    """Return the process that listens on ``port``, or None if there is none or the system does not reveal it."""
    try:
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
                return psutil.Process(connection.pid)
    except psutil.Error:
        return None
    return None


def wait_until(ready: Callable[[], bool], directory: Path, name: str, seconds: float) -> None:
    """Wait until ``ready()`` is true.

    Raises:
        UserError: the process ended or was not ready in time; the message quotes or names its log.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        record = read(directory, name)
        if record is None or record.process() is None:
            raise UserError(f"{name} ended while starting{_last_words(record)}")
        if time.monotonic() > deadline:
            raise UserError(f"{name} does not answer on port {record.port} after {seconds:.0f} s: see {record.log}")
        time.sleep(0.1)


def _last_words(record: Record | None) -> str:
    if record is None:
        return ""
    lines = Path(record.log).read_text(errors="replace").strip().splitlines()
    return f": {lines[-1].strip()} (log: {record.log})" if lines else f" (log, empty: {record.log})"


def live_pid(path: Path, program: str) -> int | None:
    """Return the process id on the first line of a server's pid file if that process is alive and runs ``program``.

    The file outlives a ``kill -9``, and another program may have reused the id since.
    """
    try:
        process = psutil.Process(int(path.read_text().split("\n", 1)[0]))
        return process.pid if _lives(process) and process.name() == program else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


def working_in(directory: Path) -> list[int]:
    """Return the ids of the live processes whose working directory is ``directory``, as far as we may see them."""
    return [process.pid for process in psutil.process_iter(["cwd"]) if process.info["cwd"] == str(directory)]


def end(pid: int, stop_signal: signal.Signals, seconds: float) -> None:
    """Signal a process and wait until it is gone.

    Raises:
        TimeoutError: it still runs after ``seconds``.
    """
    try:
        process = psutil.Process(pid)
        process.send_signal(stop_signal)
    except psutil.NoSuchProcess:
        return
    deadline = time.monotonic() + seconds
    while _lives(process):
        if time.monotonic() > deadline:
            raise TimeoutError(f"process {pid} did not end within {seconds:.0f} s of {stop_signal.name}")
        time.sleep(0.02)
