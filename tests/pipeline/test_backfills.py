"""Changes of large tables by the migration job: backfills in portions, and indexes that are built beside writes."""

import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from ops import migrate
from ops.errors import UserError
from tests.support.migration import PASSWORDS, Job

pytestmark = pytest.mark.slow

ROWS = 6_000
# A portion takes at least 50 ms, so that a test has the time to interfere.
STATEMENT = (
    "UPDATE pmp.added AS a SET b = a.a * 2 FROM portion AS p\n"
    "WHERE a.a = p.a AND (SELECT pg_sleep(0.05)) IS NOT NULL -- a comment's quote;\n"
)


def create_table(job: Job) -> None:
    job.stack.cluster.psql(
        f"CREATE TABLE pmp.added AS SELECT n AS a FROM generate_series(1, {ROWS}) AS n; "
        "ALTER TABLE pmp.added ADD PRIMARY KEY (a); ALTER TABLE pmp.added OWNER TO pmp_migrator"
    )


@pytest.fixture
def table(job: Job) -> Job:
    """The job on a database with a table, and with a change and a backfill of it that are not deployed yet."""
    create_table(job)
    job.add("add_b", "ALTER TABLE pmp.added ADD COLUMN b int;", revert="ALTER TABLE pmp.added DROP COLUMN b;")
    backfill(job, STATEMENT)
    return job


def backfill(job: Job, statement: str) -> None:
    (job.directory / "backfills").mkdir(exist_ok=True)
    (job.directory / "backfills" / "add_b.sql").write_text(
        f"-- Backfill pmp:add_b\n-- Portions of pmp.added by a\n{statement}"
    )


def state(job: Job) -> list[str]:
    """Rows seen, rows changed, whether it is finished, and its place."""
    return job.stack.cluster.psql(
        "SELECT seen, changed, finished_at IS NOT NULL, coalesce(place[1], '') FROM pmp.backfill WHERE name = 'add_b'"
    ).split("|")


def filled(job: Job) -> int:
    return int(job.stack.cluster.psql("SELECT count(*) FROM pmp.added WHERE b = a * 2"))


def wait(job: Job, question: str) -> None:
    """Wait until a question about the database is answered with yes."""
    ends_at = time.monotonic() + 20
    while job.stack.cluster.psql(f"SELECT {question}") != "t":
        assert time.monotonic() < ends_at, question
        time.sleep(0.02)


@contextmanager
def session(job: Job, statements: str) -> Iterator[None]:
    """Another session that has run statements and stays as it is then."""
    client = subprocess.Popen(
        ["psql", "--no-psqlrc", "--quiet", "--tuples-only", job.stack.cluster.url("pmp_admin")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PGPASSWORD": PASSWORDS["master"]},
        text=True,
    )
    assert client.stdin
    assert client.stdout
    try:
        client.stdin.write(f"SET ROLE pmp_migrator;\n{statements}\nSELECT 'there';\n")
        client.stdin.flush()
        while "there" not in client.stdout.readline():
            assert client.poll() is None
        yield
    finally:
        client.kill()
        client.wait()


def _children() -> set[int]:
    """Process ids of the psql that this process runs."""
    found = subprocess.run(["pgrep", "--parent", str(os.getpid()), "psql"], capture_output=True, text=True, check=False)
    return {int(line) for line in found.stdout.split()}


def _terminate(job: Job) -> None:
    job.stack.cluster.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CALL pmp.run_back%'"
    )


def _kill(_: Job) -> None:
    for child in _children():
        os.kill(child, 9)


@pytest.mark.parametrize("end", [_terminate, _kill])
def test_a_backfill_that_is_killed_goes_on_where_it_was(
    table: Job, end: Callable[[Job], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert migrate.SESSION["client_connection_check_interval"] == "5s"
    monkeypatch.setitem(migrate.SESSION, "client_connection_check_interval", "200ms")

    def interfere() -> None:
        wait(table, "EXISTS (SELECT FROM pmp.backfill WHERE seen > 0)")
        end(table)

    thread = threading.Thread(target=interfere)
    thread.start()
    with pytest.raises(UserError, match="psql failed on dev's database"):
        table.run()
    thread.join()
    # The server notices after the interval that the client is gone, and takes its last portion back.
    wait(table, "NOT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE 'CALL pmp.run_back%' AND state = 'active')")
    seen, changed, finished, place = state(table)
    assert 0 < int(seen) < ROWS
    assert (changed, finished, place) == (seen, "f", seen)
    assert filled(table) == int(seen), "a portion and its place are committed together"
    table.run()
    assert state(table) == [str(ROWS), str(ROWS), "t", str(ROWS)], "no row is seen by two portions"
    assert filled(table) == ROWS


def test_a_finished_backfill_is_not_run_again_and_an_edited_one_is(table: Job) -> None:
    table.run()
    assert filled(table) == ROWS
    table.stack.cluster.psql("UPDATE pmp.added SET b = NULL")
    table.run()
    assert filled(table) == 0
    backfill(table, STATEMENT.replace("a.a * 2", "a.a * 2 + 0"))
    table.run()
    assert filled(table) == ROWS


def test_a_change_that_removes_waits_for_the_backfill(table: Job) -> None:
    table.add("drop_a", "ALTER TABLE pmp.added DROP COLUMN a;", note="contract: nobody reads a")
    with pytest.raises(
        UserError, match=r"the backfill add_b is not finished, and its time is over: [\d,]+ rows of"
    ) as told:
        table.run(minutes=0, most_active=-1)
    assert "--environment dev --backfill-minutes 300" in str(told.value)
    assert state(table)[2] == "f"
    assert migrate.Migration("dev").version()[1] == "add_b"
    table.run()
    assert state(table)[2] == "t"
    assert (
        table.stack.cluster.psql(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'pmp.added'::regclass "
            "AND attnum > 0 AND NOT attisdropped"
        )
        == "b"
    )


def test_a_backfill_waits_while_others_are_active(table: Job, capfd: pytest.CaptureFixture[str]) -> None:
    with session(table, "SELECT 1;"):
        busy = subprocess.Popen(
            ["psql", "--no-psqlrc", "--quiet", table.stack.cluster.url("pmp_admin"), "-c", "SELECT pg_sleep(60)"],
            env=os.environ | {"PGPASSWORD": PASSWORDS["master"]},
        )
        try:
            wait(table, "EXISTS (SELECT FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)')")
            with pytest.raises(UserError, match="its time is over: 0 rows"):
                table.run(minutes=0.03, most_active=0)
        finally:
            busy.kill()
            busy.wait()
    assert "waits: 1 active sessions, 0 are allowed" in "".join(capfd.readouterr())
    table.stack.cluster.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
    )
    table.run(most_active=0)
    assert filled(table) == ROWS


def test_a_backfill_gives_way_to_whoever_has_a_row(table: Job) -> None:
    with pytest.raises(UserError, match="its time is over: 0 rows"):
        table.run(minutes=0, most_active=-1)
    with session(table, f"BEGIN; SELECT a FROM pmp.added WHERE a = {ROWS // 2} FOR UPDATE;"):
        with pytest.raises(UserError, match="its time is over"):
            table.run(minutes=0.1)
        # It went on in ever smaller portions until it was next to the row.
        assert ROWS // 2 - 300 < int(state(table)[0]) < ROWS // 2
    table.run()
    assert filled(table) == ROWS


def test_requests_are_served_beside_a_backfill(
    job: Job, clients: Callable[[], Callable[[], list[dict[str, object]]]]
) -> None:
    job.stack.cluster.psql(
        "SET ROLE pmp_migrator; INSERT INTO pmp.subject (id, email, created_by) "
        "SELECT gen_random_uuid(), 'backfill' || n || '@example.com', pmp.source_key('backfill') "
        "FROM generate_series(1, 15000) AS n"
    )
    job.add("add_b", "ALTER TABLE pmp.subject ADD COLUMN added int;")
    backfill(job, "UPDATE pmp.subject AS s SET added = 1 FROM portion AS p WHERE s.subject_key = p.subject_key\n")
    path = job.directory / "backfills" / "add_b.sql"
    path.write_text(path.read_text().replace("pmp.added by a", "pmp.subject by subject_key"))
    reports = clients()
    job.run()
    answers = reports()
    assert (
        job.stack.cluster.psql("SELECT count(*) FROM pmp.subject WHERE added IS NULL AND email LIKE 'backfill%'") == "0"
    )
    for one in answers:
        assert one["failures"] == []
        assert float(str(one["slowest"])) < 1, "a portion holds its rows for about 0.2 s"


INDEX = (
    "SET statement_timeout = '6h';\nSET lock_timeout = '30s';\n"
    "DROP INDEX CONCURRENTLY IF EXISTS pmp.added_c;\n"
    "CREATE UNIQUE INDEX CONCURRENTLY added_c ON pmp.added ((a % {}));"
)
VALID = "SELECT 1 / indisvalid::int FROM pg_index WHERE indexrelid = 'pmp.added_c'::regclass;"


def index(job: Job, modulus: int) -> None:
    """Plan the change that builds an index, which fails if two rows have the same remainder."""
    drop = "DROP INDEX CONCURRENTLY IF EXISTS pmp.added_c;"
    plan = job.directory / "sqitch.plan"
    plan.write_text(re.sub(r"(?m)^index_c .*\n", "", plan.read_text()))
    job.add("index_c", INDEX.format(modulus), VALID, drop, in_transaction=False)


def indexes(job: Job) -> list[str]:
    """Whether each index with the name is valid."""
    return job.stack.cluster.psql(
        "SELECT i.indisvalid FROM pg_index AS i WHERE i.indexrelid::regclass::text = 'pmp.added_c'"
    ).split()


def test_an_index_that_was_cut_off_is_built_again(job: Job) -> None:
    create_table(job)
    index(job, 10)
    with pytest.raises(UserError, match=r"could not create unique index.*; an index that is half built stays"):
        job.run()
    assert indexes(job) == ["f"]
    index(job, ROWS * 10)
    with session(job, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pmp.consent;"):
        # While an old transaction is open, the build waits at its end: the moment at which a job is killed.
        thread = threading.Thread(target=_end_build, args=[job])
        thread.start()
        with pytest.raises(UserError, match="sqitch failed on dev's database"):
            job.run()
        thread.join()
        assert indexes(job) == ["f"]
    job.run()
    assert indexes(job) == ["t"]
    assert migrate.Migration("dev").version()[1] == "index_c"


def _end_build(job: Job) -> None:
    build = "FROM pg_stat_activity WHERE query LIKE 'CREATE UNIQUE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"
    wait(job, f"EXISTS (SELECT {build})")
    job.stack.cluster.psql(f"SELECT pg_terminate_backend(pid) {build}")


def test_a_script_may_take_longer_than_an_idle_transaction(job: Job) -> None:
    """Sqitch's own transaction is idle while psql runs a script."""
    job.stack.cluster.psql("ALTER ROLE pmp_migrator SET idle_in_transaction_session_timeout = '1s'")
    try:
        job.add("create_added", "CREATE TABLE pmp.added (a int); SELECT pg_sleep(3);")
        job.run()
    finally:
        job.stack.cluster.psql("ALTER ROLE pmp_migrator RESET idle_in_transaction_session_timeout")
    assert migrate.Migration("dev").version()[1] == "create_added"
