"""Run the function's import in this process and print its measurements as JSON; the notification is standard input."""

import json
import sys
import time
from pathlib import Path

from pmp import imports


class Context:
    """The part of Lambda's context that the worker reads."""

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        """Fifteen minutes, Lambda's limit: the measurement never hands over to another invocation."""
        return 900_000


def peak_mib() -> float:
    """Return this process's peak resident memory in MiB.

    The kernel's VmHWM, since getrusage's maximum starts at the parent's.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    notice = json.load(sys.stdin)
    began, cpu = time.perf_counter(), time.process_time()
    imports.handle_notification(notice, Context())
    measured = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(measured))
