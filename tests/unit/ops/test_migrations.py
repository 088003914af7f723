"""The rules for database changes."""

from pathlib import Path

import pytest

from ops import migrations
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
