"""How a change may touch a table that has grown to millions of rows (docs/adr/0230), read from its scripts.

A deploy script is one transaction. On a large table it may not change or copy rows, which takes long, holds its locks
until the end and leaves a dead copy of every row: that is what a backfill is for. An index is built by a script of its
own, without a transaction and beside writes.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ops.errors import UserError

SMALL_TABLES = frozenset(
    {
        *("source", "consent", "consent_version", "feed_epoch", "upstream_cache", "vendor", "backfill"),
        *("subscription", "delivery_lane", "delivery_chain", "import_mapping", "import_job", "export_job"),
    }
)
"""Tables that stay small. Every other table counts as large."""

_TABLE = r"(?:only )?(?:pmp\.)?(?P<table>\w+)\b"
_CREATED = re.compile(rf"\bcreate (?:unlogged )?table (?:if not exists )?{_TABLE}")
_CHANGES = (
    re.compile(rf"\b(?P<verb>update) {_TABLE}(?: as)?(?: (?!set\b)\w+)? set\b"),
    re.compile(rf"\b(?P<verb>delete) from {_TABLE}"),
    re.compile(rf"\b(?P<verb>merge) into {_TABLE}"),
)
_COPIES = re.compile(r"\binsert into\b|\bcreate (?:unlogged )?table \S+ as\b|\bcreate materialized view\b")
_READS = re.compile(rf"\b(?:from|join|table) {_TABLE}(?! ?\()")

_LIMIT = re.compile(r"set (?P<limit>statement_timeout|lock_timeout) = '[1-9]\d*(?:s|min|h)'")
_DROP = re.compile(r"drop index concurrently if exists pmp\.(?P<index>\w+)")
_BUILD = re.compile(r"create (?:unique )?index concurrently (?P<index>\w+) on pmp\.\w+ .+")
_INDEX_FORM = (
    "an index on a table with rows is a change of its own, without BEGIN: SET statement_timeout = '6h'; "
    "SET lock_timeout = '30min'; DROP INDEX CONCURRENTLY IF EXISTS pmp.<index>; "
    "CREATE INDEX CONCURRENTLY <index> ON pmp.<table> (…);"
)

_HEAD = re.compile(
    r"-- Backfill pmp:(?P<name>\w+)\n-- Portions of pmp\.(?P<table>\w+) by (?P<keys>\w+(?:, \w+)*)\n(?P<body>.+)",
    re.DOTALL,
)


@dataclass(frozen=True)
class Backfill:
    """A file of ``db/backfills``: a statement that is applied to a table in portions.

    Attributes:
        name: the Sqitch change that it belongs to.
        table: whose rows are taken in portions, with its schema.
        keys: columns of a unique index of the table, whose order is that of the portions.
        statement: one INSERT, UPDATE or DELETE; ``portion`` holds the keys of the rows to change.
        digest: SHA-256 of the file in hexadecimal.
    """

    name: str
    table: str
    keys: tuple[str, ...]
    statement: str
    digest: str


def read_backfill(path: Path) -> Backfill:
    """Read a file of ``db/backfills``.

    Raises:
        UserError: it does not have the form that CONTRIBUTING.md describes.
    """
    text = path.read_text(encoding="utf-8")
    match = _HEAD.fullmatch(text)
    where = f"backfills/{path.name}"
    if not match or match["name"] != path.stem:
        raise UserError(
            f"{where}: begin with the lines '-- Backfill pmp:{path.stem}' and '-- Portions of pmp.<table> by <keys>'"
        )
    statements = [one for one in _statements(match["body"]) if one]
    if len(statements) != 1 or not re.match(r"(?:with|insert|update|delete)\b", statements[0]):
        raise UserError(f"{where}: write one INSERT, UPDATE or DELETE, which is applied to every portion")
    if not re.search(r"\bportion\b", statements[0]):
        raise UserError(f"{where}: limit it to the keys in 'portion', or each portion changes the whole table")
    if re.search(r"\breturning\b", statements[0]):
        raise UserError(f"{where}: leave out RETURNING, the portion counts the rows itself")
    body = re.sub(r"--[^\n]*", "", match["body"]).strip().removesuffix(";")
    digest = hashlib.sha256(text.encode()).hexdigest()
    return Backfill(path.stem, f"pmp.{match['table']}", tuple(match["keys"].split(", ")), body, digest)


def backfills(directory: Path, changes: Iterable[str]) -> list[Backfill]:
    """The backfills below ``directory`` (``db``) in the order of their changes.

    Raises:
        UserError: a file is invalid, or no change has its name.
    """
    files = {path.stem: path for path in sorted((directory / "backfills").glob("*.sql"))}
    found = [read_backfill(files.pop(name)) for name in dict.fromkeys(changes) if name in files]
    for name in files:
        raise UserError(f"backfills/{name}.sql: no line of sqitch.plan has this name, and nothing would run it")
    return found


def tables(scripts: Iterable[str]) -> frozenset[str]:
    """The tables that deploy scripts create, except those that stay small."""
    return frozenset(match["table"] for script in scripts for match in _CREATED.finditer(_bare(script))) - SMALL_TABLES


def problems(deploy: str, revert: str, verify: str, large: frozenset[str]) -> list[str]:
    """In which ways a change is unfit for large tables, one sentence each.

    Args:
        deploy: its deploy script.
        revert: its revert script.
        verify: its verify script.
        large: names of the large tables; those that the script creates itself are empty and do not count.
    """
    statements = _statements(deploy)
    touched = large - tables([deploy])
    found = [
        f"{verb} of {table} changes a large table in one transaction: write a backfill, db/backfills/<change>.sql"
        for statement in statements
        for verb, table in _changed(statement)
        if table in touched
    ]
    found += [
        f"it copies rows of {table}, a large table, in one transaction: write a backfill, db/backfills/<change>.sql"
        for statement in statements
        if _COPIES.search(statement)
        for table in sorted({match["table"] for match in _READS.finditer(statement)} & touched)
    ]
    if any("concurrently" in statement for statement in statements):
        found += _index_problems(statements, revert, verify)
    return found


def _changed(statement: str) -> list[tuple[str, str]]:
    return [(match["verb"].upper(), match["table"]) for pattern in _CHANGES for match in pattern.finditer(statement)]


def _index_problems(statements: list[str], revert: str, verify: str) -> list[str]:
    *limits, drop, build = statements if len(statements) == 4 else ("", "", "", "")
    dropped, built = _DROP.fullmatch(drop), _BUILD.fullmatch(build)
    limited = {match["limit"] for statement in limits if (match := _LIMIT.fullmatch(statement))}
    if not (dropped and built and dropped["index"] == built["index"]) or len(limited) != 2:
        return [_INDEX_FORM]
    found = []
    if _statements(revert) != [drop]:
        found.append(f"its revert script must be only DROP INDEX CONCURRENTLY IF EXISTS pmp.{built['index']};")
    if "indisvalid" not in verify:
        found.append("its verify script must look at pg_index.indisvalid: an index that was cut off exists, unused")
    return found


def _statements(script: str) -> list[str]:
    """The statements of a script in lower case, each on one line; also those inside a DO block."""
    return [one for statement in _bare(script).split(";") if (one := " ".join(statement.split()))]


def _bare(script: str) -> str:
    """A script in lower case without comments, strings and bodies of functions."""
    bare = re.sub(r"--[^\n]*|/\*.*?\*/", " ", script, flags=re.DOTALL)
    # What a DO block does is done by the script, what a function does is not.
    bare = re.sub(r"\bDO\s+(?:LANGUAGE\s+\w+\s+)?\$(\w*)\$(.*?)\$\1\$", r"\2", bare, flags=re.DOTALL | re.IGNORECASE)
    bare = re.sub(r"\$(\w*)\$.*?\$\1\$", " ", bare, flags=re.DOTALL)
    # A string of one word is a setting's value.
    bare = re.sub(r"'(?:[^']|'')*'", lambda match: match[0] if re.fullmatch(r"'\w+'", match[0]) else "''", bare)
    return " ".join(bare.split()).lower()
