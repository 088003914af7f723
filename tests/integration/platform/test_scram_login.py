"""PostgreSQL accepts a verifier that was computed outside, and the password that belongs to it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks.stack import free_port
from local.servers.certificates import Authority
from local.servers.postgres import Cluster
from ops import scram

PASSWORD = "Rg7Yt0Qk2LmZ"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    authority = Authority(tmp_path / "ca")
    certificate = authority.issue("database", ["localhost"], ["127.0.0.1"])
    cluster = Cluster(
        tmp_path / "postgres", free_port(), certificate, authority, settings={"log_min_duration_statement": "0"}
    )
    cluster.start()
    yield cluster
    cluster.destroy()


def _login(cluster: Cluster, password: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PGHOST": "localhost",
        "PGPORT": str(cluster.port),
        "PGDATABASE": "pmp",
        "PGUSER": "pmp_app",
        "PGPASSWORD": password,
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(cluster.authority.bundle_path),
        "PGREQUIREAUTH": "scram-sha-256",
    }
    command = ["psql", "--no-psqlrc", "--tuples-only", "--command", "SELECT current_user"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_role_logs_in_with_the_password_of_its_verifier(cluster: Cluster) -> None:
    verifier = scram.verifier(PASSWORD)
    cluster.psql("CREATE ROLE pmp_app LOGIN")
    cluster.psql(f"ALTER ROLE pmp_app PASSWORD '{verifier}'")
    assert cluster.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'pmp_app'") == verifier, "stored as it is"
    good = _login(cluster, PASSWORD)
    assert good.returncode == 0, good.stderr
    assert good.stdout.strip() == "pmp_app"
    for wrong in (PASSWORD.lower(), verifier):
        refused = _login(cluster, wrong)
        assert refused.returncode
        assert "password authentication failed" in refused.stderr
    log = (cluster.directory / "postgres.log").read_text()
    assert verifier in log, "the statement is logged"
    assert PASSWORD not in log
