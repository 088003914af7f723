"""A stack, the migration job on its database, and clients that work meanwhile."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checks.stack import Stack, missing
from checks.stack import stack as started
from ops import migrate
from ops.settings import ROOT
from tests.support.migration import PASSWORDS, Job, Secrets


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    if lacking := missing():
        pytest.skip(lacking)
    with started() as running:
        yield running


@pytest.fixture
def job(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """The job, with fake answers from AWS; the fixture reverts what the job deploys."""
    values = {"database_host": "localhost", "database_port": str(stack.cluster.port), "database_name": "pmp"}
    users = {"master": "pmp_admin", "migrator": "pmp_migrator", "app": "pmp_app"}

    def parameter(name: str) -> str:
        last = name.rsplit("/", 1)[1]
        return values.get(last) or last.removeprefix("database_").removesuffix("_secret_arn")

    directory = tmp_path / "db"
    shutil.copytree(ROOT / "db", directory)
    monkeypatch.setattr(migrate, "_DATABASE", directory)
    monkeypatch.setattr("ops.aws.parameter", parameter)
    secrets = Secrets()
    for name, user in users.items():
        login = json.dumps({"username": user, "password": PASSWORDS[name]})
        secrets.put_secret_value(SecretId=name, SecretString=login, VersionStages=["AWSCURRENT"])
    monkeypatch.setattr("ops.aws.client", lambda service: {"secretsmanager": secrets}[service])
    monkeypatch.setattr(
        "ops.aws.secret", lambda name: json.loads(secrets.get_secret_value(SecretId=name)["SecretString"])
    )
    monkeypatch.setenv("PMP_DATABASE_CA_FILE", str(stack.authority.bundle_path))
    stack.cluster.set_password("pmp_admin", PASSWORDS["master"])
    stack.bouncer.set_password(PASSWORDS["app"])
    found = Job(stack, directory, secrets)
    found.run()
    yield found
    stack.cluster.psql(
        "DELETE FROM sqitch.changes WHERE planned_at > '2029-1-1';"
        "ALTER TABLE pmp.subject DROP COLUMN IF EXISTS added; DROP TABLE IF EXISTS pmp.added; DELETE FROM pmp.backfill"
    )


@pytest.fixture
def clients(stack: Stack) -> Iterator[Callable[[], Callable[[], list[dict[str, object]]]]]:
    """A function that starts two clients; it returns a function that ends them and returns their reports."""
    running = list[subprocess.Popen[str]]()

    def start() -> Callable[[], list[dict[str, object]]]:
        environment = os.environ | stack.environment | {"PYTHONPATH": f"{ROOT / 'lambda'}{os.pathsep}{ROOT}"}
        command = [sys.executable, "-m", "tests.pipeline.load"]
        for _ in range(2):
            running.append(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        for process in running:
            assert process.stderr
            assert process.stderr.readline() == "ready\n"
        return lambda: [json.loads(process.communicate(timeout=60)[1]) for process in running]

    yield start
    for process in running:
        process.kill()
        process.wait()
