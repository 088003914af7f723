"""Give the database servers the passwords in their secrets, as RDS and RDS Proxy do.

RDS sets the master user's password to the one in the secret that it manages, and RDS Proxy logs in with the current
value of its configured secret. Here PostgreSQL and PgBouncer take their places.
https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html
"""

import json
from collections.abc import Callable

from ministack.services import rds, secretsmanager

from local.environments import Environment
from local.instance import Instance
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
            database = rds._instances.get(f"pmp-{name}") or {}
            master = database.get("MasterUserSecret", {}).get("SecretArn", "")
            self._hand_over(
                name, master, lambda environment, password: environment.cluster.set_password(MASTER, password)
            )
            self._hand_over(
                name,
                f"pmp/{name}/database/pmp_app",
                lambda environment, password: environment.bouncer.set_password(password),
            )

    def _hand_over(self, name: str, secret: str, give: Callable[[Environment, str], None]) -> None:
        text = secretsmanager.resolve_secret_string(secret) if secret else None
        if text is None or self._given.get((name, secret)) == text:
            return
        environment = Environment(self._instance, name)
        # The account of a test has no servers.
        if environment.exists and environment.cluster.is_running:
            give(environment, json.loads(text)["password"])
            self._given[name, secret] = text
