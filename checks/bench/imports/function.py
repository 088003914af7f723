"""The function's own import in a fresh process, measured from inside: notification on standard input."""

import json
import sys
import time
from pathlib import Path

from pmp import imports


class Context:
    """What the worker asks of Lambda's context."""

    invoked_function_arn = "pmp"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 900_000


def peak_mib() -> float:
    """Of this program alone: getrusage's maximum is that of whoever started it until it is exceeded."""
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
