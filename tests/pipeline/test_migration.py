"""The migration job against a real PostgreSQL, while the API works through a pooler."""

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops import migrate, processes
from ops.errors import UserError
from tests.support.migration import PASSWORDS, Job

pytestmark = pytest.mark.slow


@contextmanager
def forgotten_report(job: Job) -> Iterator[Callable[[], None]]:
    """A transaction that has read the users: while it is open, nobody can alter the table. Yields what ends it."""
    cluster = job.stack.cluster
    reader = subprocess.Popen(
        ["psql", "--no-psqlrc", "--quiet", f"{cluster.url('pmp_admin')}"],
        stdin=subprocess.PIPE,
        env=os.environ | {"PGPASSWORD": PASSWORDS["master"]},
        text=True,
    )
    assert reader.stdin
    cluster.psql("GRANT USAGE ON SCHEMA pmp TO pmp_admin; GRANT SELECT ON pmp.subject TO pmp_admin")
    try:
        reader.stdin.write("BEGIN; SELECT count(*) FROM pmp.subject;\n")
        reader.stdin.flush()
        while cluster.psql("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'") == "0":
            time.sleep(0.05)
        yield reader.kill
    finally:
        reader.kill()
        reader.wait()
        cluster.psql("REVOKE ALL ON pmp.subject FROM pmp_admin; REVOKE USAGE ON SCHEMA pmp FROM pmp_admin")


def test_blocked_migration_gives_way_and_gives_up_while_the_api_keeps_serving(
    job: Job, clients: Callable[[], Callable[[], list[dict[str, object]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = job.schema()
    job.add("add_column", "ALTER TABLE pmp.subject ADD COLUMN added int;")
    monkeypatch.setattr(migrate, "lock_waits", lambda _: iter([0.1, 0.8]))
    with forgotten_report(job):
        reports = clients()
        with pytest.raises(UserError, match="lock timeout; another session holds a lock, nothing was changed: find it"):
            migrate.Migration("dev").deploy()
        answers = reports()
    assert job.schema() == before
    for one in answers:
        assert one["failures"] == []
        # Requests wait as long as the migration waits for its lock, and not longer.
        assert 0.5 < float(str(one["slowest"])) < 4, one
        assert int(str(one["answers"])) > 100


def test_migration_gets_its_lock_when_the_other_transaction_has_ended(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job.add("add_column", "ALTER TABLE pmp.subject ADD COLUMN added int;")
    with forgotten_report(job) as end:
        waits = list[float]()

        def lock_waits(_: object) -> Iterator[float]:
            for seconds in (0.1, 0.2, 5):
                waits.append(seconds)
                if len(waits) == 3:
                    end()
                yield seconds

        monkeypatch.setattr(migrate, "lock_waits", lock_waits)
        migrate.Migration("dev").deploy()
    assert len(waits) == 3
    assert "added integer" in job.schema()


def test_failed_change_rolls_back_the_whole_migration(job: Job) -> None:
    before = job.schema()
    job.add("create_added", "CREATE TABLE pmp.added (a int);", revert="DROP TABLE pmp.added;")
    job.add("add_column", "ALTER TABLE pmp.subject ADD COLUMN added int;", verify="SELECT 1 / 0;",
            revert="ALTER TABLE pmp.subject DROP COLUMN added;")  # fmt: skip
    with pytest.raises(UserError, match="sqitch failed on dev's database"):
        job.run()
    assert job.schema() == before


def test_second_migration_changes_nothing(job: Job) -> None:
    job.add("add_column", "ALTER TABLE pmp.subject ADD COLUMN added int;")
    job.run()
    after = job.schema()
    assert "added integer" in after
    job.run()
    assert job.schema() == after
    assert migrate.Migration("dev").version()[1] == "add_column"


def _can_log_in(job: Job, role: str, password: str) -> bool:
    environment = os.environ | {
        "PGHOST": "localhost",
        "PGPORT": str(job.stack.cluster.port),
        "PGDATABASE": "pmp",
        "PGUSER": role,
        "PGPASSWORD": password,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(job.stack.authority.bundle_path),
    }
    return not subprocess.run(["psql", "-c", "SELECT 1"], env=environment, check=False, capture_output=True).returncode


def test_an_empty_secret_gets_a_password_that_the_role_has(job: Job) -> None:
    """Terraform makes the secret without a value."""
    job.secrets.stages["app"].clear()
    job.run()
    password = job.secrets.password("app")
    assert re.fullmatch("[A-Za-z0-9]{40}", password)
    assert _can_log_in(job, "pmp_app", password)
    assert not _can_log_in(job, "pmp_app", PASSWORDS["app"])
    assert set(job.secrets.stages["app"]) == {"AWSCURRENT"}


def test_a_second_run_keeps_the_passwords(job: Job) -> None:
    job.run()
    assert {name: job.secrets.password(name) for name in PASSWORDS} == PASSWORDS


def test_passwords_are_rotated_on_demand(job: Job) -> None:
    job.run(rotate=True)
    for name in ("app", "migrator"):
        assert job.secrets.password(name) != PASSWORDS[name]
        assert _can_log_in(job, f"pmp_{name}", job.secrets.password(name))
        assert set(job.secrets.stages[name]) == {"AWSCURRENT"}


@pytest.mark.parametrize("cut", ["after the secret", "after the role", "between the stages"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_killed_run_heals(job: Job, cut: str, is_first: bool) -> None:
    if is_first:
        job.secrets.stages["app"].clear()
    migration = migrate.Migration("dev", rotate=True)
    if cut != "after the secret":
        migration.define_roles()
    if cut == "between the stages":
        job.secrets.stages["app"]["AWSCURRENT"] = job.secrets.stages["app"]["AWSPENDING"]
    job.run()
    for name in ("app", "migrator"):
        assert _can_log_in(job, f"pmp_{name}", job.secrets.password(name))
        assert set(job.secrets.stages[name]) == {"AWSCURRENT"}


def test_the_proxys_own_role_may_connect(job: Job) -> None:
    """PUBLIC may not connect to the database, and RDS Proxy's role has no other right to."""
    question = "SELECT has_database_privilege('rdsproxyadmin', 'pmp', 'CONNECT')"
    job.stack.cluster.psql("CREATE ROLE rdsproxyadmin LOGIN")
    try:
        assert job.stack.cluster.psql(question).strip() == "f"
        job.run()
        assert job.stack.cluster.psql(question).strip() == "t"
    finally:
        job.stack.cluster.psql("REVOKE CONNECT ON DATABASE pmp FROM rdsproxyadmin; DROP ROLE rdsproxyadmin")


def test_edit_of_a_deployed_change_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    script = job.directory / "deploy" / "create_schema.sql"
    script.write_text(script.read_text() + "-- edited\n")
    with pytest.raises(UserError, match=r"diverge .*create_schema.*; a deployed change must not be edited: revert"):
        job.run()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://localhost:4566")
    with pytest.raises(UserError, match=r"diverge .*create_schema; .*run 'make down', then 'make up'"):
        job.run()


def test_a_rewritten_line_of_the_plan_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sqitch's own check compares scripts only; the deployment misses the change."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    plan = job.directory / "sqitch.plan"
    changed, count = re.subn(r"(?m)^(define_users .*# ).*$", r"\1Another note", plan.read_text())
    assert count == 1
    plan.write_text(changed)
    with pytest.raises(UserError, match=r"Cannot find change .*; a deployed change must not be edited: revert"):
        job.run()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://localhost:4566")
    with pytest.raises(UserError, match=r"Cannot find change .*; .*run 'make down', then 'make up'"):
        job.run()


def test_a_second_deployment_waits_for_the_first(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "lock_waits", lambda _: iter([0.1, 0.5]))
    job.add("add_column", "ALTER TABLE pmp.subject ADD COLUMN added int;")
    other = subprocess.Popen(
        ["psql", "--no-psqlrc", "--quiet", "--tuples-only", f"{job.stack.cluster.url('pmp_admin')}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PGPASSWORD": PASSWORDS["master"]},
        text=True,
    )
    assert other.stdin
    assert other.stdout
    try:
        # The lock that Sqitch holds while it deploys.
        other.stdin.write("SELECT pg_advisory_lock(75474063), 'held';\n")
        other.stdin.flush()
        assert "held" in other.stdout.readline()
        with pytest.raises(UserError, match="another deployment is running, nothing was changed"):
            migrate.Migration("dev").deploy()
        other.stdin.close()
        migrate.Migration("dev").deploy()
    finally:
        other.kill()
        other.wait()


def test_a_change_without_its_record_is_recorded_by_the_advice(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.add("create_added", "CREATE TABLE pmp.added (a int);", verify="SELECT a FROM pmp.added WHERE false;")
    # What a kill between the script's COMMIT and Sqitch's record leaves.
    job.stack.cluster.psql("SET ROLE pmp_migrator; CREATE TABLE pmp.added (a int)")
    migration = migrate.Migration("dev")
    with pytest.raises(UserError, match="already exists; if an earlier deployment was killed") as raised:
        migration.deploy()
    found = re.search(r"'(sqitch deploy [^']*)'", str(raised.value))
    assert found
    assert found[1].endswith(" --to-change create_added")
    migration._run([*found[1].split(), "--target", "db:pg:"], "migrator")
    job.run()
    assert migration.version()[1] == "create_added"


def test_migration_never_shows_a_password(
    job: Job, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = list[list[str]]()
    real = processes.run

    def recording(command: list[str], **options: object) -> object:
        commands.append([str(word) for word in command])
        return real(command, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(migrate, "run", recording)
    (job.directory / "roles.sql").write_text("ALTER ROLE no_such_role PASSWORD :'app_password';\n")
    with pytest.raises(UserError, match=r"psql failed on dev's database: .*no_such_role") as raised:
        job.run()
    shown = "".join(capfd.readouterr()) + str(raised.value) + str(commands)
    for password in PASSWORDS.values():
        assert password not in shown


def test_server_with_an_untrusted_certificate_is_refused(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from local.servers.certificates import Authority

    monkeypatch.setenv("PMP_DATABASE_CA_FILE", str(Authority(tmp_path / "other").bundle_path))
    with pytest.raises(UserError, match=r"psql failed on dev's database: .*certificate verify failed"):
        job.run()
