"""Run each release's code on the other's schema.

During a deployment, the previous release's code runs on the new schema, for as long as the canary of the new code
takes, and after a rollback it does so again; before its migration has run, the new code meets the old schema. Both must
pass their own integration tests. The previous release is the newest git tag that is also a tag of the Sqitch plan and
is not this commit; before the first release there is nothing to compare.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from ops.errors import UserError
from ops.git import checkout, git
from ops.migrations import read_plan
from ops.output import say


def release_before(repository: Path) -> str | None:
    """Return the tag of the release before this commit, or None if there is none."""
    _, tags = read_plan(repository / "db" / "sqitch.plan")
    known = set(git(repository, "tag", "--merged", "HEAD", "--no-contains", "HEAD").split())
    found = [tag.removeprefix("@") for tag in tags if tag.removeprefix("@") in known]
    return found[-1] if found else None


def check(repository: Path, arguments: list[str]) -> None:
    """Test both combinations of code and schema.

    Raises:
        UserError: the tests of one combination failed.
    """
    before = release_before(repository)
    if before is None:
        say("compatibility: no earlier release, nothing to compare")
        return
    now = git(repository, "rev-parse", "HEAD").strip()
    for code, schema in ((before, now), (now, before)):
        with tempfile.TemporaryDirectory(prefix="pmp-") as directory:
            checkout(code, Path(directory, "code"), repository)
            git(Path(directory, "code"), "rm", "-r", "--quiet", "db")
            git(Path(directory, "code"), "checkout", schema, "--", "db")
            say(f"compatibility: code of {code[:12]} on the schema of {schema[:12]}")
            command = [sys.executable, "-m", "pytest", "-q", "tests/integration", *arguments]
            if subprocess.run(command, cwd=Path(directory, "code"), check=False).returncode:
                raise UserError(f"the code of {code[:12]} fails on the schema of {schema[:12]}: expand, then contract")
    say("compatibility: each code passes on both schemas", "bold")
