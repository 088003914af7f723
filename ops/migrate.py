"""Bring an environment's database to the schema of this commit, from inside the network that reaches it.

The passwords of the database's roles are made here: Terraform makes empty secrets, so that no plan has to read them. A
new password is first written as pending, then given to the role, then made the current one. A run that was killed in
between left a pending password, which the next run gives to the role again.
"""

import json
import os
import re
import secrets
import shutil
import string
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ops import aws, scram, token_keys
from ops.errors import UserError
from ops.large_tables import Backfill, backfills
from ops.lock_waits import lock_waits
from ops.migrations import Change, read_plan
from ops.output import say, step
from ops.processes import run
from ops.settings import ROOT, build_directory

_DATABASE = ROOT / "db"
_MASTER, _MIGRATOR = "master", "migrator"
# Stages of a secret's versions: https://docs.aws.amazon.com/secretsmanager/latest/userguide/whats-in-a-secret.html
_CURRENT, _PENDING = "AWSCURRENT", "AWSPENDING"
# RDS signs its servers' certificates with authorities of its own: the runner carries their bundle.
_RDS_AUTHORITIES = Path("/etc/pmp/rds-ca.pem")

# Of sessions that define roles and ask questions. Changes wait as ops/lock_waits.py says.
LOCK_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT = "15min"

SESSION = {
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "statement_timeout": STATEMENT_TIMEOUT,
    # Sqitch keeps a transaction open while psql runs a script. Where the server ends transactions that are idle for a
    # minute, as modules/database has it, Sqitch could not record a script that takes longer.
    "idle_in_transaction_session_timeout": "0",
    # The server ends what a killed job has begun, instead of finishing it for nobody.
    "client_connection_check_interval": "5s",
    # An index is built by one process: helpers would take the processors from requests.
    "max_parallel_maintenance_workers": "0",
}
"""Settings of every session of a migration."""

BACKFILL_MINUTES = 20
"""How long one run works on backfills. The job's own time-out is 30 minutes."""

MOST_ACTIVE = 4
"""Sessions of others that may run a statement while a backfill goes on."""

_DEPLOYING = re.compile(r"^\s*\+ (?P<change>[^\s@]+)")
_UNKNOWN = (
    re.compile(r"Script signatures diverge at change (?P<change>[^\s@]+)"),
    re.compile(r"Cannot find change \S+ \((?P<change>[^\s@)]+)"),
)


class Migration:
    """The migration of one environment. Secrets are read now and kept in memory alone."""

    def __init__(self, environment: str, *, rotate: bool = False) -> None:
        """Read where the database is, and who may change it; make the passwords that are missing.

        Args:
            environment: name, such as ``dev``.
            rotate: make new passwords for the roles that have one.

        Raises:
            UserError: the foundation is not deployed, or no authority file is there.
        """
        self.environment = environment
        prefix = f"/pmp/{environment}/foundation"
        self._connection = {
            "PGHOST": aws.parameter(f"{prefix}/database_host"),
            "PGPORT": aws.parameter(f"{prefix}/database_port"),
            "PGDATABASE": aws.parameter(f"{prefix}/database_name"),
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(_authorities()),
            "PGCONNECT_TIMEOUT": "10",
            "PGAPPNAME": "pmp-migration",
        }
        self._passwords = {
            name: RolePassword(aws.parameter(f"{prefix}/database_{name}_secret_arn"), f"pmp_{name}")
            for name in ("app", _MIGRATOR)
        }
        for password in self._passwords.values():
            password.prepare(rotate=rotate)
        self._secrets = {
            _MASTER: aws.secret(aws.parameter(f"{prefix}/database_master_secret_arn")),
            **{name: password.login() for name, password in self._passwords.items()},
        }

    def define_roles(self) -> None:
        """Create the roles and give them their passwords, as the master user.

        PostgreSQL gets SCRAM verifiers: a statement that is slow or fails is written to the server's log.

        Raises:
            UserError: psql failed; the message holds no password.
        """
        script = "".join(
            f"\\set {name}_password {psql_literal(scram.verifier(self._secrets[name]['password']))}\n"
            for name in ("app", _MIGRATOR)
        )
        with step(f"roles of {self.environment}"):
            self._run(
                ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", "-"],
                _MASTER,
                stdin=f"{script}\\i roles.sql\n",
            )

    def keep_passwords(self) -> None:
        """Make the passwords that the roles have now the current ones."""
        for password in self._passwords.values():
            password.keep()

    def check(self) -> None:
        """Refuse scripts that differ from what was deployed: a deployed change must not be edited.

        Raises:
            UserError: plan or scripts differ from what the database remembers.
        """
        if self._ask("SELECT to_regclass('sqitch.changes') IS NOT NULL") != "t":
            return  # nothing was ever deployed here, which Sqitch takes for an error
        with step(f"sqitch check {self.environment}"):
            self._run(["sqitch", "check", "--target", "db:pg:"], _MIGRATOR)

    def deploy(self, last: str | None = None) -> None:
        """Deploy and verify every change that is not there yet; a failing one takes those of this run with it.

        Args:
            last: name of the change to stop after; None: all.

        Raises:
            UserError: a change failed, and the schema is as it was before.
        """
        command = [
            *("sqitch", "deploy", "--verify", "--mode", "all", "--target", "db:pg:"),
            *("--lock-timeout", str(LOCK_TIMEOUT_SECONDS)),
            *(("--to-change", last) if last else ()),
        ]

        def pause(seconds: float) -> None:
            say(f"  another session holds a lock: asking again in {seconds:g} s")
            time.sleep(seconds)

        held: _LockError | None = None
        with step(f"sqitch deploy {self.environment}"):
            for seconds in lock_waits(pause):
                try:
                    # Also for Sqitch's own lock, which another deployment holds.
                    self._run(command, _MIGRATOR, lock_timeout=f"{seconds * 1000:.0f}ms")
                except _LockError as error:
                    held = error
                else:
                    return
        raise UserError(str(held))

    def progress(self) -> tuple[int, frozenset[str]]:
        """The number of deployed changes, and the names of the backfills that are finished."""
        if self._ask("SELECT to_regclass('sqitch.changes') IS NOT NULL") != "t":
            return 0, frozenset()
        deployed = int(self._ask("SELECT count(*) FROM sqitch.changes"))
        if self._ask("SELECT to_regclass('pmp.backfill') IS NOT NULL") != "t":
            return deployed, frozenset()
        finished = self.run_script("SELECT name || ' ' || digest FROM pmp.backfill WHERE finished_at IS NOT NULL;\n")
        return deployed, frozenset(finished)

    def backfill(self, one: Backfill, seconds: float, most_active: int) -> None:
        """Run a backfill from where it is to its end.

        Args:
            one: the backfill; its change is deployed.
            seconds: after which it stops.
            most_active: it waits while more sessions of others run a statement.

        Raises:
            UserError: its time was over, and the message says how far it is; or its statement failed.
        """

        def show(line: str) -> None:
            if "NOTICE:" in line:
                say(f"  {line.partition('NOTICE:')[2].strip()}")

        with step(f"backfill {one.name} of {self.environment}"):
            seen, changed, finished = self.run_script(backfill_script(one, seconds, most_active), show)[-1].split("|")
        told = f"{int(seen):,} rows of {one.table} seen, {int(changed):,} changed"
        if finished != "t":
            raise UserError(
                f"the backfill {one.name} is not finished, and its time is over: {told}. The release before goes on "
                "working. Run the job again, it continues from there. With more time, on the runner: "
                f"python -m ops migrate --environment {self.environment} --backfill-minutes 300"
            )
        say(f"  {one.name}: {told}")

    def version(self) -> tuple[str, str]:
        """The newest deployed tag (may be empty) and the newest deployed change."""
        tag, change = self._ask(
            "SELECT coalesce((SELECT tag FROM sqitch.tags ORDER BY planned_at DESC LIMIT 1), ''),"
            " (SELECT change FROM sqitch.changes ORDER BY planned_at DESC LIMIT 1)"
        ).split("|")
        return tag, change

    def make_erasure_key(self) -> None:
        """Write the key by which erased addresses are recognised into its secret; one that is there is never replaced.

        Raises:
            UserError: the secret is empty, but there are erasures: with a new key, none of them would be recognised.
        """
        arn = aws.parameter(f"/pmp/{self.environment}/foundation/erasure_key_secret_arn")
        client = aws.client("secretsmanager")
        if client.describe_secret(SecretId=arn).get("VersionIdsToStages"):
            return
        if self._ask("SELECT EXISTS (SELECT FROM pmp.erasure)") == "t":
            raise UserError(
                f"the secret {arn} is empty, but {self.environment} has erasures that were recorded with its key: "
                "restore the secret; a new key would not recognise the erased people"
            )
        client.put_secret_value(SecretId=arn, SecretString=json.dumps({"key": secrets.token_hex(32)}))

    def run_script(self, script: str, show: Callable[[str], None] | None = None) -> list[str]:
        """Run a script for psql as the schema's owner, and return its rows as lines of columns parted by ``|``.

        Args:
            script: SQL and commands of psql.
            show: called with each line as it comes.

        Raises:
            UserError: psql failed.
        """
        options = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--set", "ON_ERROR_STOP=1", "--file", "-"]
        return self._run(["psql", *options], _MIGRATOR, stdin=script, show=show or (lambda _: None))

    def _ask(self, question: str) -> str:
        return self.run_script(f"{question};\n")[-1]

    def _run(
        self,
        command: list[str],
        who: str,
        *,
        stdin: str = "",
        show: Callable[[str], None] = say,
        lock_timeout: str = SESSION["lock_timeout"],
    ) -> list[str]:
        user = self._secrets[who]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "SQITCH_"))}
        # In the child's environment alone: an argument would show in every process list.
        environment |= self._connection | {"PGUSER": user["username"], "PGPASSWORD": user["password"]}
        environment |= {
            "PGOPTIONS": " ".join(
                f"-c {name}={value}" for name, value in (SESSION | {"lock_timeout": lock_timeout}).items()
            ),
            "SQITCH_FULLNAME": "PMP pipeline",
            "SQITCH_EMAIL": "pipeline@pmp.invalid",
        }

        def show_masked(line: str) -> None:
            show(self._masked(line))

        status, lines = run(command, directory=_DATABASE, environment=environment, show=show_masked, stdin=stdin)
        if status:
            telling = ("ERROR:", "FATAL:", "diverge", "Cannot find change", "Timed out", "not present", "out of order")
            problem = next((line for line in lines if any(word in line for word in telling)), (lines or [""])[-1])
            kind = _LockError if is_locked_out(lines) else UserError
            raise kind(
                f"{command[0]} failed on {self.environment}'s database: {self._masked(problem).strip()}{advice(lines)}"
            )
        return lines

    def _masked(self, text: str) -> str:
        for secret in self._secrets.values():
            text = text.replace(secret["password"], "********")
        return text


class _LockError(UserError):
    """Another session holds a lock that a change, or Sqitch itself, needs."""


def is_locked_out(lines: list[str]) -> bool:
    """Whether a deployment failed by a lock, so that the same deployment may succeed later.

    An index that is built beside writes waits for itself (ops/large_tables.py), and leaves a half built one.

    Args:
        lines: the output of Sqitch or psql.
    """
    return _is_timed_out(lines) and not _builds_index(lines)


def _is_timed_out(lines: list[str]) -> bool:
    return any("lock timeout" in line or "Timed out waiting" in line for line in lines)


def _deploying(lines: list[str]) -> list[str]:
    return [match["change"] for line in lines if (match := _DEPLOYING.match(line))]


def _builds_index(lines: list[str]) -> bool:
    deploying = _deploying(lines)
    script = _DATABASE / "deploy" / f"{deploying[-1]}.sql" if deploying else None
    return script is not None and script.exists() and "CONCURRENTLY" in script.read_text(encoding="utf-8")


def advice(lines: list[str]) -> str:
    """What to do about a failed deployment: the end of its error message, empty where nothing is known.

    Args:
        lines: the output of Sqitch or psql.
    """
    text, deploying = "\n".join(lines), _deploying(lines)
    if _is_timed_out(lines) and "Blocked by another instance of Sqitch" in text and not deploying:
        return "; another deployment is running, nothing was changed: run the job again when it has ended"
    if _builds_index(lines):
        return (
            "; an index that is half built stays, unused, until the next run drops it and builds it again: "
            "remove the cause, then run the job again"
        )
    if _is_timed_out(lines):
        return (
            "; another session holds a lock, nothing was changed: find it "
            "(docs/runbook.md#a-migration-that-does-not-get-its-lock), then run the job again"
        )
    for pattern in _UNKNOWN:
        if match := pattern.search(text):
            return _advice_on_edit(match["change"])
    if "already exists" in text and deploying:
        change = deploying[-1]
        return (
            f"; if an earlier deployment was killed after it had committed {change}, only Sqitch's record of it is "
            f"missing: run 'sqitch deploy --log-only --verify --to-change {change}' (db/README.md), then the job "
            "again; otherwise fix the script"
        )
    return ""


def _advice_on_edit(change: str) -> str:
    """The database holds another form of the change than this commit's."""
    changes, tags = read_plan(_DATABASE / "sqitch.plan")
    is_released = any(one.name == change and one.release < len(tags) for one in changes)
    if aws.is_emulated() and not is_released:
        return (
            "; it is not released and was rewritten: run 'make down', then 'make up'; if it only defines functions, "
            "'make reload' is enough"
        )
    return "; a deployed change must not be edited: revert the edit, and make it in a new change"


class RolePassword:
    """The password of a database role in its secret, which Terraform made empty."""

    _LENGTH = 40
    # Other signs mean something in PgBouncer's files, connection URLs and shells.
    _SIGNS = string.ascii_letters + string.digits

    def __init__(self, secret_arn: str, role: str) -> None:
        """Name the secret's ARN and the role, such as ``pmp_app``."""
        self._arn = secret_arn
        self._role = role

    def prepare(self, *, rotate: bool = False) -> None:
        """Write a pending password where there is none at all, or where a new one is wanted and none is pending."""
        stages = self._stages()
        if _PENDING in stages or (_CURRENT in stages and not rotate):
            return
        password = "".join(secrets.choice(self._SIGNS) for _ in range(self._LENGTH))
        aws.client("secretsmanager").put_secret_value(
            SecretId=self._arn,
            SecretString=json.dumps({"username": self._role, "password": password}),
            # The first version of a secret is current at once, whatever is asked for.
            VersionStages=[_PENDING] if _CURRENT in stages else [_CURRENT, _PENDING],
        )

    def login(self) -> dict[str, str]:
        """Return user name and password that the role is to have: the pending one, else the current one."""
        stage = _PENDING if _PENDING in self._stages() else _CURRENT
        found = aws.client("secretsmanager").get_secret_value(SecretId=self._arn, VersionStage=stage)
        login: dict[str, str] = json.loads(found["SecretString"])
        return login

    def keep(self) -> bool:
        """Make a pending password the current one; whether there was one."""
        stages = self._stages()
        pending, current = stages.get(_PENDING), stages.get(_CURRENT)
        if pending is None:
            return False
        client = aws.client("secretsmanager")
        if pending != current:
            old = {"RemoveFromVersionId": current} if current else {}
            client.update_secret_version_stage(
                SecretId=self._arn, VersionStage=_CURRENT, MoveToVersionId=pending, **old
            )
        if self._stages().get(_PENDING) == pending:
            client.update_secret_version_stage(SecretId=self._arn, VersionStage=_PENDING, RemoveFromVersionId=pending)
        return True

    def _stages(self) -> dict[str, str]:
        """Return version ids by their stage."""
        found = aws.client("secretsmanager").describe_secret(SecretId=self._arn).get("VersionIdsToStages") or {}
        return {stage: version for version, stages in found.items() for stage in stages}


def backfill_script(one: Backfill, seconds: float, most_active: int = MOST_ACTIVE) -> str:
    """SQL that runs a backfill for some seconds, and returns the rows seen and changed, and whether it is finished."""
    keys = "{" + ",".join(one.keys) + "}"
    literals = ", ".join(map(_sql_literal, (one.name, one.digest, one.table, keys, one.statement)))
    return (
        "SET statement_timeout = 0;\n"
        f"CALL pmp.run_backfill({literals}, {max(round(seconds), 1)}, {most_active});\n"
        f"SELECT seen, changed, finished_at IS NOT NULL FROM pmp.backfill WHERE name = '{one.name}';\n"
    )


@dataclass(frozen=True)
class Stage:
    """A part of a migration: changes to deploy, then the backfills that belong to them or to earlier ones.

    Attributes:
        last: the change to stop after; None: the end of the plan. Empty: nothing is to be deployed.
        backfills: in the order of their changes.
    """

    last: str | None
    backfills: list[Backfill]


def stages(changes: list[Change], deployed: int, waiting: Iterable[Backfill]) -> Iterator[Stage]:
    """Part a migration so that whatever a change removes is removed after all backfills before it.

    Args:
        changes: all lines of the plan.
        deployed: how many of them the database has.
        waiting: backfills that are not finished.
    """
    left = list(waiting)
    known = set[str]()
    for place, change in enumerate(changes):
        due = [one for one in left if one.name in known]
        if place >= deployed and change.contracts and due:
            yield Stage(changes[place - 1].name if place > deployed else "", due)
            left = [one for one in left if one not in due]
        known.add(change.name)
    yield Stage(None, left)


def deploy(migration: Migration, minutes: float = BACKFILL_MINUTES, most_active: int = MOST_ACTIVE) -> None:
    """Deploy the schema and run its backfills.

    Args:
        migration: of the environment.
        minutes: of work on backfills.
        most_active: a backfill waits while more sessions of others run a statement.

    Raises:
        UserError: a change or a backfill failed, or a backfill needs more time: nothing that has to come after it was
            deployed.
    """
    changes, _ = read_plan(_DATABASE / "sqitch.plan")
    deployed, finished = migration.progress()
    waiting = [
        one
        for one in backfills(_DATABASE, [change.name for change in changes])
        if f"{one.name} {one.digest}" not in finished
    ]
    ends_at = time.monotonic() + minutes * 60
    for stage in stages(changes, deployed, waiting):
        if stage.last != "":
            migration.deploy(stage.last)
        for one in stage.backfills:
            migration.backfill(one, ends_at - time.monotonic(), most_active)


def migrate(
    environment: str, *, rotate: bool = False, minutes: float = BACKFILL_MINUTES, most_active: int = MOST_ACTIVE
) -> None:
    """Define the roles, deploy the schema, run backfills, say where it stands now.

    Args:
        environment: name, such as ``dev``.
        rotate: give the roles that log in new passwords.
        minutes: of work on backfills.
        most_active: a backfill waits while more sessions of others run a statement.

    Raises:
        UserError: any part failed; the message is about the first one.
    """
    for program in ("psql", "sqitch"):
        if not shutil.which(program):
            raise UserError(f"{program} is not on PATH: install the Debian packages postgresql-client and sqitch")
    migration = Migration(environment, rotate=rotate)
    migration.define_roles()
    migration.keep_passwords()
    migration.check()
    deploy(migration, minutes, most_active)
    migration.make_erasure_key()
    token_keys.make_first(environment)
    tag, change = migration.version()
    record = build_directory() / "migrations" / f"{environment}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({"environment": environment, "tag": tag, "change": change}) + "\n")
    say(f"schema of {environment}: tag {tag or '(none)'}, change {change}")


def psql_literal(text: str) -> str:
    r"""A value for psql's ``\set``, whose single quotes know C's escapes.

    Raises:
        ValueError: it has a line's end, which would begin another command.
    """
    if "\n" in text or "\r" in text:
        raise ValueError("a value for psql has a line's end in it")
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _sql_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _authorities() -> Path:
    named = os.environ.get("PMP_DATABASE_CA_FILE")
    if not named and aws.is_emulated():
        named = os.environ.get("AWS_CA_BUNDLE")
    path = Path(named) if named else _RDS_AUTHORITIES
    if not path.exists():
        raise UserError(
            f"{path}, the authorities that sign the database's certificate, is missing: the runner has it, elsewhere "
            "set PMP_DATABASE_CA_FILE to RDS's bundle"
        )
    return path
