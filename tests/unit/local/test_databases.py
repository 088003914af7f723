"""The emulator gives database servers the passwords in their secrets, as RDS and RDS Proxy do."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from local.account import Account
from local.environments import Environment
from local.servers.postgres import _SETTINGS, MASTER
from ops.settings import ROOT
from tests.unit.local.conftest import make_proxy


@pytest.fixture
def environment(account: Account) -> Iterator[Environment]:
    environment = Environment(account.instance, "dev")
    environment.up()
    yield environment
    environment.stop()


def _logs_in(environment: Environment, password: str) -> bool:
    command = ["psql", "--no-psqlrc", environment.cluster.url(MASTER), "--command", "SELECT 1"]
    done = subprocess.run(
        command, env={"PGPASSWORD": password, "PATH": "/usr/bin:/bin"}, check=False, capture_output=True
    )
    return done.returncode == 0


def _create_instance(rds: Any) -> None:
    rds.create_db_instance(
        DBInstanceIdentifier="pmp-dev",
        DBInstanceClass="db.t3.medium",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername=MASTER,
        ManageMasterUserPassword=True,
    )


def test_a_new_database_gets_the_password_of_its_master_secret(account: Account, environment: Environment) -> None:
    rds = account.session("admin").client("rds")
    _create_instance(rds)
    [made] = rds.describe_db_instances()["DBInstances"]
    password = account.secret(made["MasterUserSecret"]["SecretArn"])["password"]
    assert _logs_in(environment, password)
    assert not _logs_in(environment, f"{password}x")


def test_the_server_follows_the_proxy_from_rds_to_aurora_and_back(account: Account, environment: Environment) -> None:
    session = account.session("admin")
    rds = session.client("rds")
    _create_instance(rds)
    rds.create_db_cluster(
        DBClusterIdentifier="pmp-dev-r1",
        Engine="aurora-postgresql",
        MasterUsername=MASTER,
        ManageMasterUserPassword=True,
    )
    make_proxy(session, "pmp-dev")
    [instance], [cluster] = rds.describe_db_instances()["DBInstances"], rds.describe_db_clusters()["DBClusters"]
    old, new = (
        account.secret(database["MasterUserSecret"]["SecretArn"])["password"] for database in (instance, cluster)
    )
    assert _logs_in(environment, old)
    rds.register_db_proxy_targets(DBProxyName="pmp-dev", DBClusterIdentifiers=["pmp-dev-r1"])
    assert _logs_in(environment, new)
    assert not _logs_in(environment, old)
    rds.deregister_db_proxy_targets(DBProxyName="pmp-dev", DBClusterIdentifiers=["pmp-dev-r1"])
    rds.register_db_proxy_targets(DBProxyName="pmp-dev", DBInstanceIdentifiers=["pmp-dev"])
    assert _logs_in(environment, old)


def test_the_pooler_follows_the_current_value_of_its_secret(account: Account, environment: Environment) -> None:
    secrets = account.session("admin").client("secretsmanager")
    users = environment.bouncer.home.directory / "users.txt"
    name = "pmp/dev/database/pmp_app"
    secrets.create_secret(Name=name, SecretString=json.dumps({"username": "pmp_app", "password": "first"}))
    assert users.read_text() == '"pmp_app" "first"\n'
    secrets.put_secret_value(SecretId=name, SecretString=json.dumps({"username": "pmp_app", "password": "second"}))
    assert users.read_text() == '"pmp_app" "second"\n'


def test_a_secret_of_an_environment_without_servers_is_left_alone(account: Account) -> None:
    secrets = account.session("admin").client("secretsmanager")
    secrets.create_secret(Name="pmp/prod/database/pmp_app", SecretString=json.dumps({"password": "x"}))
    assert not Environment(account.instance, "prod").exists


def test_secret_without_a_value_has_no_version(account: Account) -> None:
    secrets = account.session("admin").client("secretsmanager")
    secrets.create_secret(Name="empty")
    assert not secrets.describe_secret(SecretId="empty").get("VersionIdsToStages")
    with pytest.raises(secrets.exceptions.ResourceNotFoundException):
        secrets.get_secret_value(SecretId="empty")
    secrets.put_secret_value(SecretId="empty", SecretString="{}")
    assert secrets.get_secret_value(SecretId="empty")["SecretString"] == "{}"


def test_a_laptop_compresses_the_wal_as_rds_does() -> None:
    module = (ROOT / "modules" / "database" / "main.tf").read_text()
    assert re.findall(r'"wal_compression" *= "(\w+)"', module) == [_SETTINGS["wal_compression"].strip("'")]
