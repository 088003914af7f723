"""One invocation in a separate process that a test can kill; reads the notification from standard input."""

import json
import sys

from pmp import imports, leases
from pmp.imports import records, worker

from tests.integration.imports.conftest import Context

if __name__ == "__main__":
    worker.LARGEST_BATCH_LINES = int(sys.argv[1])
    records._BLOCK_RECORDS = int(sys.argv[1])
    leases.SECONDS = int(sys.argv[2])
    worker.LONGEST_BATCH_BYTES = 1 << 14
    imports.handle_notification(json.load(sys.stdin), Context())
