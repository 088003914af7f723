"""One execution environment of the function: a line of JSON in is an event, a line of JSON out its answer."""

import json
import os
import sys
from typing import Any

from pmp.handler import handler

from checks.gateway import Context

FUNCTION_SECONDS = 300
"""The function's timeout."""


def main() -> None:
    """Answer events until standard input ends. What the function logs goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"answer": handler(json.loads(line), Context(FUNCTION_SECONDS))}
        except Exception as error:  # noqa: BLE001 - Lambda reports it as well
            answer = {"error": repr(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
