"""Test the database's changes on a throwaway cluster: deploy, verify, pgTAP, revert, deploy again.

``make test-db`` runs this. Each step uses the same programs and roles as the migration job.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from checks.stack import free_port
from local.servers.certificates import Authority
from local.servers.postgres import MASTER, Cluster

DB = Path(__file__).parents[1] / "db"
_PASSWORDS = {"pmp_admin": "master's", "pmp_migrator": "migrator", "pmp_app": "app", "postgres": "superuser"}
_SCRIPTS = ("deploy", "revert", "verify")


def main() -> int:
    """Run all steps; stop at the first that fails. Return the exit status: 0, or 1 when a step failed."""
    if incomplete := _incomplete():
        print(f"error: {incomplete}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="pmp-test-db-") as name:
        authority = Authority(Path(name) / "ca")
        certificate = authority.issue("database", ["localhost"], ["127.0.0.1"])
        cluster = Cluster(Path(name) / "postgres", free_port(), certificate, authority, settings={"fsync": "off"})
        try:
            cluster.start()
            return _run_all(cluster, authority)
        finally:
            cluster.destroy()


def _run_all(cluster: Cluster, authority: Authority) -> int:
    cluster.set_password(MASTER, _PASSWORDS[MASTER])
    # pgTAP is not a trusted extension: on RDS as here, only the superuser can install it. Its functions get a separate
    # schema, because a revert must leave nothing of the schema pmp.
    cluster.psql("CREATE SCHEMA tap; CREATE EXTENSION pgtap SCHEMA tap;")
    cluster.set_password("postgres", _PASSWORDS["postgres"])
    roles = (
        f"\\set app_password {_PASSWORDS['pmp_app']}\n\\set migrator_password {_PASSWORDS['pmp_migrator']}\n"
        "\\i roles.sql\n"
    )
    psql = ["psql", "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]
    tests = sorted(str(path.relative_to(DB)) for path in (DB / "test").glob("*.sql"))
    steps: list[tuple[str, str, list[str], str | None]] = [
        ("roles", MASTER, psql, roles),
        ("roles again", MASTER, psql, roles),
        ("deploy and verify", "pmp_migrator", ["sqitch", "deploy", "--verify"], None),
        ("verify", "pmp_migrator", ["sqitch", "verify"], None),
        ("check", "pmp_migrator", ["sqitch", "check"], None),
        ("pgTAP", "postgres", ["pg_prove", "--ext", ".sql", *tests], None),
        ("revert", "pmp_migrator", ["sqitch", "revert", "-y"], None),
        ("nothing is left", "pmp_migrator", psql, _NOTHING_LEFT),
        ("deploy again", "pmp_migrator", ["sqitch", "deploy", "--verify"], None),
    ]
    for done, (title, user, command, script) in enumerate(steps):
        environment = os.environ | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(cluster.port),
            "PGDATABASE": "pmp",
            "PGUSER": user,
            "PGPASSWORD": _PASSWORDS[user],
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(authority.bundle_path),
            "PGOPTIONS": "-c lock_timeout=5s -c statement_timeout=60s -c client_min_messages=warning",
        }
        # pgTAP's tests change roles, so they run as the superuser; it has a password, because the server requires one.
        ran = subprocess.run(
            command, cwd=DB, env=environment, input=script, capture_output=True, text=True, check=False
        )
        if ran.returncode:
            print(ran.stdout + ran.stderr, file=sys.stderr)
            print(f"error: {title} failed: {' '.join(command)}", file=sys.stderr)
            print(f"{done} passed, 1 failed")
            return 1
        print(f"{title}: {(ran.stdout.strip().splitlines() or ['ok'])[-1] if title == 'pgTAP' else 'ok'}")
        if title == "pgTAP":
            print("\n".join(line for line in ran.stdout.splitlines() if line.startswith("Files=")))
    return 0


def _incomplete() -> str | None:
    """Return how the plan and the folders of scripts differ, or None. Sqitch itself notices too late, or not at all."""
    planned = {
        line.split()[0]
        for line in (DB / "sqitch.plan").read_text().splitlines()
        if line and not line.startswith(("%", "@", "#"))
    }
    for kind in _SCRIPTS:
        # Sqitch keeps the released scripts of a reworked change as <name>@<tag>.sql.
        found = {path.stem.partition("@")[0] for path in (DB / kind).glob("*.sql")}
        if found != planned:
            return f"db/{kind} and sqitch.plan differ in {sorted(found ^ planned)}"
    return None


_NOTHING_LEFT = """
SELECT 1 / (count(*) = 0)::int FROM pg_namespace WHERE nspname = 'pmp';
SELECT 1 / (count(*) = 0)::int FROM pg_default_acl;
"""

if __name__ == "__main__":
    sys.exit(main())
