"""From a row of CSV to its cells by column, and from the header to the columns."""

import csv
import re
from collections import Counter
from collections.abc import Container, Mapping

from pmp.export_text import BESIDES as EXPORTED
from pmp.export_text import NO_VALUE
from pmp.imports.errors import FileError, LineError
from pmp.imports.rejects import COLUMN as REASON

FIXED = ("id", "user_id", "email", "occurred_at", "context")
"""Columns that are not named after a consent."""

_LONG_FORM = {"consent", "enabled"}
_LONG_FORM_TOO = {"version", "value", *EXPORTED}
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
_BOOLEANS = {"true": True, "false": False, "TRUE": True, "FALSE": False, "True": True, "False": False}
_ANSWERS = re.compile(
    "[01yntfxjos]|yes|no|on|off|ja|nein|oui|non|s[iíì]|wahr|falsch|vrai|faux|vero|falso|verdadero|(un)?subscribed|"
    "opt(ed)?[-_ ](in|out)|(in)?active"
).fullmatch
"""Words for yes and no that say nothing about a person: an error may name them."""


def cells(text: str, delimiter: str) -> list[str]:
    """The cells of a row; a quoted cell may hold delimiters, line ends and doubled quotes.

    Raises:
        LineError: a quoted cell does not end.
    """
    if '"' not in text:
        return text.split(delimiter)
    try:
        return next(csv.reader([text], delimiter=delimiter, skipinitialspace=True, strict=True))
    except (csv.Error, StopIteration):
        detail = "has a quoted cell that does not end, or goes on after its closing quote; a quote in a cell is doubled"
        raise LineError("invalid_csv", "", detail) from None


class Table:
    """The columns of a CSV file as they are in its header, in lower case and without blanks around them.

    Columns at the end of the header that have no name must be empty in every row.

    Attributes:
        is_long: whether the choices are in the columns ``consent`` and ``enabled``.

    Args:
        header: the header's row.
        delimiter: between cells.

    Raises:
        FileError: a column appears more than once, or one in the middle has no name.
    """

    def __init__(self, header: str, delimiter: str) -> None:
        self.delimiter, self.is_long = delimiter, False
        try:
            names = [cell.strip().lower() for cell in cells(header, delimiter)]
        except LineError as error:
            raise FileError(f"the CSV header {error.detail}; nothing was imported") from None
        while names and not names[-1]:
            names.pop()
        self.names = names
        for name, count in Counter(names).items():
            first = names.index(name)
            if not name:
                raise self.fault(f"column {first + 1} has no name")
            if count > 1:
                second = names.index(name, first + 1)
                raise self.fault(f"columns {first + 1} and {second + 1} have the same name{quoted(name)}")

    def fault(self, reason: str) -> FileError:
        """What is wrong with the header, beside how it was read."""
        between = _NAMES.get(self.delimiter, "another character")
        has_header = all("@" not in name for name in self.names)
        hint = "" if has_header else "; the first line has an address instead of names of columns: add a header"
        return FileError(
            f"the CSV header, read with {between} between {len(self.names)} columns, is wrong: {reason}{hint}; "
            "nothing was imported"
        )

    def row(self, text: str) -> dict[str, str]:
        """The row's cells by column.

        Raises:
            LineError: it has more or fewer cells than the header.
        """
        found = cells(text, self.delimiter)
        if len(found) != len(self.names):
            extra = found[len(self.names) :]
            if not extra or any(cell.strip() for cell in extra):
                detail = f"has {len(found)} cells where the header has {len(self.names)} columns"
                raise LineError("wrong_columns", "", detail)
        return dict(zip(self.names, found, strict=False))


def of_events(header: str, delimiter: str, catalogue: Container[str]) -> Table:
    """The columns of a file in PMP's own form.

    Raises:
        FileError: as ``Table``, or the columns are not those of events.
    """
    table = Table(header, delimiter)
    if not {"user_id", "email"} & set(table.names):
        raise table.fault("it needs a column user_id or email")
    others = [name for name in table.names if name not in FIXED and name != REASON]
    if set(others) >= _LONG_FORM and set(others) <= _LONG_FORM | _LONG_FORM_TOO:
        table.is_long = True
        return table
    if not others:
        raise table.fault("it needs a column for each consent, or the two columns consent and enabled")
    for name in others:
        if name not in catalogue:
            raise table.fault(
                f"column {table.names.index(name) + 1}{quoted(name)} is neither a consent of the catalogue nor one of "
                f"{', '.join(FIXED)}; leave it out, or use a mapping that ignores it"
            )
    return table


def choices(row: Mapping[str, str], *, is_long: bool) -> list[dict[str, object]]:
    """The choices on a row without its fixed columns, as in an event.

    Args:
        row: cells by column.
        is_long: see ``Table``. The cells of ``consent``, ``enabled`` and ``version`` are then lists of equal length
            with blanks between their items; ``version`` and ``value`` may also be
            empty. An item of ``value`` is ``_`` for none, or values with ``+`` between them, of which one alone may end
            in ``+``: an array.

    Raises:
        LineError: an answer is neither true nor false, a version is not a number, or a list lacks an item.
    """
    if not is_long:
        return [
            {"id": name, "enabled": boolean(cell, name)} for name, cell in row.items() if cell and not cell.isspace()
        ]
    consents, answers, versions, chosen = (
        row.get(name, "").split() for name in ("consent", "enabled", "version", "value")
    )
    for name, items in (("enabled", answers), ("version", versions), ("value", chosen)):
        if len(items) != len(consents) and (name == "enabled" or items):
            detail = f"has {len(items)} item(s) for the {len(consents)} in the column consent"
            raise LineError("invalid_choices", f"/{name}", detail)
    found: list[dict[str, object]] = [
        {"id": consent, "enabled": boolean(answer, "enabled")}
        for consent, answer in zip(consents, answers, strict=True)
    ]
    for choice, version in zip(found, versions, strict=False):
        if not re.fullmatch(r"[0-9]{1,9}", version):
            raise LineError("invalid_type", "/version", "must be an integer")
        choice["version"] = int(version)
    for choice, value in zip(found, chosen, strict=False):
        if value != NO_VALUE:
            choice["value"] = value.rstrip("+").split("+") if "+" in value else value
    return found


def boolean(cell: str, column: str) -> bool:
    """True or false, in any case.

    Raises:
        LineError: another word; yes, no, 1 and 0 mean one thing in one system and the opposite in another.
    """
    value = _BOOLEANS.get(cell)
    if value is None:
        word = cell.strip().lower()
        value = _BOOLEANS.get(word)
        if value is None:
            found = f'is "{word}"; ' if _ANSWERS(word) else ""
            detail = f"{found}must be true or false; a mapping can say which words mean which"
            raise LineError("invalid_type", f"/{column}", detail)
    return value


def quoted(name: str) -> str:
    """A column's name for an error; empty if it may be a person's data, because the file has no header."""
    return f' ("{name}")' if re.fullmatch(r"[^\W\d][\w .()/-]{0,49}", name) else ""
