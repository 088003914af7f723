"""``make accounts`` begins with nothing, stops its command on Ctrl-C, and notices an account that reaches another."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local import accounts, services
from local.account import Account
from local.instance import Instance
from ops.errors import UserError


def platform(tmp_path: Path) -> Any:
    instance = Instance("accounts", 26000, tmp_path)
    return SimpleNamespace(
        instance=instance,
        account=SimpleNamespace(instance=instance, admin=Account(instance).admin, start=lambda: True),
        start_environments=lambda _names: None,
    )


def test_an_instance_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "accounts").mkdir()
    with pytest.raises(UserError, match="instance 'accounts' exists: remove it with 'PMP_INSTANCE=accounts make down'"):
        accounts.run(platform(tmp_path))


def test_ctrl_c_lets_the_running_command_save_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted = []

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def deployment(_account: object, name: str) -> Any:
        return SimpleNamespace(interrupt=lambda: interrupted.append(name))

    monkeypatch.setattr(accounts, "_deployment", deployment)
    monkeypatch.setattr(accounts, "_doctor", stop)
    for name in ("start_registry", "start_vendor_list"):
        monkeypatch.setattr(services, name, lambda _instance: "")
    with pytest.raises(KeyboardInterrupt):
        accounts.run(platform(tmp_path))
    assert interrupted == ["dev"]


def test_reaching_another_account_is_an_error() -> None:
    def denied() -> None:
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")

    def missing() -> None:
        raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")

    accounts._require_denied("gitlab of dev reads the state of prod", denied)
    with pytest.raises(
        UserError, match="gitlab of dev reads the state of prod, although it belongs to another account"
    ):
        accounts._require_denied("gitlab of dev reads the state of prod", lambda: None)
    with pytest.raises(ClientError):
        accounts._require_denied("gitlab of dev reads the state of prod", missing)
