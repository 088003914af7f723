"""Read Terraform's lock file beside a state: it says who holds the lock."""

import datetime as dt
import json
from dataclasses import dataclass

from botocore.exceptions import ClientError

from ops import aws
from ops.errors import UserError
from ops.settings import Target


@dataclass(frozen=True)
class Lock:
    """A held lock. ``created`` is in UTC; ``who`` is user@machine."""

    identifier: str
    who: str
    operation: str
    created: dt.datetime

    @property
    def age_minutes(self) -> float:
        """Return how long the lock has been held."""
        return (dt.datetime.now(dt.UTC) - self.created).total_seconds() / 60


def read_lock(target: Target) -> Lock | None:
    """Return the lock on the state of ``target``, or None if nobody holds one.

    Raises:
        UserError: the lock file was not written by Terraform.
    """
    bucket, key = aws.parameter("/pmp/bootstrap/state_bucket_name"), f"{target.state_key}.tflock"
    try:
        content = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    except ClientError as error:
        if aws.error_code(error) in {"NoSuchKey", "404"}:
            return None
        raise
    try:
        lock = json.loads(content)
        created = dt.datetime.fromisoformat(lock["Created"][:19]).replace(tzinfo=dt.UTC)
        return Lock(lock["ID"], lock["Who"], lock["Operation"], created)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"s3://{bucket}/{key} is not a Terraform lock ({error}); inspect it, then delete it") from None
