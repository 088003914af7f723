"""The master user's secret that RDS itself makes and keeps, where MiniStack knows it for clusters alone.

With ``ManageMasterUserPassword`` RDS stores a password of its own making in Secrets Manager, names the secret in each
description of the DB instance, and deletes it with the instance
(https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html). ``install()`` adds this to MiniStack
in this process.
"""

import json
import secrets
import uuid
from collections.abc import Mapping
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import rds, secretsmanager

_create, _delete, _describe = rds._create_db_instance, rds._delete_db_instance, rds._instance_xml  # noqa: SLF001


def _create_with_secret(parameters: Mapping[str, Any]) -> Any:
    answer = _create(parameters)
    instance = _instance(parameters)
    if instance and "MasterUserSecret" not in instance and _value(parameters, "ManageMasterUserPassword") == "true":
        user = {"username": instance["MasterUsername"], "password": secrets.token_urlsafe(24)}
        default_key = f"arn:aws:kms:{get_region()}:{get_account_id()}:alias/aws/secretsmanager"
        instance["MasterUserSecret"] = {
            "SecretArn": secretsmanager.create_secret_in_process(
                f"rds!db-{uuid.uuid4()}",
                json.dumps(user),
                description=f"Secret managed by RDS for DB instance {instance['DBInstanceIdentifier']}",
            ),
            "SecretStatus": "active",
            "KmsKeyId": _value(parameters, "MasterUserSecretKmsKeyId") or default_key,
        }
    return answer


def _delete_with_secret(parameters: Mapping[str, Any]) -> Any:
    secret = (_instance(parameters) or {}).get("MasterUserSecret")
    answer = _delete(parameters)
    if secret and _instance(parameters) is None:
        secretsmanager.delete_secret_in_process(secret["SecretArn"])
    return answer


def _describe_with_secret(instance: Mapping[str, Any]) -> str:
    text = str(_describe(instance))
    if secret := instance.get("MasterUserSecret"):
        text += "<MasterUserSecret>" + "".join(f"<{k}>{v}</{k}>" for k, v in secret.items()) + "</MasterUserSecret>"
    return text


def _value(parameters: Mapping[str, Any], name: str) -> str:
    return str(rds._p(parameters, name))  # noqa: SLF001


def _instance(parameters: Mapping[str, Any]) -> dict[str, Any] | None:
    found: dict[str, Any] | None = rds._instances.get(_value(parameters, "DBInstanceIdentifier"))  # noqa: SLF001
    return found


def install() -> None:
    """Make MiniStack of this process manage the master users of DB instances."""
    rds._instance_xml = _describe_with_secret  # noqa: SLF001
    rds._ACTION_MAP.update(  # noqa: SLF001
        {"CreateDBInstance": _create_with_secret, "DeleteDBInstance": _delete_with_secret}
    )
