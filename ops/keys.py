"""Change an IAM user's access key without a gap.

The new key is created, proven and kept while the old one still works; then the old one is made inactive, the new one
proven again, and the old one deleted. A failure at any point leaves one key that works and that somebody holds.
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
        sts_of: makes an STS client that signs with a key.
        keep: stores or shows the new key; called before the old one stops working.

    Raises:
        UserError: the user has no key or two, so it is unclear which one to replace, or AWS does not accept the new
            key; the old one still works.
    """
    old = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
    if len(old) != 1:
        advice = "delete the one that is not in use" if old else "create the first by hand"
        raise UserError(f"{user} has {len(old)} access keys, and exactly one can be rotated: {advice}")
    made = iam.create_access_key(UserName=user)["AccessKey"]
    new = AccessKey(made["AccessKeyId"], made["SecretAccessKey"])
    say(f"{new.identifier} created; {old[0]['AccessKeyId']} still works")
    try:
        _prove(sts_of(new))
        keep(new)
    except BaseException:
        iam.delete_access_key(UserName=user, AccessKeyId=new.identifier)
        say(f"{new.identifier} deleted; {old[0]['AccessKeyId']} still works")
        raise
    iam.update_access_key(UserName=user, AccessKeyId=old[0]["AccessKeyId"], Status="Inactive")
    try:
        _prove(sts_of(new))
    except UserError:
        iam.update_access_key(UserName=user, AccessKeyId=old[0]["AccessKeyId"], Status="Active")
        raise
    iam.delete_access_key(UserName=user, AccessKeyId=old[0]["AccessKeyId"])
    say(f"{old[0]['AccessKeyId']} made inactive, then deleted")


def _prove(sts: Any) -> None:
    """Wait until AWS accepts the key: a new one needs some seconds until every endpoint knows it.

    Raises:
        UserError: it still does not.
    """
    for attempt in range(_ATTEMPTS):
        try:
            sts.get_caller_identity()
        except ClientError:
            time.sleep(min(attempt, 3))
        else:
            return
    raise UserError("AWS does not accept the new key; the old one still works")
