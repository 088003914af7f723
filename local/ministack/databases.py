"""Give the database servers the passwords in their secrets, as RDS and RDS Proxy do.

RDS sets the master user's password to the one in the secret that it manages, and RDS Proxy logs in with the current
value of its configured secret. Here PostgreSQL and PgBouncer take their places.
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html
"""

import json
from collections.abc import Callable
from typing import Any

from ministack.services import rds, secretsmanager

from local.environments import Environment
from local.instance import Instance
from local.servers.pgbouncer import USER
from local.servers.postgres import MASTER
from ops.settings import ENVIRONMENTS


class Databases:
    """The servers of all environments of one instance, and the last passwords that they received."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._given: dict[tuple[str, str], str] = {}

    def follow(self) -> None:
        """Give the servers each password that changed since the last call; cheap if none did."""
        for name in ENVIRONMENTS:
            self._hand_over(
                name,
                MASTER,
                (_serving(name).get("MasterUserSecret") or {}).get("SecretArn", ""),
                lambda environment, password: environment.cluster.set_password(MASTER, password),
            )
            self._hand_over(
                name,
                USER,
                f"pmp/{name}/database/{USER}",
                lambda environment, password: environment.bouncer.set_password(password),
            )

    def _hand_over(self, name: str, role: str, secret: str, give: Callable[[Environment, str], None]) -> None:
        text = secretsmanager.resolve_secret_string(secret) if secret else None
        if text is None or self._given.get((name, role)) == text:
            return
        environment = Environment(self._instance, name)
        # The account of a test has no servers.
        if environment.exists and environment.cluster.is_running:
            give(environment, json.loads(text)["password"])
            self._given[name, role] = text


def _serving(name: str) -> dict[str, Any]:
    """Return the instance or cluster that serves an environment; empty without one.

    After a restore there may be several, and one PostgreSQL server stands in for all: the one that the proxy leads to.
    """
    original = f"pmp-{name}"
    targets = (rds._db_proxies.get(original) or {}).get("Targets", [])
    if targets:
        store = rds._clusters if targets[0]["Type"] == "TRACKED_CLUSTER" else rds._instances
        found = store.get(targets[0]["RdsResourceId"])
    else:
        found = rds._instances.get(original) or rds._clusters.get(original)
    return dict(found or {})
