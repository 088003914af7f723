"""Bring an environment's database to the schema of this commit, from inside the network that reaches it."""

import json
import os
import re
import shutil
from pathlib import Path

from ops import aws
from ops.errors import UserError
from ops.migrations import read_plan
from ops.output import say, step
from ops.processes import run
from ops.settings import ROOT, build_directory

_DATABASE = ROOT / "db"
_MASTER, _MIGRATOR = "master", "migrator"
# RDS signs its servers' certificates with authorities of its own: the runner carries their bundle.
_RDS_AUTHORITIES = Path("/etc/pmp/rds-ca.pem")

# A migration that waits for a lock queues everybody else behind it: give up before anybody's request does.
# The limit holds for every session, so also for Sqitch's own wait for another deployment.
LOCK_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT = "15min"

_DEPLOYING = re.compile(r"^\s*\+ (?P<change>[^\s@]+)")
_UNKNOWN = (
    re.compile(r"Script signatures diverge at change (?P<change>[^\s@]+)"),
    re.compile(r"Cannot find change \S+ \((?P<change>[^\s@)]+)"),
)


class Migration:
    """The migration of one environment. Secrets are read now and kept in memory alone."""

    def __init__(self, environment: str) -> None:
        """Read where the database is, and who may change it.

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
        secrets = {
            _MASTER: f"{prefix}/database_master_secret_arn",
            _MIGRATOR: f"{prefix}/database_migrator_secret_arn",
            "app": f"{prefix}/database_app_secret_arn",
        }
        self._secrets = {name: aws.secret(aws.parameter(path)) for name, path in secrets.items()}

    def define_roles(self) -> None:
        """Create the roles and give them their passwords, as the master user; changes nothing the second time.

        Raises:
            UserError: psql failed; the message holds no password.
        """
        script = "".join(
            f"\\set {name}_password {psql_literal(self._secrets[name]['password'])}\n" for name in ("app", _MIGRATOR)
        )
        with step(f"roles of {self.environment}"):
            self._run(
                ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", "-"],
                _MASTER,
                stdin=f"{script}\\i roles.sql\n",
            )

    def check(self) -> None:
        """Refuse scripts that differ from what was deployed: a deployed change must not be edited.

        Raises:
            UserError: plan or scripts differ from what the database remembers.
        """
        if self._ask("SELECT to_regclass('sqitch.changes') IS NOT NULL") != "t":
            return  # nothing was ever deployed here, which Sqitch takes for an error
        with step(f"sqitch check {self.environment}"):
            self._run(["sqitch", "check", "--target", "db:pg:"], _MIGRATOR)

    def deploy(self) -> None:
        """Deploy and verify every change that is not there yet; a failing one takes those of this run with it.

        Raises:
            UserError: a change failed, and the schema is as it was before.
        """
        with step(f"sqitch deploy {self.environment}"):
            self._run(
                [
                    *("sqitch", "deploy", "--verify", "--mode", "all", "--target", "db:pg:"),
                    *("--lock-timeout", str(LOCK_TIMEOUT_SECONDS)),
                ],
                _MIGRATOR,
            )

    def version(self) -> tuple[str, str]:
        """The newest deployed tag (may be empty) and the newest deployed change."""
        tag, change = self._ask(
            "SELECT coalesce((SELECT tag FROM sqitch.tags ORDER BY planned_at DESC LIMIT 1), ''),"
            " (SELECT change FROM sqitch.changes ORDER BY planned_at DESC LIMIT 1)"
        ).split("|")
        return tag, change

    def _ask(self, question: str) -> str:
        command = ["psql", "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--command", question]
        return self._run(command, _MIGRATOR, quiet=True)[-1]

    def _run(self, command: list[str], who: str, *, stdin: str = "", quiet: bool = False) -> list[str]:
        user = self._secrets[who]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "SQITCH_"))}
        # In the child's environment alone: an argument would show in every process list.
        environment |= self._connection | {"PGUSER": user["username"], "PGPASSWORD": user["password"]}
        environment |= {
            "PGOPTIONS": f"-c lock_timeout={LOCK_TIMEOUT_SECONDS}s -c statement_timeout={STATEMENT_TIMEOUT}",
            "SQITCH_FULLNAME": "PMP pipeline",
            "SQITCH_EMAIL": "pipeline@pmp.invalid",
        }

        def show(line: str) -> None:
            if not quiet:
                say(self._masked(line))

        status, lines = run(command, directory=_DATABASE, environment=environment, show=show, stdin=stdin)
        if status:
            telling = ("ERROR:", "FATAL:", "diverge", "Cannot find change", "Timed out", "not present", "out of order")
            problem = next((line for line in lines if any(word in line for word in telling)), (lines or [""])[-1])
            raise UserError(
                f"{command[0]} failed on {self.environment}'s database: {self._masked(problem).strip()}{advice(lines)}"
            )
        return lines

    def _masked(self, text: str) -> str:
        for secret in self._secrets.values():
            text = text.replace(secret["password"], "********")
        return text


def advice(lines: list[str]) -> str:
    """What to do about a failed deployment: the end of its error message, empty where nothing is known.

    Args:
        lines: the output of Sqitch or psql.
    """
    text = "\n".join(lines)
    deploying = [match["change"] for line in lines if (match := _DEPLOYING.match(line))]
    timed_out = "lock timeout" in text or "Timed out waiting" in text
    if timed_out and "Blocked by another instance of Sqitch" in text and not deploying:
        return "; another deployment is running, nothing was changed: run the job again when it has ended"
    if timed_out:
        return (
            f"; another session held a lock for more than {LOCK_TIMEOUT_SECONDS} s, nothing was changed: "
            "run the job again"
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
        return "; it is not released and was rewritten: run 'make down', then 'make up'"
    return "; a deployed change must not be edited: revert the edit, and make it in a new change"


def migrate(environment: str) -> None:
    """Define the roles, deploy the schema, say where it stands now.

    Raises:
        UserError: any part failed; the message is about the first one.
    """
    for program in ("psql", "sqitch"):
        if not shutil.which(program):
            raise UserError(f"{program} is not on PATH: install the Debian packages postgresql-client and sqitch")
    migration = Migration(environment)
    migration.define_roles()
    migration.check()
    migration.deploy()
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
