"""The processor time that programs take."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

import psutil


def with_children(pid: int) -> float:
    """Return the CPU seconds of a process so far and of all that it started, ended ones as well."""
    root = psutil.Process(pid)
    while True:
        ended = root.cpu_times()
        try:
            alive = [child.cpu_times() for child in root.children(recursive=True)]
        except psutil.NoSuchProcess:
            continue
        # A process that ended between the two readings may be missing from both: read again.
        if root.cpu_times()[2:4] == ended[2:4]:
            own = ended.user + ended.system + ended.children_user + ended.children_system
            return own + sum(sum(times[:4]) for times in alive)


def alone(pid: int) -> float:
    """Return the CPU seconds of a process so far, without its children."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


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
