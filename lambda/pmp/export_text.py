"""The text of an export: lines of JSON as the database writes them, or rows of CSV made of them.

A row holds one line. Its choices are lists in the columns ``consent``, ``enabled``, ``version`` and ``value``, with
blanks between their items, so the columns do not depend on the catalogue. ``value`` is empty if no choice has one.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

_CHOICES = ("consent", "enabled", "version", "value")
NO_VALUE = "_"
"""In the column ``value``, where other choices of the row have one. Not a hyphen, with which a formula begins."""

BESIDES = ("exported_user_id", "received_at", "source")
"""Columns that an import passes over. Not ``user_id``: it would find two users on the row."""

_COLUMNS = {
    "users": ("email", "exported_user_id", "consent", "enabled", "value"),
    "choices": ("email", "occurred_at", *_CHOICES, *BESIDES),
    "events": ("id", "email", "occurred_at", *_CHOICES, "context", *BESIDES),
}
"""By contents."""

_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet takes for a formula, some by the full-width forms, or that was escaped.

https://owasp.org/www-community/attacks/CSV_Injection
"""


def escaped(cell: str) -> str:
    """A cell that a spreadsheet shows as text: a quote before what begins like a formula.

    ``unescaped`` takes it away again.
    """
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unescaped(cell: str) -> str:
    """A cell as it was before ``escaped``."""
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def header(contents: str, text_format: str) -> str:
    """What each file begins with: of CSV, the names of the columns."""
    return _written([_COLUMNS[contents]]) if text_format == "csv" else ""


def formatted(contents: str, text_format: str, lines: str) -> str:
    """Lines of JSON in the format of an export.

    Args:
        contents: "users", "choices" or "events".
        text_format: "ndjson" or "csv".
        lines: as the database wrote them, each with its end.
    """
    if text_format == "ndjson":
        return lines
    return _written(_cells(contents, json.loads(line)) for line in lines.split("\n") if line)


def _cells(contents: str, line: dict[str, Any]) -> Iterator[str]:
    consents = line["consents"]
    row = {
        **line,
        "email": line["email"] if contents == "users" else line["user"]["email"],
        "exported_user_id": line["id"] if contents == "users" else line["user_id"],
        "consent": " ".join(choice["id"] for choice in consents),
        "enabled": " ".join(_answer(choice) for choice in consents),
        "version": " ".join(str(choice.get("version", "")) for choice in consents),
        "value": " ".join(map(_value, consents)) if any("value" in choice for choice in consents) else "",
        "context": json.dumps(line["context"], separators=(",", ":"), ensure_ascii=False) if "context" in line else "",
    }
    return (escaped(row[name]) for name in _COLUMNS[contents])


def _answer(choice: dict[str, Any]) -> str:
    # An expired grant is not a denial: see pmp.describe_choice.
    return str(choice.get("reason", "true" if choice["enabled"] else "false"))


def _value(choice: dict[str, Any]) -> str:
    value = choice.get("value", NO_VALUE)
    return value if isinstance(value, str) else "+".join(value) + ("+" if len(value) == 1 else "")


def _written(rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
