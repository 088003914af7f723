"""Secrets of the function, read from Secrets Manager."""

import json
from functools import lru_cache
from typing import Any


def read(arn: str) -> dict[str, Any]:
    """The current value of a secret, which is a JSON object.

    Raises:
        BotoCoreError, ClientError: it cannot be read, or the migration job has not made it yet.
        ValueError: its value is not JSON.
    """
    document: dict[str, Any] = json.loads(_client().get_secret_value(SecretId=arn)["SecretString"])
    return document


@lru_cache(maxsize=1)
def _client() -> Any:
    """A client that gives up while the request still has time."""
    import boto3
    from botocore.config import Config

    config = Config(connect_timeout=2, read_timeout=4, retries={"mode": "standard", "total_max_attempts": 2})
    create: Any = boto3.client
    return create("secretsmanager", config=config)
