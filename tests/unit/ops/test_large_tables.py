"""The rules for changes of large tables."""

from pathlib import Path

import pytest

from ops import large_tables, migrations
from ops.errors import UserError
from ops.large_tables import Backfill
from ops.migrate import Stage, stages
from ops.migrations import Change

LARGE = frozenset({"event", "subject", "current_choice"})
CHECKED = "SELECT 1 / indisvalid::int FROM pg_index WHERE indexrelid = 'pmp.a'::regclass;"
INDEX = (
    "SET statement_timeout = '6h';\nSET lock_timeout = '30min';\n"
    "DROP INDEX CONCURRENTLY IF EXISTS pmp.a;\nCREATE INDEX CONCURRENTLY a ON pmp.event (source_key);\n"
)
DROP = "DROP INDEX CONCURRENTLY IF EXISTS pmp.a;"


def found(deploy: str, revert: str = "", verify: str = "") -> list[str]:
    return large_tables.problems(deploy, revert, verify, LARGE)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("UPDATE pmp.subject SET email = NULL;", "UPDATE of subject changes a large table"),
        ("update only pmp.subject as s\n  set email = null where s.subject_key < 5", "UPDATE of subject"),
        ("UPDATE subject s SET email = NULL", "UPDATE of subject"),
        ("DELETE FROM pmp.event WHERE false", "DELETE of event"),
        ("MERGE INTO pmp.event AS e USING x ON true WHEN MATCHED THEN DELETE", "MERGE of event"),
        ("WITH gone AS (DELETE FROM event RETURNING 1) SELECT count(*) FROM gone", "DELETE of event"),
        ("DO $$ BEGIN UPDATE pmp.subject SET email = NULL; END $$;", "UPDATE of subject"),
        ("DO LANGUAGE plpgsql $x$ BEGIN DELETE FROM pmp.subject; END $x$;", "DELETE of subject"),
        ("INSERT INTO pmp.note (a) SELECT subject_key FROM pmp.subject", "it copies rows of subject"),
        ("INSERT INTO pmp.note SELECT 1 FROM x JOIN pmp.event USING (a)", "it copies rows of event"),
        ("CREATE TABLE pmp.note AS SELECT * FROM pmp.event", "it copies rows of event"),
        ("CREATE MATERIALIZED VIEW pmp.note AS TABLE pmp.event", "it copies rows of event"),
    ],
)
def test_changing_or_copying_many_rows_in_a_deploy_script_is_refused(script: str, told: str) -> None:
    [problem] = found(f"BEGIN;\n{script};\nCOMMIT;")
    assert problem.startswith(told)
    assert "write a backfill, db/backfills/<change>.sql" in problem


@pytest.mark.parametrize(
    "script",
    [
        "CREATE FUNCTION pmp.f() RETURNS void LANGUAGE sql AS $$ UPDATE event SET a = 1 $$",
        "CREATE TRIGGER t AFTER UPDATE ON pmp.event FOR EACH ROW EXECUTE FUNCTION pmp.f()",
        "CREATE TRIGGER t BEFORE UPDATE OR DELETE ON pmp.event FOR EACH STATEMENT EXECUTE FUNCTION pmp.f()",
        "GRANT SELECT, UPDATE ON pmp.event TO pmp_app",
        "UPDATE pmp.consent SET channel = 'web'",
        "COMMENT ON TABLE pmp.event IS 'not by: update event set a = 1; delete from event'",
        "-- UPDATE event SET a = 1;\nSELECT 1",
        "CREATE TABLE pmp.event (a int); UPDATE pmp.event SET a = 1",
        "CREATE VIEW pmp.v AS SELECT * FROM pmp.event",
        "INSERT INTO pmp.note SELECT n FROM generate_series(1, 3) AS n",
    ],
)
def test_what_changes_no_row_of_a_large_table_passes(script: str) -> None:
    assert found(f"BEGIN;\n{script};\nCOMMIT;") == []


def test_every_table_is_large_that_is_not_named_as_small() -> None:
    scripts = [path.read_text() for path in (migrations.DATABASE / "deploy").glob("*.sql")]
    large = large_tables.tables(scripts)
    assert {"event", "current_choice", "subject", "idempotency_key", "notice", "delivery"} <= large
    assert not large & large_tables.SMALL_TABLES
    created = "".join(scripts)
    for name in large_tables.SMALL_TABLES:
        assert f"CREATE TABLE pmp.{name} (" in created, f"{name} was dropped or renamed"


def test_an_index_in_its_form_passes() -> None:
    assert found(f"-- Deploy pmp:index_a to pg\n{INDEX}", f"-- Revert\n{DROP}\n", CHECKED) == []
    assert found(INDEX.replace("CREATE INDEX", "CREATE UNIQUE INDEX"), DROP, CHECKED) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("DROP INDEX CONCURRENTLY IF EXISTS pmp.a;\n", ""),
        ("IF EXISTS pmp.a", "IF EXISTS pmp.b"),
        ("SET statement_timeout = '6h';\n", ""),
        ("SET lock_timeout = '30min'", "SET lock_timeout = 0"),
        ("SET statement_timeout", "BEGIN;\nSET statement_timeout"),
        ("CREATE INDEX CONCURRENTLY a", "CREATE INDEX CONCURRENTLY IF NOT EXISTS a"),
        ("(source_key);\n", "(source_key);\nSELECT 1;\n"),
    ],
)
def test_an_index_in_another_form_is_refused(before: str, after: str) -> None:
    assert before in INDEX
    [problem] = found(INDEX.replace(before, after, 1), DROP, CHECKED)
    assert problem.startswith("an index on a table with rows is a change of its own, without BEGIN")


def test_an_index_is_dropped_and_verified_as_it_is_built() -> None:
    [problem] = found(INDEX, "BEGIN; DROP INDEX pmp.a; COMMIT;", CHECKED)
    assert problem == "its revert script must be only DROP INDEX CONCURRENTLY IF EXISTS pmp.a;"
    [problem] = found(INDEX, DROP, "SELECT 1 / 1;")
    assert "indisvalid" in problem


FORM = "-- Backfill pmp:add_a\n-- Portions of pmp.subject by subject_key\n"
BODY = "UPDATE pmp.subject AS s SET a = 1 FROM portion AS p WHERE s.subject_key = p.subject_key;\n"


def write(directory: Path, text: str, name: str = "add_a") -> Path:
    (directory / "backfills").mkdir(exist_ok=True)
    path = directory / "backfills" / f"{name}.sql"
    path.write_text(text)
    return path


def test_a_backfill_is_read(tmp_path: Path) -> None:
    one = large_tables.read_backfill(write(tmp_path, f"{FORM}-- Why.\n{BODY}"))
    assert (one.name, one.table, one.keys) == ("add_a", "pmp.subject", ("subject_key",))
    assert one.statement == BODY.strip().removesuffix(";")
    pair = write(tmp_path, FORM.replace("subject_key", "consent_key, subject_key") + BODY)
    assert large_tables.read_backfill(pair).keys == ("consent_key", "subject_key")
    assert large_tables.read_backfill(pair).digest != one.digest


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BODY, "begin with the lines '-- Backfill pmp:add_a'"),
        (FORM.replace("add_a", "add_b") + BODY, "begin with the lines"),
        (FORM + BODY + BODY, "write one INSERT, UPDATE or DELETE"),
        (FORM + "BEGIN;\n" + BODY + "COMMIT;", "write one INSERT, UPDATE or DELETE"),
        (FORM + "VACUUM pmp.subject;", "write one INSERT, UPDATE or DELETE"),
        (FORM + "UPDATE pmp.subject SET a = 1;", "limit it to the keys in 'portion'"),
        (FORM + BODY.replace(";", " RETURNING 1;"), "leave out RETURNING"),
    ],
)
def test_a_backfill_in_another_form_is_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"backfills/add_a\.sql: ") as raised:
        large_tables.read_backfill(write(tmp_path, text))
    assert told in str(raised.value)


def test_a_backfill_belongs_to_a_change(tmp_path: Path) -> None:
    write(tmp_path, FORM + BODY)
    write(tmp_path, FORM.replace("add_a", "add_b") + BODY, "add_b")
    assert [one.name for one in large_tables.backfills(tmp_path, ["add_b", "add_a"])] == ["add_b", "add_a"]
    with pytest.raises(UserError, match=r"backfills/add_b\.sql: no line of sqitch\.plan has this name"):
        large_tables.backfills(tmp_path, ["add_a"])


def plan(*names: str) -> list[Change]:
    return [Change(name, (), "contract: a" if name.startswith("drop") else "A", 0) for name in names]


def backfill(name: str) -> Backfill:
    return Backfill(name, "pmp.subject", ("subject_key",), "DELETE", "0")


A, B = backfill("add_a"), backfill("add_b")


@pytest.mark.parametrize(
    ("names", "deployed", "waiting", "expected"),
    [
        ("add_a add_b", 0, [A, B], [Stage(None, [A, B])]),
        ("add_a drop_a", 0, [A], [Stage("add_a", [A]), Stage(None, [])]),
        ("add_a drop_a", 1, [A], [Stage("", [A]), Stage(None, [])]),
        ("add_a drop_a", 0, [], [Stage(None, [])]),
        ("add_a drop_a", 2, [A], [Stage(None, [A])]),
        ("drop_x add_a", 0, [A], [Stage(None, [A])]),
        ("add_a drop_a add_b drop_b", 0, [A, B], [Stage("add_a", [A]), Stage("add_b", [B]), Stage(None, [])]),
        ("add_a add_c drop_a drop_c add_b", 0, [A, B], [Stage("add_c", [A]), Stage(None, [B])]),
    ],
)
def test_what_removes_waits_for_the_backfills_before_it(
    names: str, deployed: int, waiting: list[Backfill], expected: list[Stage]
) -> None:
    assert list(stages(plan(*names.split()), deployed, waiting)) == expected
