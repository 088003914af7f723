"""A reload of SQL functions on a real database: what it replaces and refuses, and that a refusal changes nothing."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checks import stack
from local import reload
from local.servers.certificates import Authority
from local.servers.postgres import Cluster
from ops.errors import UserError

if reason := stack.missing():
    pytest.skip(reason, allow_module_level=True)

ROOT = Path(__file__).resolve().parents[3]
Psql = Callable[[str], str]


@pytest.fixture(scope="module")
def psql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Psql]:
    """Runs a script as the owner of a freshly deployed schema."""
    directory = tmp_path_factory.mktemp("cluster")
    authority = Authority(directory / "ca")
    certificate = authority.issue("database", ["localhost"], ["127.0.0.1"])
    cluster = Cluster(directory / "postgres", stack.free_port(), certificate, authority, settings={"fsync": "off"})
    try:
        cluster.start()
        stack.migrate(cluster, authority, "app")
        cluster.set_password("pmp_migrator", "migrator")
        connection = {"PGHOST": "127.0.0.1", "PGPORT": str(cluster.port), "PGDATABASE": "pmp", "PGUSER": "pmp_migrator"}
        environment = os.environ | connection | {"PGPASSWORD": "migrator", "PGSSLMODE": "require"}

        def run(script: str) -> str:
            command = ["psql", "-qXAt", "--set", "ON_ERROR_STOP=1", "--file", "-"]
            done = subprocess.run(
                command, input=script, env=environment, capture_output=True, text=True, check=False, cwd="/"
            )
            if done.returncode:
                raise UserError(done.stderr)
            return done.stdout.strip()

        yield run
    finally:
        cluster.destroy()


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A copy of db/ to edit."""
    return Path(shutil.copytree(ROOT / "db", tmp_path / "db"))


def _edit(database: Path, script: str, old: str, new: str) -> None:
    path = database / script
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def _deployed(psql: Psql) -> dict[str, str]:
    rows = psql("SELECT change, script_hash FROM sqitch.changes ORDER BY planned_at;")
    return dict(row.split("|") for row in rows.splitlines())


def _reload(psql: Psql, database: Path) -> list[str]:
    changed = reload.stale_changes(database, _deployed(psql))
    if changed:
        with tempfile.TemporaryDirectory() as copies:
            psql(reload.script_to_replace(database, changed, Path(copies)))
    return changed


def test_unedited_scripts_are_as_sqitch_recorded_them(psql: Psql, database: Path) -> None:
    assert _deployed(psql)
    assert _reload(psql, database) == []


def test_an_edited_function_is_replaced_and_recorded(psql: Psql, database: Path) -> None:
    _edit(database, "deploy/define_reads.sql", "interval '24 hours'", "interval '48 hours'")
    assert _reload(psql, database) == ["define_reads"]
    asked = "SELECT pmp.expiry(true, '2026-01-01 00:00+00', 1) = '2026-01-03 00:00+00';"
    assert psql(asked) == "t"
    assert _reload(psql, database) == []
    assert psql("SELECT count(*) FROM pmp.subject;") == "0", "the verify script's rows are left"
    assert _reload(psql, ROOT / "db") == ["define_reads"], "the original comes back in the same way"
    assert psql(asked) == "f"


def test_a_failed_verification_changes_nothing(psql: Psql, database: Path) -> None:
    before = _deployed(psql)
    _edit(database, "deploy/define_users.sql", "BEGIN\n", "BEGIN\n  address := 'b@example.com';\n")
    with pytest.raises(UserError, match=r"verify/define_users.sql:\d+: ERROR:"):
        _reload(psql, database)
    assert _deployed(psql) == before
    assert psql("BEGIN; SELECT pmp.create_user('Ada@example.com', 'test') ->> 'email'; ROLLBACK;") == "Ada@example.com"


@pytest.mark.parametrize(
    ("script", "old", "new"),
    [
        ("deploy/define_users.sql", "pmp.create_user(", "pmp.create_user(extra integer, "),
        # Without a comment or a grant that would notice the second function.
        (
            "deploy/define_exports.sql",
            "COMMIT;",
            "CREATE FUNCTION pmp.expiry(other text) RETURNS text LANGUAGE sql AS 'SELECT other';\nCOMMIT;",
        ),
        ("deploy/define_reads.sql", "pmp.has_choice(document jsonb", "pmp.has_choice(renamed jsonb"),
    ],
)
def test_other_parameters_are_refused(psql: Psql, database: Path, script: str, old: str, new: str) -> None:
    names = "SELECT string_agg(oid::text, ',' ORDER BY oid) FROM pg_proc WHERE pronamespace = 'pmp'::regnamespace;"
    before = psql(names)
    _edit(database, script, old, new)
    with pytest.raises(UserError) as raised:
        _reload(psql, database)
    assert any(words in str(raised.value) for words in reload._FINAL), "its advice would be missing"
    assert psql(names) == before


def test_an_edited_table_is_refused(psql: Psql, database: Path) -> None:
    _edit(database, "deploy/create_events.sql", "BEGIN;", "BEGIN;\n")
    with pytest.raises(UserError, match=r"create_events\.sql was changed, and what it creates may hold data"):
        _reload(psql, database)
