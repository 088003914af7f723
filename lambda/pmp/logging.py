"""Structured logs: one JSON object a line on standard output, which Lambda hands to CloudWatch.

Values are JSON-encoded, so a line break or a control character from a client can never start a line of its own.
"""

import json
import sys
import time
import traceback

_bound: dict[str, object] = {}


def bind(**fields: object) -> None:
    """Replace the fields that every following line carries (the request's id, the client's), once an invocation."""
    _bound.clear()
    _bound.update(fields)


def log(message: str, *, level: str = "info", error: BaseException | None = None, **fields: object) -> None:
    """Write one line.

    Args:
        message: what happened, a constant sentence; what varies goes into ``fields``.
        level: ``info``, ``warning`` or ``error``. The alarms count ``error``.
        error: its type, text and traceback are added.
        fields: JSON-encodable values; anything else is written as its ``str``.
    """
    line: dict[str, object] = {"time": round(time.time(), 3), "level": level, "message": message, **_bound, **fields}
    if error is not None:
        line["error"] = f"{type(error).__name__}: {error}"
        line["traceback"] = "".join(traceback.format_exception(error))[-4000:]
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()
