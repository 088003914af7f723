"""The function's own import in a fresh process, measured from inside: notification on standard input."""

import json
import resource
import sys
import time

from pmp import imports


class Context:
    """What the worker asks of Lambda's context."""

    invoked_function_arn = "pmp"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 900_000


if __name__ == "__main__":
    notice = json.load(sys.stdin)
    began, cpu = time.perf_counter(), time.process_time()
    imports.handle_notification(notice, Context())
    measured = {
        "seconds": time.perf_counter() - began,
        "cpu_seconds": time.process_time() - cpu,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(measured))
