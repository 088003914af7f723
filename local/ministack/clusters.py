"""Repair, in the launcher's process, what MiniStack 1.5 forgets about Aurora clusters (see ``local.ministack.gaps``).

What MiniStack has of Aurora is its API: clusters, instances and endpoints are records, and PMP's own PostgreSQL and
PgBouncer serve. Without Docker it starts no database, so it neither moves data nor fails over.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any
from xml.sax.saxutils import escape

from ministack.services import rds, secretsmanager

from local.ministack.gaps import LOG_EXPORTS, remember_settings

Parameters = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]

# Settings of a cluster by their name in requests, with their element in answers. The storage type "aurora" is not told:
# https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBCluster.html
_SETTINGS = {
    "DatabaseInsightsMode": "DatabaseInsightsMode",
    "EnablePerformanceInsights": "PerformanceInsightsEnabled",
    "PerformanceInsightsKMSKeyId": "PerformanceInsightsKMSKeyId",
    "PerformanceInsightsRetentionPeriod": "PerformanceInsightsRetentionPeriod",
    "StorageType": "StorageType",
}


def install() -> None:
    """Repair all gaps; call once per process."""
    keep_endpoints()
    require_readers()
    leave_last_snapshots()
    keep_settings()
    keep_master_secrets()
    # Last, so that it makes clusters with all of the above.
    restore_from_snapshots()


def keep_endpoints() -> None:
    """Keep the names of a cluster's endpoints; MiniStack replaces them by its own host once there is an instance.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/Aurora.Overview.Endpoints.html
    """
    rds._sync_cluster_endpoints = lambda _cluster: None


def require_readers() -> None:
    """Refuse a read-only endpoint of a proxy whose target has no reader, which MiniStack makes.

    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-proxy-endpoints.html
    """
    create = rds._ACTION_MAP["CreateDBProxyEndpoint"]

    def create_with_reader(parameters: Parameters) -> Answer:
        proxy = rds._db_proxies.get(rds._p(parameters, "DBProxyName"))
        if proxy and rds._p(parameters, "TargetRole") == "READ_ONLY":
            clusters = [rds._clusters.get(target["RdsResourceId"]) or {} for target in proxy["Targets"]]
            members = [member for cluster in clusters for member in cluster.get("DBClusterMembers", [])]
            if all(member["IsClusterWriter"] for member in members):
                refusal: Answer = rds._error(
                    "InvalidDBProxyStateFault",
                    "A read-only endpoint requires a DB cluster with a reader instance.",
                    400,
                )
                return refusal
        answer: Answer = create(parameters)
        return answer

    rds._ACTION_MAP["CreateDBProxyEndpoint"] = create_with_reader


def keep_settings() -> None:
    """Keep storage type, exported logs and the insights settings of clusters, which MiniStack drops."""
    create, modify, describe = rds._create_db_cluster_impl, rds._modify_db_cluster_impl, rds._cluster_xml

    def remember(act: Callable[[Parameters], Answer], parameters: Parameters) -> Answer:
        answer = act(parameters)
        cluster = rds._resolve_cluster(rds._p(parameters, "DBClusterIdentifier"))
        if answer[0] != 200 or cluster is None:
            return answer
        remember_settings(cluster, _SETTINGS, parameters)
        return answer

    def describe_with_settings(cluster: dict[str, Any]) -> str:
        settings = cluster.get("Settings", {})
        told = {_SETTINGS[name]: value for name, value in settings.items() if name in _SETTINGS and value != "aurora"}
        logs = "".join(f"<member>{escape(log)}</member>" for log in settings.get(LOG_EXPORTS, []))
        elements = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in told.items())
        return f"{describe(cluster)}{elements}<{LOG_EXPORTS}>{logs}</{LOG_EXPORTS}>"

    rds._create_db_cluster_impl = partial(remember, create)
    rds._modify_db_cluster_impl = partial(remember, modify)
    rds._cluster_xml = describe_with_settings


def keep_master_secrets() -> None:
    """Tag a cluster's master secret as RDS does, and make it for a restored cluster, too.

    Policies tell by the tag whose secret it is. A restore names the master's secret in a change after it.
    https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/rds-secrets-manager.html
    """

    def with_secret(act: Callable[[Parameters], Answer], parameters: Parameters) -> Answer:
        answer = act(parameters)
        cluster = rds._resolve_cluster(rds._p(parameters, "DBClusterIdentifier"))
        if answer[0] != 200 or cluster is None or rds._p(parameters, "ManageMasterUserPassword") != "true":
            return answer
        if not cluster.get("MasterUserSecret"):
            login = {"username": cluster["MasterUsername"], "password": rds._generate_master_user_password()}
            arn = secretsmanager.create_secret_in_process(f"rds!cluster-{rds.new_uuid()}", json.dumps(login))
            key = rds._p(parameters, "MasterUserSecretKmsKeyId")
            cluster["MasterUserSecret"] = {"SecretArn": arn, "SecretStatus": "active", "KmsKeyId": key}
        _, secret = secretsmanager._resolve(cluster["MasterUserSecret"]["SecretArn"])
        secret["Tags"] = [
            {"Key": "aws:secretsmanager:owningService", "Value": "rds"},
            {"Key": "aws:rds:primaryDBClusterArn", "Value": cluster["DBClusterArn"]},
        ]
        return answer

    rds._create_db_cluster_impl = partial(with_secret, rds._create_db_cluster_impl)
    rds._modify_db_cluster_impl = partial(with_secret, rds._modify_db_cluster_impl)


def leave_last_snapshots() -> None:
    """Let a deletion leave the last snapshot that it asks for; MiniStack does so for instances only.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBCluster.html
    """
    delete = rds._ACTION_MAP["DeleteDBCluster"]

    def delete_with_snapshot(parameters: Parameters) -> Answer:
        cluster = rds._resolve_cluster(rds._p(parameters, "DBClusterIdentifier"))
        answer: Answer = delete(parameters)
        name = rds._p(parameters, "FinalDBSnapshotIdentifier")
        if answer[0] == 200 and cluster and name and rds._p(parameters, "SkipFinalSnapshot") != "true":
            rds._create_cluster_snapshot_internal(name, cluster)
        return answer

    rds._ACTION_MAP["DeleteDBCluster"] = delete_with_snapshot


def restore_from_snapshots() -> None:
    """Let a snapshot of a cluster, or of an RDS instance by its ARN, become a cluster; MiniStack knows neither.

    Only the record is made: the data stay where they are.
    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_RestoreDBClusterFromSnapshot.html
    """

    def restore(parameters: Parameters) -> Answer:
        name = rds._p(parameters, "SnapshotIdentifier")
        store = rds._snapshots if ":snapshot:" in name else rds._db_cluster_snapshots
        snapshot = store.get(name.rpartition(":")[2])
        if snapshot is None:
            answer: Answer = rds._error("DBClusterSnapshotNotFoundFault", f"DB cluster snapshot {name} not found.", 404)
            return answer
        # Both are those of what it was made from.
        kept = {
            "MasterUsername": snapshot["MasterUsername"],
            "StorageEncrypted": str(snapshot["StorageEncrypted"]).lower(),
        }
        made: Answer = rds._create_db_cluster({**parameters, **kept})
        return made[0], made[1], made[2].replace(b"CreateDBCluster", b"RestoreDBClusterFromSnapshot")

    rds._ACTION_MAP["RestoreDBClusterFromSnapshot"] = restore
