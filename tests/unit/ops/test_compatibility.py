"""The compatibility check finds the previous release, and tests each release's code on the other's schema."""

import subprocess
from pathlib import Path

import pytest

from ops import compatibility
from ops.errors import UserError

STAMP = "2026-01-01T00:00:00Z PMP <pmp@example.com>"
PLAN = f"%syntax-version=1.0.0\n%project=pmp\n\ncreate_a {STAMP} # A\n@v1.0.0 {STAMP} # First\n"
# The "integration test" of a release: the schema must have the column that the code reads.
TEST = "from pathlib import Path\ndef test_it() -> None:\n    assert '{column}' in Path('db/schema').read_text()\n"


def release(repository: Path, column: str, schema: str, tag: str = "", plan: str = PLAN) -> None:
    (repository / "tests" / "integration").mkdir(parents=True, exist_ok=True)
    (repository / "db").mkdir(exist_ok=True)
    (repository / "db" / "sqitch.plan").write_text(plan)
    (repository / "db" / "schema").write_text(schema)
    (repository / "tests" / "integration" / "test_it.py").write_text(TEST.format(column=column))
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@example.com"]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", column + schema]):
        subprocess.run([*git, *command], check=True)
    if tag:
        subprocess.run([*git, "tag", tag], check=True)


def test_first_release_has_no_predecessor(tmp_path: Path) -> None:
    release(tmp_path, "old", "old", "v1.0.0")
    assert compatibility.release_before(tmp_path) is None
    release(tmp_path, "old", "old more")
    assert compatibility.release_before(tmp_path) == "v1.0.0"


def test_schema_that_only_grows_is_compatible(tmp_path: Path) -> None:
    release(tmp_path, "old", "old", "v1.0.0")
    release(tmp_path, "old", "old new")
    compatibility.check(tmp_path, [])


@pytest.mark.parametrize(
    ("column", "schema", "message"),
    [
        ("new", "new", "code of v1.0.0 fails on the schema of"),  # one release both adds and removes
        ("new", "old new", "fails on the schema of v1.0.0"),  # the code fails until its migration has run
    ],
)
def test_incompatible_release_is_refused(column: str, schema: str, message: str, tmp_path: Path) -> None:
    release(tmp_path, "old", "old", "v1.0.0")
    release(tmp_path, column, schema)
    with pytest.raises(UserError, match=message):
        compatibility.check(tmp_path, [])


def test_newest_of_two_releases_is_compared_in_a_clone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As in the job, which clones the repository with its tags."""
    source, clone = tmp_path / "source", tmp_path / "clone"
    source.mkdir()
    second = f"{PLAN}\ncreate_b {STAMP} # B\n@v1.1.0 {STAMP} # Second\n"
    release(source, "old", "old", "v1.0.0")
    release(source, "new", "old new", "v1.1.0", second)
    release(source, "new", "old new newest", plan=second)
    subprocess.run(["git", "clone", "--quiet", source.as_uri(), str(clone)], check=True)
    assert compatibility.release_before(clone) == "v1.1.0"
    compatibility.check(clone, [])
    told = capsys.readouterr().out
    assert "code of v1.1.0 on the schema of" in told
    assert "on the schema of v1.1.0" in told
    assert "v1.0.0" not in told, "releases are rolled back by one"

    subprocess.run(["git", "-C", str(clone), "checkout", "--quiet", "v1.1.0"], check=True)
    assert compatibility.release_before(clone) == "v1.0.0"
    # The first release's schema lacks what the second's code reads: that would have needed two releases.
    with pytest.raises(UserError, match=r"fails on the schema of v1\.0\.0: expand, then contract"):
        compatibility.check(clone, [])
