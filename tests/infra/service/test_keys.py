"""Access keys rotate without a gap, on an account that verifies signatures."""

import json
from pathlib import Path

import pytest

from ci import keys
from tests.infra.service.conftest import REGION, Enforced


def test_rotation(enforced: Enforced, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    iam = enforced.client("admin", "iam")
    admin = enforced.sessions["admin"].get_credentials()
    assert admin is not None
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", str(admin.access_key))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", str(admin.secret_key))
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL", enforced.instance.aws_url)
    monkeypatch.setenv("AWS_CA_BUNDLE", str(enforced.instance.ca_file))
    iam.create_user(UserName="rotated", Path="/pmp/")
    with pytest.raises(LookupError, match="rotated has 0 access keys"):
        keys.rotate("rotated")
    old = iam.create_access_key(UserName="rotated")["AccessKey"]["AccessKeyId"]

    new = keys.rotate("rotated")

    left = [key["AccessKeyId"] for key in iam.list_access_keys(UserName="rotated")["AccessKeyMetadata"]]
    assert left == [new["AccessKeyId"]]
    assert old not in left
    keys.save(new, tmp_path / "rotated.json")
    assert json.loads((tmp_path / "rotated.json").read_text())["secret_access_key"] == new["SecretAccessKey"]
    assert (tmp_path / "rotated.json").stat().st_mode & 0o777 == 0o600
