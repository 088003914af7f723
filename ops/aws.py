"""AWS through boto3, configured by the standard ``AWS_*`` variables: clients, and what layers hand to each other."""

import json
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from ops.errors import UserError

_CONFIG = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10, read_timeout=60)


@dataclass(frozen=True)
class AccessKey:
    """A long-lived IAM access key."""

    identifier: str
    secret: str

    def export_lines(self) -> str:
        """Return shell lines that set the two ``AWS_…`` variables."""
        return f"export AWS_ACCESS_KEY_ID={self.identifier}\nexport AWS_SECRET_ACCESS_KEY={self.secret}"


def region() -> str:
    """Return the region to work in.

    Raises:
        UserError: no region is set.
    """
    found = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not found:
        raise UserError('no AWS region: set AWS_REGION (on a laptop: c=$(make -s credentials) && eval "$c")')
    return found


def is_emulated() -> bool:
    """Whether requests go to an emulator instead of AWS."""
    return bool(os.environ.get("AWS_ENDPOINT_URL"))


@cache
def client(service: str, elsewhere: str | None = None) -> Any:
    """Return the cached boto3 client of a service, in another region than `region` if ``elsewhere`` names one.

    S3 on an emulator gets path-style addresses: virtual-hosted bucket names need DNS, which loopback does not have.
    """
    config = _CONFIG.merge(Config(s3={"addressing_style": "path"})) if is_emulated() else _CONFIG
    return boto3.client(service, region_name=elsewhere or region(), config=config)  # type: ignore[call-overload]


def account_id() -> str:
    """Return the caller's account, twelve digits."""
    return str(client("sts").get_caller_identity()["Account"])


def error_code(error: ClientError) -> str:
    """Return AWS's code for an error, for example ``AccessDeniedException``."""
    return str(error.response.get("Error", {}).get("Code", ""))


def parameter(name: str) -> str:
    """Return the value of an SSM parameter.

    Raises:
        UserError: it does not exist; the message says which layer writes it.
    """
    found = parameter_or_none(name)
    if found is None:
        raise UserError(f"there is no SSM parameter {name}: {_origin(name)}")
    return found


def parameter_or_none(name: str) -> str | None:
    """Return the value of an SSM parameter, or None if it does not exist."""
    ssm = client("ssm")
    try:
        return str(ssm.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
    except ssm.exceptions.ParameterNotFound:
        return None


def _origin(name: str) -> str:
    parts = name.strip("/").split("/")
    if parts[1] == "bootstrap":
        return "run 'python -m ops bootstrap' as the account's administrator first"
    if parts[1] == "account":
        return "apply the layer 'account' as the account's administrator first"
    if parts[2] == "clients":
        return f"run 'python -m ops client {parts[-1]} --environment {parts[1]}' first"
    return f"apply the layer '{parts[2]}' in '{parts[1]}' first"


def secret(identifier: str) -> dict[str, str]:
    """Return the JSON object in a secret.

    Args:
        identifier: the secret's name or ARN.

    Raises:
        UserError: the secret does not exist or is not a JSON object. The message never quotes its value.
    """
    manager = client("secretsmanager")
    try:
        text = manager.get_secret_value(SecretId=identifier)["SecretString"]
    except manager.exceptions.ResourceNotFoundException:
        raise UserError(f"there is no secret {identifier}: apply the layer that creates it first") from None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"the secret {identifier} is not a JSON object: expected keys such as username and password")
    return value


def sts_as(key: AccessKey) -> Any:
    """Return an STS client that signs with ``key`` instead of the process environment's key."""
    session = boto3.Session(aws_access_key_id=key.identifier, aws_secret_access_key=key.secret)
    return session.client("sts", region_name=region(), config=_CONFIG)
