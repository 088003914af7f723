"""Rotate an IAM user's access key without interruption.

The new key is created, verified and stored while the old one still works. Then the old key is made inactive, the new
one is verified again, and the old one is deleted. A failure at any point leaves one key that works and is stored.
"""

import time
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError

from ops.aws import AccessKey
from ops.errors import UserError
from ops.output import say

_ATTEMPTS = 10


def rotate(user: str, iam: Any, sts_of: Callable[[AccessKey], Any], keep: Callable[[AccessKey], None]) -> None:
    """Replace the one access key of ``user``.

    Args:
        user: name of the IAM user.
        iam: boto3's client, as an administrator.
        sts_of: returns an STS client that signs with the given key.
        keep: stores or shows the new key; called before the old one stops working.

    Raises:
        UserError: the user does not have exactly one key, so it is unclear which one to replace, or AWS does not accept
            the new key; the old one is as it was before.
    """
    old = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
    if len(old) != 1:
        advice = "delete the one that is not in use" if old else "create the first one by hand"
        raise UserError(f"{user} has {len(old)} access keys, but rotation needs exactly one: {advice}")
    created = iam.create_access_key(UserName=user)["AccessKey"]
    new = AccessKey(created["AccessKeyId"], created["SecretAccessKey"])
    say(f"{new.identifier} created; {old[0]['AccessKeyId']} is still {old[0]['Status'].lower()}")
    try:
        _verify(sts_of(new))
        keep(new)
    except BaseException:
        iam.delete_access_key(UserName=user, AccessKeyId=new.identifier)
        say(f"{new.identifier} deleted; {old[0]['AccessKeyId']} is still {old[0]['Status'].lower()}")
        raise
    iam.update_access_key(UserName=user, AccessKeyId=old[0]["AccessKeyId"], Status="Inactive")
    try:
        _verify(sts_of(new))
    except UserError:
        # One that leaked was made inactive before, and stays so.
        iam.update_access_key(UserName=user, AccessKeyId=old[0]["AccessKeyId"], Status=old[0]["Status"])
        raise
    iam.delete_access_key(UserName=user, AccessKeyId=old[0]["AccessKeyId"])
    say(f"{old[0]['AccessKeyId']} made inactive, then deleted")


def _verify(sts: Any) -> None:
    """Wait until AWS accepts the key: a new key takes some seconds to reach every endpoint.

    Raises:
        UserError: AWS still refuses the key after all attempts.
    """
    for attempt in range(_ATTEMPTS):
        try:
            sts.get_caller_identity()
        except ClientError:
            time.sleep(min(attempt, 3))
        else:
            return
    raise UserError("AWS does not accept the new key; the old one is as it was before")
