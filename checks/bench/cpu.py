"""The processor time that programs take."""

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
