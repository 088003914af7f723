"""Structured logs: one JSON object per line on standard output, which Lambda sends to CloudWatch.

Values are JSON-encoded, so a line break or a control character from a client cannot start a new line.
"""

import json
import re
import sys
import time
import traceback

_bound: dict[str, object] = {}
_is_plain = re.compile(r"[\w=-]{1,64}", re.ASCII).fullmatch


def bind(**fields: object) -> None:
    """Replace the fields that are added to each following line, such as the request's id and the client's."""
    _bound.clear()
    _bound.update(fields)


def comment() -> str:
    """An SQL comment with the id of the present request or task, by which its statements are found in PostgreSQL's log.

    Empty for an id that could end the comment: AWS makes the ids, but a test or an emulator may send any.
    """
    identifier = str(_bound.get("request_id", ""))
    return f" /*{identifier}*/" if _is_plain(identifier) else ""


def log(message: str, *, level: str = "info", error: BaseException | None = None, **fields: object) -> None:
    """Write one line.

    Args:
        message: a constant sentence that says what happened; variable parts go into ``fields``.
        level: ``info``, ``warning`` or ``error``. The alarms count ``error``.
        error: an exception, of which type, text and traceback are added.
        fields: JSON-encodable values; other values are written as their ``str``.
    """
    line: dict[str, object] = {"time": round(time.time(), 3), "level": level, "message": message, **_bound, **fields}
    if error is not None:
        line["error"] = f"{type(error).__name__}: {error}"
        line["traceback"] = "".join(traceback.format_exception(error))[-4000:]
    sys.stdout.write(json.dumps(line, default=str) + "\n")
    sys.stdout.flush()
