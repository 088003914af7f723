"""The processor time that programs take.

/proc counts it in ticks of 10 ms for each process. A few requests of many processes take less, so a process that lives
is asked by its clock, which counts nanoseconds.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

import psutil


def with_children(pid: int) -> float:
    """Return the CPU seconds of a process so far and of all that it started, ended ones as well."""
    root = psutil.Process(pid)
    while True:
        ended = root.cpu_times()
        try:
            used = sum(map(_with_ended_children, [root, *root.children(recursive=True)]))
        except psutil.NoSuchProcess:
            root.status()  # raises if it was the process itself
            continue
        # A process that ended between the two readings may be missing from both: read again.
        if root.cpu_times()[2:4] == ended[2:4]:
            return used


def _with_ended_children(process: psutil.Process) -> float:
    times = process.cpu_times()
    return alone(process.pid) + float(times.children_user + times.children_system)


def alone(pid: int) -> float:
    """Return the CPU seconds of a process so far, without its children.

    Raises:
        psutil.NoSuchProcess: there is none.
    """
    try:
        # The id of a process's clock: https://man7.org/linux/man-pages/man3/clock_getcpuclockid.3.html, as Linux
        # computes it for CPUCLOCK_SCHED.
        return time.clock_gettime(~pid << 3 | 2)
    except OSError as error:
        raise psutil.NoSuchProcess(pid) from error


@contextmanager
def apart(pid: int, others: Collection[int]) -> Iterator[None]:
    """Give a process and all that it started a processor of their own, and leave the rest to others.

    On a machine with one processor nothing changes.

    Args:
        pid: of the process.
        others: process ids of those that get the other processors, with all that they started.
    """
    first, *rest = allowed = psutil.Process().cpu_affinity()
    # In this order, because the others may have started the process.
    _move(others, rest or [first])
    _move({pid}, [first])
    try:
        yield
    finally:
        _move({pid, *others}, allowed)


def _move(pids: Collection[int], processors: list[int]) -> None:
    for root in map(psutil.Process, pids):
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.cpu_affinity(processors)
