"""Change an IAM user's access key without a gap: ``python -m ci.keys USER``, as an administrator.

The new key is made and proven while the old one still works; then the old one is made inactive, the new one proven
again, and the old one deleted. The new key is printed as ``AWS_…`` variables for GitLab's protected, masked variables,
or saved to a file that only its owner may read.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import ClientError

_LARGEST_NUMBER = 2
_ATTEMPTS = 10


def _works(key: dict[str, Any]) -> bool:
    """Whether AWS takes the key; a new one may need some seconds until every endpoint knows it."""
    session = boto3.Session(aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    for attempt in range(_ATTEMPTS):
        try:
            session.client("sts").get_caller_identity()
        except ClientError:
            time.sleep(min(attempt, 3))
        else:
            return True
    return False


def rotate(user: str) -> dict[str, Any]:
    """Replace the one access key of ``user``; the new key (``AccessKeyId``, ``SecretAccessKey``).

    Raises:
        LookupError: the user has no key, or two, so it is unclear which one to end.
        RuntimeError: AWS does not take the new key; the old one still works.
    """
    iam = boto3.client("iam")
    old = iam.list_access_keys(UserName=user)["AccessKeyMetadata"]
    if len(old) != _LARGEST_NUMBER - 1:
        raise LookupError(
            f"{user} has {len(old)} access keys, and one is what can be rotated: "
            + ("make the first by hand" if not old else "delete the one that GitLab does not use")
        )
    new: dict[str, Any] = dict(iam.create_access_key(UserName=user)["AccessKey"])
    _say(f"{new['AccessKeyId']} made; {old[0]['AccessKeyId']} still works beside it")
    if not _works(new):
        iam.delete_access_key(UserName=user, AccessKeyId=new["AccessKeyId"])
        raise RuntimeError("AWS does not take the new key; it is deleted, and the old one still works")
    iam.update_access_key(UserName=user, AccessKeyId=old[0]["AccessKeyId"], Status="Inactive")
    if not _works(new):
        iam.update_access_key(UserName=user, AccessKeyId=old[0]["AccessKeyId"], Status="Active")
        raise RuntimeError("AWS does not take the new key alone; the old one is active again")
    iam.delete_access_key(UserName=user, AccessKeyId=old[0]["AccessKeyId"])
    _say(f"{old[0]['AccessKeyId']} made inactive, then deleted")
    return new


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # stdout carries the key only


def save(key: dict[str, Any], path: Path) -> None:
    """Write the key to ``path``, mode 600, as the laptop platform keeps it."""
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        document = {
            "access_key_id": key["AccessKeyId"],
            "secret_access_key": key["SecretAccessKey"],
            "session_token": "",
        }
        json.dump(document, file)
    partial.replace(path)


def main() -> None:
    """Rotate, and print or save the new key."""
    parser = argparse.ArgumentParser(prog="python -m ci.keys", description=__doc__)
    parser.add_argument("user", help="name of the IAM user")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the key to this file instead of printing it")
    arguments = parser.parse_args()
    try:
        new = rotate(arguments.user)
    except (LookupError, RuntimeError, ClientError) as error:
        sys.exit(f"error: {error}")
    if arguments.save:
        save(new, arguments.save)
        return
    print(f"export AWS_ACCESS_KEY_ID={new['AccessKeyId']}\nexport AWS_SECRET_ACCESS_KEY={new['SecretAccessKey']}")


if __name__ == "__main__":
    main()
