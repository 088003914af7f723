"""The function's settings, from its environment variables."""

import os
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, all from ``PMP_…`` variables that Terraform sets."""

    environment: str
    release: str
    code_sha256: str
    database_host: str
    database_port: int
    database_name: str
    database_user: str
    database_reader_host: str
    """Where reads that may be some seconds old go; empty without a reader."""
    database_reader_port: int
    imports_bucket: str
    jobs_queue_url: str
    deliveries_queue_url: str
    loopback_receivers: bool
    vendor_list_url: str
    api_url: str
    token_url: str
    erasures_bucket: str
    erasure_key_secret_arn: str
    token_key_secret_arn: str
    backup_retention_days: int
    upload_retention_days: int
    retention: str
    """JSON, see ``pmp.retention``; empty: nothing leaves."""


def _required(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise KeyError(f"environment variable {name} is missing or empty: the function's Terraform module sets it")
    return value


@lru_cache(maxsize=1)
def configuration() -> Configuration:
    """The settings, read once.

    Raises:
        KeyError: a variable is missing; the text names it.
        ValueError: a port or a number of days is not a number.
    """
    return Configuration(
        environment=_required("PMP_ENVIRONMENT"),
        release=os.environ.get("PMP_RELEASE", "unknown"),
        code_sha256=os.environ.get("PMP_CODE_SHA256", "unknown"),
        database_host=_required("PMP_DATABASE_HOST"),
        database_port=int(os.environ.get("PMP_DATABASE_PORT", "5432")),
        database_name=_required("PMP_DATABASE_NAME"),
        database_user=_required("PMP_DATABASE_USER"),
        database_reader_host=os.environ.get("PMP_DATABASE_READER_HOST", ""),
        database_reader_port=int(
            os.environ.get("PMP_DATABASE_READER_PORT") or os.environ.get("PMP_DATABASE_PORT", "5432")
        ),
        imports_bucket=os.environ.get("PMP_IMPORTS_BUCKET", ""),
        jobs_queue_url=os.environ.get("PMP_JOBS_QUEUE_URL", ""),
        deliveries_queue_url=os.environ.get("PMP_DELIVERIES_QUEUE_URL", ""),
        loopback_receivers=os.environ.get("PMP_LOOPBACK_RECEIVERS", "") == "true",
        vendor_list_url=os.environ.get("PMP_VENDOR_LIST_URL", ""),
        api_url=os.environ.get("PMP_API_URL", ""),
        token_url=os.environ.get("PMP_TOKEN_URL", ""),
        erasures_bucket=os.environ.get("PMP_ERASURES_BUCKET", ""),
        erasure_key_secret_arn=os.environ.get("PMP_ERASURE_KEY_SECRET_ARN", ""),
        token_key_secret_arn=os.environ.get("PMP_TOKEN_KEY_SECRET_ARN", ""),
        # The longest that the Terraform modules take.
        backup_retention_days=int(os.environ.get("PMP_BACKUP_RETENTION_DAYS", "35")),
        upload_retention_days=int(os.environ.get("PMP_UPLOAD_RETENTION_DAYS", "365")),
        retention=os.environ.get("PMP_RETENTION", ""),
    )
