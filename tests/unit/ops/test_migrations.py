"""The rules for database changes."""

import subprocess
from pathlib import Path

import pytest

from ops import migrations, released
from ops.errors import UserError
from ops.migrate import psql_literal

HEAD = "%syntax-version=1.0.0\n%project=pmp\n\n"
STAMP = "2026-01-01T00:00:00Z PMP <pmp@example.com>"


def database(tmp_path: Path, plan: str, **deploy: str) -> Path:
    for kind in ("deploy", "revert", "verify"):
        (tmp_path / kind).mkdir()
    (tmp_path / "sqitch.plan").write_text(HEAD + plan)
    for name, script in deploy.items():
        (tmp_path / "deploy" / f"{name}.sql").write_text(script)
        (tmp_path / "revert" / f"{name}.sql").write_text("BEGIN; COMMIT;")
        (tmp_path / "verify" / f"{name}.sql").write_text("SELECT 1 / (true)::int;")
    return tmp_path


def test_committed_migrations_follow_the_rules() -> None:
    assert migrations.problems(migrations.DATABASE) == []


def test_addition_has_no_finding(tmp_path: Path) -> None:
    directory = database(tmp_path, f"create_a {STAMP} # A\n", create_a="CREATE TABLE a (b int); -- DROP TABLE a")
    assert migrations.problems(directory) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE pmp.a",
        "alter table pmp.a\n  drop column b",
        "ALTER TABLE a RENAME COLUMN b TO c",
        "ALTER TABLE a ALTER COLUMN b TYPE bigint",
        "ALTER TABLE a ALTER b SET NOT NULL",
        "DROP FUNCTION pmp.f(int)",
        "REVOKE SELECT ON a FROM pmp_app",
        "TRUNCATE a",
    ],
)
def test_removal_must_be_declared_and_require_a_released_change(statement: str, tmp_path: Path) -> None:
    changes = {"create_a": "CREATE TABLE a (b int);", "drop_a": f"BEGIN; {statement}; COMMIT;"}
    said = f"create_a {STAMP} # A\n{{tag}}drop_a [create_a{{at}}] {STAMP} # {{note}}\n"
    directory = database(tmp_path, said.format(tag="", at="", note="Remove it"), **changes)
    [found] = migrations.problems(directory)
    assert "breaks the code of the release before" in found

    (directory / "sqitch.plan").write_text(HEAD + said.format(tag="", at="", note="contract: nobody reads it"))
    [found] = migrations.problems(directory)
    assert "must require a released one (change@tag)" in found

    tag = f"@v1.0.0 {STAMP} # First\n"
    (directory / "sqitch.plan").write_text(HEAD + said.format(tag=tag, at="@v1.0.0", note="contract: nobody reads it"))
    assert migrations.problems(directory) == []


@pytest.mark.parametrize(
    "script",
    [
        "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$ BEGIN TRUNCATE a; DROP TABLE a; END $$;",
        "CREATE TRIGGER t BEFORE TRUNCATE ON a EXECUTE FUNCTION f();",
        "REVOKE ALL ON SCHEMA pmp FROM PUBLIC;",
        "/* DROP TABLE a; */ CREATE TABLE b (c int);",
    ],
)
def test_text_that_resembles_a_removal_is_not_a_removal(script: str) -> None:
    assert migrations.removals(script) == []


def test_missing_and_unplanned_scripts_are_named(tmp_path: Path) -> None:
    directory = database(tmp_path, f"create_a {STAMP} # A\ncreate_b {STAMP} # B\n", create_a="SELECT 1;")
    (directory / "deploy" / "create_c.sql").touch()
    found = migrations.problems(directory)
    assert "create_b: deploy/create_b.sql is missing" in found
    assert "deploy/create_c.sql: no line of sqitch.plan deploys it" in found


def test_verify_script_that_cannot_fail_is_refused(tmp_path: Path) -> None:
    directory = database(tmp_path, f"create_a {STAMP} # A\n", create_a="CREATE TABLE a (b int);")
    (directory / "verify" / "create_a.sql").write_text("SELECT b FROM a WHERE false; -- 1 / 0")
    assert migrations.problems(directory) == [
        "create_a: its verify script cannot fail: execute the object, divide by zero when wrong"
    ]


def test_invalid_plan_line_is_named(tmp_path: Path) -> None:
    directory = database(tmp_path, "create a\n")
    with pytest.raises(UserError, match="line 4 is neither a change nor a tag: create a"):
        migrations.problems(directory)


@pytest.mark.parametrize("password", ["plain", "it's", "back\\slash", "'; \\! ls #"])
def test_password_is_one_psql_literal(password: str) -> None:
    inner = psql_literal(password)[1:-1]
    assert "'" not in inner.replace("\\\\", "").replace("\\'", "")
    assert inner.replace("\\'", "'").replace("\\\\", "\\") == password


def test_password_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line's end"):
        psql_literal("one\n\\! ls")


PLAN = f"create_a {STAMP} # A\n@v1.0.0 {STAMP} # First\n"


def git(repository: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(repository), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository whose only commit is the release v1.0.0, tagged in the plan; the test adds the git tag."""
    (tmp_path / "db").mkdir()
    database(tmp_path / "db", PLAN, create_a="CREATE TABLE a (b int);\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "First")
    return tmp_path


def test_before_the_first_release_everything_may_change(repository: Path) -> None:
    (repository / "db" / "sqitch.plan").write_text(HEAD + f"create_b {STAMP} # B\n")
    (repository / "db" / "deploy" / "create_a.sql").write_text("-- edited\n")
    git(repository, "tag", "v1.0.0-rc1")
    git(repository, "tag", "vendor-list")
    assert released.newest_release(repository) is None
    assert released.differences(repository) == []


def test_a_tag_of_the_plan_without_a_git_tag_is_refused(repository: Path) -> None:
    [found] = released.differences(repository)
    assert found.startswith("sqitch.plan: @v1.0.0 has no git tag v1.0.0: remove the line until the release, or tag")
    git(repository, "tag", "v1.0.0")
    assert released.differences(repository) == []


def test_the_newest_release_is_the_highest_number_that_head_contains(repository: Path) -> None:
    for tag in ("v1.0.0", "v1.10.0", "v1.9.0"):
        git(repository, "tag", tag)
    git(repository, "checkout", "--quiet", "-b", "later")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "Later")
    git(repository, "tag", "v2.0.0")
    assert released.newest_release(repository) == "v2.0.0"
    git(repository, "checkout", "--quiet", "v1.0.0")
    assert released.newest_release(repository) == "v1.10.0"


@pytest.mark.parametrize("kind", ["deploy", "revert", "verify"])
def test_a_released_script_may_not_change(kind: str, repository: Path) -> None:
    git(repository, "tag", "v1.0.0")
    script = repository / "db" / kind / "create_a.sql"
    script.write_text(script.read_text() + "-- one more word\n")
    advice = (
        f"{kind}/create_a.sql differs from v1.0.0, which is released: restore it with 'git checkout v1.0.0 -- "
        f"db/{kind}/create_a.sql', then add a new change, or run 'sqitch rework create_a'"
    )
    assert released.differences(repository) == [advice]
    git(repository, "commit", "--quiet", "--all", "--message", "Edit it")
    assert released.differences(repository) == [advice]
    script.unlink()
    assert released.differences(repository) == [advice]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (
            PLAN.replace("# A", "# Another note"),
            "the released line 'create_a' was changed or removed: restore it as it is",
        ),
        (f"@v1.0.0 {STAMP} # First\n", "the released line 'create_a' was changed or removed: restore it as it is"),
        (
            f"create_a {STAMP} # A\n",
            "the released line '@v1.0.0' was changed or removed: restore it as it is in v1.0.0",
        ),
        (f"create_0 {STAMP} # 0\n" + PLAN, "'create_0' was added before the tag v1.0.0: move it to the end"),
    ],
)
def test_a_released_line_of_the_plan_may_not_change(plan: str, message: str, repository: Path) -> None:
    git(repository, "tag", "v1.0.0")
    (repository / "db" / "sqitch.plan").write_text(HEAD + plan)
    [found] = released.differences(repository)
    assert message in found


def test_new_changes_and_reworked_ones_pass(repository: Path) -> None:
    git(repository, "tag", "v1.0.0")
    directory = repository / "db"
    (directory / "sqitch.plan").write_text(HEAD + PLAN + f"create_b {STAMP} # B\n")
    (directory / "deploy" / "create_b.sql").write_text("CREATE TABLE b (c int);\n")
    assert released.differences(repository) == []

    # As 'sqitch rework create_a' leaves it: the released scripts under a name with the tag.
    (directory / "sqitch.plan").write_text(HEAD + PLAN + f"create_a [create_a@v1.0.0] {STAMP} # A again\n")
    script = directory / "deploy" / "create_a.sql"
    kept = directory / "deploy" / "create_a@v1.0.0.sql"
    kept.write_text(script.read_text())
    script.write_text("CREATE TABLE IF NOT EXISTS a (b int);\n")
    assert released.differences(repository) == []
    kept.write_text("-- edited\n")
    [found] = released.differences(repository)
    assert found.startswith("deploy/create_a.sql differs from v1.0.0")


def test_the_check_prints_what_broke_with_a_release(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(migrations, "ROOT", repository)
    monkeypatch.setattr(migrations, "DATABASE", repository / "db")
    with pytest.raises(UserError, match="1 broken rules"):
        migrations.check()
    assert "@v1.0.0 has no git tag v1.0.0" in "".join(capsys.readouterr())


def test_the_check_says_that_nothing_is_released(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "db" / "sqitch.plan").write_text(HEAD + f"create_a {STAMP} # A\n")
    (repository / "db" / "deploy" / "create_a.sql").write_text("SELECT 1;\n")
    monkeypatch.setattr(migrations, "ROOT", repository)
    monkeypatch.setattr(migrations, "DATABASE", repository / "db")
    migrations.check()
    assert "no release is tagged in git, nothing to compare" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("BEGIN; UPDATE pmp.a SET b = 1; COMMIT;", "fill_a: UPDATE of a changes a large table in one transaction"),
        ("CREATE INDEX CONCURRENTLY c ON pmp.a (b);", "fill_a: an index on a table with rows is a change of its own"),
    ],
)
def test_what_is_unfit_for_large_tables_is_refused(script: str, told: str, tmp_path: Path) -> None:
    changes = {"create_a": "CREATE TABLE pmp.a (b int);", "fill_a": script}
    directory = database(tmp_path, f"create_a {STAMP} # A\nfill_a {STAMP} # Fill\n", **changes)
    problem = migrations.problems(directory)[-1]
    assert problem.startswith(told)


def test_an_index_that_blocks_writes_is_refused(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = repository / "db" / "sqitch.plan"
    plan.write_text(HEAD + f"create_a {STAMP} # A\nindex_a {STAMP} # Index\n")
    scripts = {"deploy": "BEGIN; CREATE INDEX c ON pmp.a (b); COMMIT;", "revert": "", "verify": "SELECT 1 / 1;"}
    for kind, script in scripts.items():
        (repository / "db" / kind / "index_a.sql").write_text(script)
    (repository / "db" / "deploy" / "create_a.sql").write_text("SELECT 1;")
    monkeypatch.setattr(migrations, "ROOT", repository)
    monkeypatch.setattr(migrations, "DATABASE", repository / "db")
    with pytest.raises(UserError, match="0 broken rules and squawk's exit status 1"):
        migrations.check()
    assert "require-concurrent-index-creation" in "".join(capsys.readouterr())


def test_a_backfill_without_its_change_is_refused(tmp_path: Path) -> None:
    directory = database(tmp_path, f"create_a {STAMP} # A\n", create_a="CREATE TABLE pmp.a (b int);")
    (directory / "backfills").mkdir()
    (directory / "backfills" / "fill_a.sql").write_text(
        "-- Backfill pmp:fill_a\n-- Portions of pmp.a by b\nDELETE FROM pmp.a WHERE b IN (SELECT b FROM portion)\n"
    )
    [problem] = migrations.problems(directory)
    assert problem.startswith("backfills/fill_a.sql: no line of sqitch.plan has this name")
