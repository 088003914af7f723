"""The emulator keeps what AWS keeps of an Aurora cluster."""

from typing import Any

import pytest

from local.account import Account
from tests.unit.local.conftest import make_proxy

_SETTINGS = {
    "Engine": "aurora-postgresql",
    "StorageType": "aurora-iopt1",
    "DatabaseInsightsMode": "advanced",
    "EnablePerformanceInsights": True,
    "PerformanceInsightsRetentionPeriod": 465,
    "EnableCloudwatchLogsExports": ["postgresql"],
}


@pytest.fixture
def rds(account: Account) -> Any:
    return account.session("admin").client("rds")


def described(rds: Any, name: str) -> dict[str, Any]:
    [cluster] = rds.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"]
    found: dict[str, Any] = cluster
    return found


def test_settings_are_kept_and_changed(rds: Any) -> None:
    rds.create_db_cluster(DBClusterIdentifier="pmp-dev", MasterUsername="m", MasterUserPassword="password", **_SETTINGS)
    made = described(rds, "pmp-dev")
    assert (made["StorageType"], made["DatabaseInsightsMode"]) == ("aurora-iopt1", "advanced")
    assert (made["PerformanceInsightsEnabled"], made["PerformanceInsightsRetentionPeriod"]) == (True, 465)
    assert made["EnabledCloudwatchLogsExports"] == ["postgresql"]
    rds.modify_db_cluster(
        DBClusterIdentifier="pmp-dev",
        StorageType="aurora",
        DatabaseInsightsMode="standard",
        CloudwatchLogsExportConfiguration={"DisableLogTypes": ["postgresql"], "EnableLogTypes": ["upgrade"]},
    )
    changed = described(rds, "pmp-dev")
    assert "StorageType" not in changed
    assert (changed["DatabaseInsightsMode"], changed["EnabledCloudwatchLogsExports"]) == ("standard", ["upgrade"])


def test_endpoints_stay_when_instances_come(rds: Any) -> None:
    rds.create_db_cluster(
        DBClusterIdentifier="pmp-dev", Engine="aurora-postgresql", MasterUsername="m", ManageMasterUserPassword=True
    )
    before = described(rds, "pmp-dev")
    rds.create_db_instance(
        DBInstanceIdentifier="pmp-dev-1",
        DBClusterIdentifier="pmp-dev",
        DBInstanceClass="db.serverless",
        Engine="aurora-postgresql",
    )
    after = described(rds, "pmp-dev")
    assert (after["Endpoint"], after["ReaderEndpoint"]) == (before["Endpoint"], before["ReaderEndpoint"])


def test_a_read_only_endpoint_requires_a_reader(account: Account, rds: Any) -> None:
    make_proxy(account.session("admin"), "pmp-dev")
    rds.create_db_cluster(
        DBClusterIdentifier="pmp-dev", Engine="aurora-postgresql", MasterUsername="m", ManageMasterUserPassword=True
    )
    rds.register_db_proxy_targets(DBProxyName="pmp-dev", DBClusterIdentifiers=["pmp-dev"])
    [proxy] = rds.describe_db_proxies()["DBProxies"]
    endpoint = {
        "DBProxyName": "pmp-dev",
        "DBProxyEndpointName": "pmp-dev-readers",
        "VpcSubnetIds": proxy["VpcSubnetIds"],
        "TargetRole": "READ_ONLY",
    }
    for number in (1, 2):
        with pytest.raises(rds.exceptions.InvalidDBProxyStateFault):
            rds.create_db_proxy_endpoint(**endpoint)
        rds.create_db_instance(
            DBInstanceIdentifier=f"pmp-dev-{number}",
            DBClusterIdentifier="pmp-dev",
            DBInstanceClass="db.serverless",
            Engine="aurora-postgresql",
        )
    made = rds.create_db_proxy_endpoint(**endpoint)["DBProxyEndpoint"]
    assert made["TargetRole"] == "READ_ONLY"


def test_a_snapshot_of_an_instance_becomes_a_cluster_with_a_master_secret(account: Account, rds: Any) -> None:
    rds.create_db_instance(
        DBInstanceIdentifier="pmp-dev",
        DBInstanceClass="db.t3.medium",
        Engine="postgres",
        MasterUsername="pmp_admin",
        ManageMasterUserPassword=True,
        StorageEncrypted=True,
    )
    rds.create_db_snapshot(DBInstanceIdentifier="pmp-dev", DBSnapshotIdentifier="pmp-dev-to-aurora")
    name = "arn:aws:rds:eu-west-1:000000000000:snapshot:pmp-dev-to-aurora"
    restore = {"DBClusterIdentifier": "pmp-dev-r1", "Engine": "aurora-postgresql"}
    made = rds.restore_db_cluster_from_snapshot(SnapshotIdentifier=name, **restore)["DBCluster"]
    assert (made["MasterUsername"], made["StorageEncrypted"]) == ("pmp_admin", True)
    rds.modify_db_cluster(DBClusterIdentifier="pmp-dev-r1", ManageMasterUserPassword=True)
    cluster = described(rds, "pmp-dev-r1")
    secrets = account.session("admin").client("secretsmanager")
    secret = secrets.describe_secret(SecretId=cluster["MasterUserSecret"]["SecretArn"])
    assert {"Key": "aws:rds:primaryDBClusterArn", "Value": cluster["DBClusterArn"]} in secret["Tags"]
    assert account.secret(secret["ARN"])["username"] == "pmp_admin"
    with pytest.raises(rds.exceptions.DBClusterSnapshotNotFoundFault):
        rds.restore_db_cluster_from_snapshot(
            DBClusterIdentifier="pmp-dev-r2", Engine="aurora-postgresql", SnapshotIdentifier="pmp-dev-nowhere"
        )


def test_a_deletion_leaves_the_last_snapshot_from_which_a_cluster_is_restored(rds: Any) -> None:
    rds.create_db_cluster(
        DBClusterIdentifier="pmp-dev", Engine="aurora-postgresql", MasterUsername="m", ManageMasterUserPassword=True
    )
    rds.delete_db_cluster(DBClusterIdentifier="pmp-dev", FinalDBSnapshotIdentifier="final-pmp-dev")
    [snapshot] = rds.describe_db_cluster_snapshots()["DBClusterSnapshots"]
    assert snapshot["DBClusterSnapshotIdentifier"] == "final-pmp-dev"
    restored = rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="pmp-dev", Engine="aurora-postgresql", SnapshotIdentifier="final-pmp-dev"
    )
    assert restored["DBCluster"]["DBClusterIdentifier"] == "pmp-dev"
