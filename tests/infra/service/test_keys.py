"""Access keys rotate without a gap, on an account that verifies signatures."""

from typing import Any

import boto3
import pytest

from ops import keys
from ops.aws import AccessKey
from ops.errors import UserError
from tests.infra.service.conftest import REGION, Enforced


def _names(iam: Any, user: str) -> list[str]:
    return [key["AccessKeyId"] for key in iam.list_access_keys(UserName=user)["AccessKeyMetadata"]]


def test_rotation_replaces_the_key_only_after_the_new_one_is_stored(enforced: Enforced) -> None:
    iam = enforced.client("admin", "iam")
    iam.create_user(UserName="rotated", Path="/pmp/")
    kept: list[AccessKey] = []

    def sts_of(key: AccessKey) -> Any:
        session = boto3.Session(key.identifier, key.secret, region_name=REGION)
        return session.client("sts", endpoint_url=enforced.instance.aws_url, verify=str(enforced.instance.ca_file))

    with pytest.raises(UserError, match="rotated has 0 access keys"):
        keys.rotate("rotated", iam, sts_of, kept.append)
    old = iam.create_access_key(UserName="rotated")["AccessKey"]["AccessKeyId"]

    def cannot_keep(_key: AccessKey) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        keys.rotate("rotated", iam, sts_of, cannot_keep)
    assert _names(iam, "rotated") == [old]

    keys.rotate("rotated", iam, sts_of, kept.append)

    assert _names(iam, "rotated") == [kept[0].identifier]
    assert sts_of(kept[0]).get_caller_identity()["Arn"].endswith("user/pmp/rotated")
