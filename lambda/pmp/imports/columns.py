"""From a row of CSV to its cells by column, and from the header to the columns."""

import csv
import re
from collections import Counter
from collections.abc import Container, Mapping

from pmp.imports.errors import FileError, LineError
from pmp.imports.rejects import COLUMN as REASON

FIXED = ("id", "user_id", "email", "occurred_at")
"""Columns that are not named after a consent."""

_LONG_FORM = {"consent", "enabled"}
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

    Args:
        header: the header's row.
        delimiter: between cells.

    Raises:
        FileError: a column appears more than once, or one in the middle has no name.
    """

    def __init__(self, header: str, delimiter: str) -> None:
        self.delimiter = delimiter
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
    if set(others) == _LONG_FORM:
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


def choices(row: Mapping[str, str]) -> list[dict[str, object]]:
    """The choices on a row without its fixed columns, as in an event.

    Raises:
        LineError: an answer is neither true nor false.
    """
    if row.keys() == _LONG_FORM:
        return [{"id": row["consent"].strip(), "enabled": boolean(row["enabled"], "enabled")}]
    return [{"id": name, "enabled": boolean(cell, name)} for name, cell in row.items() if cell and not cell.isspace()]


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
