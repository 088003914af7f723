"""What every database change must keep to, read from the Sqitch plan and its scripts, without a database.

A release expands the schema (adds), the release after it contracts (removes what nobody uses any more), because for a
while both of them run on the schema of the newer one: before its code is deployed, and after a rollback.
"""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ops import large_tables, released
from ops.errors import UserError
from ops.output import say
from ops.settings import ROOT

DATABASE = ROOT / "db"
CONTRACT = "contract:"
"""How the note of a change begins that removes something."""

_NAME = re.compile(r"(?:add|alter|contract|create|define|drop|fix|grant|index|move|rename|set|validate)_[a-z0-9_]+")
_LINE = re.compile(r"(?P<name>[^\s@#\[]+)(?:\s+\[(?P<requires>[^\]]*)\])?\s+\S+Z\s+[^#]*?(?:#\s*(?P<note>.*))?")
# What takes away, or makes fail, something that the code of the release before may use.
_REMOVALS = {
    "DROP TABLE": r"\bdrop\s+(?:unlogged\s+)?table\b",
    "DROP COLUMN": r"\bdrop\s+column\b",
    "DROP FUNCTION": r"\bdrop\s+(?:function|procedure|routine)\b",
    "DROP VIEW": r"\bdrop\s+(?:materialized\s+)?view\b",
    "DROP TYPE": r"\bdrop\s+(?:type|domain)\b",
    "RENAME": r"\brename\s+(?:to|column|constraint)\b",
    "ALTER COLUMN … TYPE": r"\balter\s+(?:column\s+)?\S+\s+(?:set\s+data\s+)?type\b",
    "SET NOT NULL": r"\bset\s+not\s+null\b",
    # No code logs in as pmp_retention: a function of it gets CREATE for as long as its owner changes.
    "REVOKE": r"\brevoke\b(?!.*\bfrom\s+(?:public|pmp_retention)\b)",
    "TRUNCATE": r"^truncate\b",
}


@dataclass(frozen=True)
class Change:
    """A line of the Sqitch plan. ``release`` counts the tags before it."""

    name: str
    requires: tuple[str, ...]
    note: str
    release: int

    @property
    def contracts(self) -> bool:
        """Whether it says of itself that it removes something."""
        return self.note.startswith(CONTRACT)


def read_plan(plan: Path) -> tuple[list[Change], list[str]]:
    """The changes of a Sqitch plan in order, and its tags.

    Raises:
        UserError: a line is neither.
    """
    found, tags = list[Change](), list[str]()
    for number, line in enumerate(plan.read_text().splitlines(), 1):
        if not line.strip() or line.startswith(("%", "#")):
            continue
        if line.startswith("@"):
            tags.append(line.split()[0])
            continue
        match = _LINE.fullmatch(line.strip())
        if not match:
            raise UserError(f"{plan.name} line {number} is neither a change nor a tag: {line}")
        requires = tuple((match["requires"] or "").split())
        found.append(Change(match["name"], requires, (match["note"] or "").strip(), len(tags)))
    return found, tags


def removals(script: str) -> list[str]:
    """What a deploy script takes away, in SQL's words; comments and the bodies of functions do not count."""
    bare = re.sub(r"--[^\n]*|/\*.*?\*/", " ", script, flags=re.DOTALL)
    bare = re.sub(r"\$(\w*)\$.*?\$\1\$", " ", bare, flags=re.DOTALL)
    statements = [" ".join(statement.split()) for statement in bare.split(";")]
    return [
        name
        for name, pattern in _REMOVALS.items()
        if any(re.search(pattern, statement, re.IGNORECASE) for statement in statements)
    ]


def problems(directory: Path) -> list[str]:
    """Every way in which the changes below ``directory`` break the rules, one sentence each."""
    changes, tags = read_plan(directory / "sqitch.plan")
    found = []
    names = set[str]()
    deploys = {change.name: directory / "deploy" / f"{change.name}.sql" for change in changes}
    large = large_tables.tables(script.read_text() for script in deploys.values() if script.exists())
    for change in changes:
        scripts = [directory / kind / f"{change.name}.sql" for kind in ("deploy", "revert", "verify")]
        missing = [script for script in scripts if not script.exists()]
        found += [f"{change.name}: {script.relative_to(directory)} is missing" for script in missing]
        if change.name not in names and not _NAME.fullmatch(change.name):
            found.append(f"{change.name}: name it verb_object in lower case")
        names.add(change.name)
        if scripts[0] not in missing:
            found += _rule_of_two_releases(change, removals(scripts[0].read_text()), tags)
        if not missing:
            deploy, revert, verify = (script.read_text() for script in scripts)
            found += [f"{change.name}: {one}" for one in large_tables.problems(deploy, revert, verify, large)]
        if scripts[2] not in missing and not _can_fail(scripts[2].read_text()):
            found.append(f"{change.name}: its verify script cannot fail: execute the object, divide by zero when wrong")
    known = {f"{name}.sql" for name in names} | {
        f"{change.name}{tag}.sql"
        for change in changes
        for tag in tags  # what Sqitch keeps of reworked changes
    }
    for kind in ("deploy", "revert", "verify"):
        strangers = sorted(path.name for path in (directory / kind).glob("*.sql") if path.name not in known)
        found += [f"{kind}/{name}: no line of sqitch.plan deploys it" for name in strangers]
    try:
        large_tables.backfills(directory, names)
    except UserError as error:
        found.append(str(error))
    return found


def _rule_of_two_releases(change: Change, removed: list[str], tags: list[str]) -> list[str]:
    if removed and not change.contracts:
        advice = f"add here, and remove in the next release by a change whose note begins with '{CONTRACT}'"
        return [f"{change.name}: {', '.join(removed)} breaks the code of the release before: {advice}"]
    if change.contracts and not any(requirement.partition("@")[2] in _names(tags) for requirement in change.requires):
        reason = "so that nobody contracts in the release that expands"
        return [f"{change.name}: a change that contracts must require a released one (change@tag), {reason}"]
    return []


def _names(tags: list[str]) -> set[str]:
    return {tag.removeprefix("@") for tag in tags}


def _can_fail(script: str) -> bool:
    bare = re.sub(r"--[^\n]*", " ", script)
    return bool(re.search(r"1\s*/|\bassert\b|\braise\b|\bhas_\w+_privilege\b", bare, re.IGNORECASE))


def check() -> None:
    """Check the rules and what releases froze, then let squawk look for statements that lock or rewrite.

    Raises:
        UserError: something breaks a rule; every finding is printed before.
    """
    found = problems(DATABASE) + released.differences(ROOT)
    for problem in found:
        say(f"  {problem}")
    scripts = sorted(str(path.relative_to(ROOT)) for path in (DATABASE / "deploy").glob("*.sql"))
    squawk = subprocess.run(
        [Path(sys.executable).with_name("squawk"), *scripts], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if squawk.returncode:
        say(squawk.stdout.strip())
    if found or squawk.returncode:
        raise UserError(f"{len(found)} broken rules and squawk's exit status {squawk.returncode}: see above")
    changes, _ = read_plan(DATABASE / "sqitch.plan")
    release = released.newest_release(ROOT)
    compared = f"nothing before {release} has changed" if release else "no release is tagged in git, nothing to compare"
    say(f"migrations: {len(changes)} changes follow the rules of PMP and squawk; {compared}")
