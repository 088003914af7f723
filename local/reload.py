"""Bring a changed line of the Lambda or of a SQL function to the running laptop platform in seconds.

``make up`` plans and applies whole layers. A reload does what a change of code needs, as the identity that deploys: the
Lambda's zip is built, published under its digest and given to the function; a changed ``define_`` script replaces its
functions and views in one transaction, its verify script runs, and Sqitch's record follows. ADR 0505 says what a reload
cannot do.
"""

import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from local import function
from local.deployment import Deployment
from local.platform import Platform, alone
from ops import artifacts, http
from ops.errors import UserError
from ops.migrate import Migration, psql_literal
from ops.migrations import read_plan
from ops.output import say
from ops.settings import LAPTOP_ENVIRONMENT, ROOT, build_directory, release

_WATCH_SECONDS = 0.3
_ANSWER_SECONDS = 30
_START_AGAIN = "run 'make down', then 'make up'"
_WATCHED = ("lambda/pmp", "lambda/build.py", "lambda/requirements.lock", "db/deploy", "db/verify", "db/sqitch.plan")

# What a define_ script creates. PostgreSQL replaces both in place, so that nothing is without them for a moment.
_CREATE = re.compile(r"^CREATE (?=(?:FUNCTION|VIEW)\b)", re.MULTILINE)
_TRANSACTION = re.compile(r"^(?:BEGIN|COMMIT|ROLLBACK);$", re.MULTILINE)
_FINAL = ("already exists", "cannot change", "cannot drop", "is not unique", "other parameters")
"""What PostgreSQL says where it cannot replace something in place."""


def stale_changes(database: Path, deployed: Mapping[str, str]) -> list[str]:
    """Return the deployed changes whose deploy script differs from what was deployed, in the order of deployment.

    Args:
        database: the folder of the Sqitch project.
        deployed: the SHA-1 of each deployed change's script, as Sqitch records it, by the change's name.

    Raises:
        UserError: one of them is not a ``define_`` script.
    """
    stale = [change for change, digest in deployed.items() if _script_digest(database, change) != digest]
    for change in stale:
        if not change.startswith("define_"):
            raise UserError(
                f"db/deploy/{change}.sql was changed, and what it creates may hold data: put the change into a new "
                f"script of db/sqitch.plan, or {_START_AGAIN}"
            )
    return stale


def _script_digest(database: Path, change: str) -> str:
    try:
        content = (database / "deploy" / f"{change}.sql").read_bytes()
    except FileNotFoundError:
        return ""
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def replacing(script: str) -> str:
    """Return a deploy script without its transaction, and with what it creates replacing what is there; same lines."""
    return _CREATE.sub("CREATE OR REPLACE ", _TRANSACTION.sub("", script))


def script_to_replace(database: Path, changes: list[str], directory: Path) -> str:
    """Return a script for psql that replaces what ``changes`` define, verifies it, and lets Sqitch's record follow.

    All of it is one transaction, so a failure changes nothing.

    Args:
        database: the folder of the Sqitch project.
        changes: names of ``define_`` changes, in the order of deployment.
        directory: receives the scripts that are run, so that an error names a file and a line of the original.
    """
    shutil.rmtree(directory, ignore_errors=True)
    lines = ["BEGIN;", _REMEMBER]
    for change in changes:
        for kind in ("deploy", "verify"):
            copy = directory / kind / f"{change}.sql"
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(replacing((database / kind / f"{change}.sql").read_text()))
        lines += [
            f"\\i {psql_literal(str(directory / 'deploy' / f'{change}.sql'))}",
            "SAVEPOINT verification;",
            f"\\i {psql_literal(str(directory / 'verify' / f'{change}.sql'))}",
            "ROLLBACK TO SAVEPOINT verification;",
            f"UPDATE sqitch.changes SET script_hash = '{_script_digest(database, change)}' WHERE change = '{change}';",  # noqa: S608 - our own names
        ]
    return "\n".join([*lines, _REFUSE_OVERLOADS, "COMMIT;", ""])


_REMEMBER = (
    "SELECT set_config('pmp.before', array_agg(oid)::text, true) FROM pg_proc WHERE pronamespace = 'pmp'::regnamespace;"
)
# With other parameters, CREATE OR REPLACE makes a second function beside the old one.
_REFUSE_OVERLOADS = """\
DO $$
DECLARE
  before oid[] := current_setting('pmp.before')::oid[];
  twice text := (
    SELECT string_agg(DISTINCT proname, ', ') FROM pg_proc
    WHERE pronamespace = 'pmp'::regnamespace AND oid <> ALL (before)
      AND proname IN (SELECT proname FROM pg_proc WHERE oid = ANY (before))
  );
BEGIN
  IF twice IS NOT NULL THEN
    RAISE EXCEPTION '% has other parameters than before', twice;
  END IF;
END
$$;"""


class Reload:
    """Reloads of the laptop's own environment.

    Args:
        platform: where it runs.
        sources: the repository whose ``lambda/`` and ``db/`` are brought to it.
    """

    def __init__(self, platform: Platform, sources: Path = ROOT) -> None:
        self._platform, self._sources = platform, sources
        self._environment = platform.environment(LAPTOP_ENVIRONMENT)
        self._deployment = Deployment(platform.instance, platform.account, self._environment)

    def once(self) -> None:
        """Bring what has changed, and print what it was.

        Raises:
            UserError: the platform is not up, or something cannot be reloaded; the message says what to do.
        """
        started = time.monotonic()
        self._platform.api_url(LAPTOP_ENVIRONMENT)  # refuses if it is not deployed
        with alone(self._platform.instance), _acting(self._deployment):
            done = [*self._schema(), *self._code()]
        say(f"  ✓ reload  {time.monotonic() - started:.1f} s  {', '.join(done) or 'nothing has changed'}")

    def watch(self) -> None:
        """Bring each change as soon as its file is saved, until Ctrl-C."""
        seen: Mapping[Path, float] = {}
        while True:
            if (now := self._times()) != seen:
                seen = now
                try:
                    self.once()
                except UserError as error:
                    say(f"  ✗ reload  {error}", "red")
                say("  watching lambda/ and db/; Ctrl-C ends it", "dim")
            time.sleep(_WATCH_SECONDS)

    def _times(self) -> dict[Path, float]:
        tops = [self._sources / name for name in _WATCHED]
        files = [file for top in tops for file in (top.rglob("*") if top.is_dir() else [top])]
        return {file: file.stat().st_mtime for file in files if file.suffix != ".pyc" and file.is_file()}

    def _schema(self) -> list[str]:
        migration = Migration(LAPTOP_ENVIRONMENT)
        rows = migration.run_script("SELECT change, script_hash FROM sqitch.changes ORDER BY planned_at;\n")
        deployed = dict(row.split("|") for row in rows)
        database = self._sources / "db"
        changed = stale_changes(database, deployed)
        new = [change.name for change in read_plan(database / "sqitch.plan")[0] if change.name not in deployed]
        if changed or new:
            self._deployment.forget("migrate")
        if changed:
            try:
                migration.run_script(script_to_replace(database, changed, build_directory() / "reload"))
            except UserError as error:
                final = any(words in str(error) for words in _FINAL)
                raise UserError(f"{error}{f': {_START_AGAIN}' if final else ''}") from error
        if new:
            migration.deploy()
        return changed + new

    def _code(self) -> list[str]:
        self._deployment.forget_package()
        artifacts.package(self._sources / "lambda")
        account = self._platform.account
        digest, client = artifacts.built_digest(), account.session("gitlab", LAPTOP_ENVIRONMENT).client("lambda")
        if digest == function.running_digest(client, LAPTOP_ENVIRONMENT):
            return []
        self._deployment.forget("service", "smoke", reloaded=True)
        artifacts.publish()
        bucket = account.parameter("/pmp/account/deployment_bucket_name")
        function.give_code(client, LAPTOP_ENVIRONMENT, bucket, digest, release())
        self._wait_for(digest)
        return [f"lambda {digest[:12]}"]

    def _wait_for(self, digest: str) -> None:
        url = f"{self._platform.instance.door_url(LAPTOP_ENVIRONMENT)}/v1/health"
        deadline = time.monotonic() + _ANSWER_SECONDS
        while True:
            answer = http.request("GET", url, authority=self._platform.instance.ca_file)
            if answer.status == 200 and answer.json()["code_sha256"] == digest:
                return
            if time.monotonic() > deadline:
                raise UserError(
                    f"the new code is deployed, but {url} answers {answer.status}: 'make logs LOG=function' shows why"
                )
            time.sleep(0.1)


@contextmanager
def _acting(deployment: Deployment) -> Iterator[None]:
    """Let ``ops`` in this process act as the identity that deploys, with nothing of the shell's AWS account."""
    before = dict(os.environ)
    variables = deployment.variables("gitlab")
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
