"""Run a function: read events from standard input as JSON lines, and write its answers to standard output likewise.

It does the same as awslambdaric's loop, without HTTP to the runtime API, and is the same for every candidate:
``python -I runner.py FOLDER MODULE``.
"""

import importlib
import json
import os
import sys
from types import SimpleNamespace


def main() -> None:
    """Answer events until standard input ends."""
    sys.path.insert(0, sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the function's log
    handler = importlib.import_module(sys.argv[2]).handler
    context = SimpleNamespace(aws_request_id="bench", get_remaining_time_in_millis=lambda: 28_000)
    for line in sys.stdin:
        answers.write(json.dumps(handler(json.loads(line), context)) + "\n")
        answers.flush()


main()
