"""What a release froze: no script and no plan line that a release's git tag holds may change afterwards.

Databases remember the plan lines and the hashes of the scripts that were deployed to them. A released change that is
edited is refused by every one of those databases; a change that is not released may still be rewritten.
"""

import difflib
import re
from pathlib import Path

from ops.git import git

_RELEASE = re.compile(r"v(\d+)\.(\d+)\.(\d+)")
_FOLDERS = ("deploy", "revert", "verify", "backfills")


def newest_release(repository: Path) -> str | None:
    """The git tag (v1.2.3) of the newest release that HEAD contains; None before the first one."""
    tags = git(repository, "tag", "--list", "v*", "--merged", "HEAD").split()
    numbers = {tag: tuple(map(int, match.groups())) for tag in tags if (match := _RELEASE.fullmatch(tag))}
    return max(numbers, key=lambda tag: numbers[tag], default=None)


def differences(repository: Path) -> list[str]:
    """Every way in which ``db/`` breaks with the releases that are tagged in git, one sentence each."""
    tags = set(git(repository, "tag", "--list", "--merged", "HEAD").split())
    plan = _lines((repository / "db" / "sqitch.plan").read_text(encoding="utf-8"))
    found = [
        f"sqitch.plan: @{name} has no git tag {name}: remove the line until the release, or tag the release's commit "
        "(in a shallow clone: git fetch --unshallow --tags)"
        for name in (_name(line).removeprefix("@") for line in plan if line.startswith("@"))
        if name not in tags
    ]
    if release := newest_release(repository):
        before = _lines(git(repository, "show", f"{release}:db/sqitch.plan"))
        found += _compare_plans(release, before, plan)
        found += _compare_scripts(repository, release, {_name(line) for line in plan if line not in before})
    return found


def _compare_plans(release: str, old: list[str], new: list[str]) -> list[str]:
    advice = f"restore it as it is in {release}, and add new lines at the end"
    found = []
    matched = difflib.SequenceMatcher(a=old, b=new, autojunk=False)
    for kind, first, last, begin, end in matched.get_opcodes():
        if kind in {"replace", "delete"}:
            found += [f"sqitch.plan: the released line '{_name(line)}' was changed or removed: {advice}"
                      for line in old[first:last]]  # fmt: skip
        elif kind == "insert" and first < len(old):
            found += [f"sqitch.plan: '{_name(line)}' was added before the tag {release}: move it to the end"
                      for line in new[begin:end]]  # fmt: skip
    return found


def _compare_scripts(repository: Path, release: str, added: set[str]) -> list[str]:
    """``added``: names of the changes that the plan has after the release; one that it had before is reworked."""
    paths = [f"db/{folder}" for folder in _FOLDERS]
    # git compares, so that line endings count as .gitattributes says.
    changed = git(repository, "diff", "--no-renames", "--name-only", "--diff-filter=MDT", "-z", release, "--", *paths)
    found = []
    for path in filter(None, changed.split("\0")):
        name = Path(path).stem
        if name in added and _is_kept(repository, release, path):
            continue
        found.append(
            f"{path.removeprefix('db/')} differs from {release}, which is released: restore it with "
            f"'git checkout {release} -- {path}', then add a new change, or run 'sqitch rework {name}'"
        )
    return found


def _is_kept(repository: Path, release: str, path: str) -> bool:
    """Whether the released script of a reworked change is there as Sqitch keeps it: under its name with a tag."""
    script = repository / path
    released = git(repository, "show", f"{release}:{path}")
    kept = script.parent.glob(f"{script.stem}@*{script.suffix}")
    return any(copy.read_text(encoding="utf-8") == released for copy in kept)


def _lines(plan: str) -> list[str]:
    return [line.strip() for line in plan.splitlines() if line.strip() and not line.startswith("#")]


def _name(line: str) -> str:
    return line.split(maxsplit=1)[0]
