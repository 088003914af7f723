"""Rotations of the keys that sign users' tokens end no token that can still be valid."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ops import aws, token_keys
from ops.errors import UserError


class Vault:
    """Secrets Manager with one secret."""

    def __init__(self) -> None:
        self.value: str | None = None

    def describe_secret(self, **_: Any) -> dict[str, Any]:
        return {"VersionIdsToStages": {"1": ["AWSCURRENT"]}} if self.value else {}

    def get_secret_value(self, **_: Any) -> dict[str, Any]:
        return {"SecretString": self.value}

    def put_secret_value(self, *, SecretId: str, SecretString: str) -> None:  # noqa: N803 - boto3's names
        assert SecretId == "arn"
        self.value = SecretString

    @property
    def keys(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.value or '{"keys": []}')["keys"]
        return found

    def age(self, days: int) -> None:
        """Make all keys older."""
        keys = self.keys
        for key in keys:
            key["made_at"] = (datetime.fromisoformat(key["made_at"]) - timedelta(days=days)).isoformat()
        self.value = json.dumps({"keys": keys})


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Vault:
    found = Vault()
    monkeypatch.setattr(aws, "client", lambda _service: found)
    monkeypatch.setattr(aws, "parameter", lambda name: {"/pmp/dev/foundation/token_key_secret_arn": "arn"}[name])
    return found


def test_the_first_key_is_made_once(vault: Vault) -> None:
    token_keys.make_first("dev")
    (key,) = vault.keys
    assert (key["id"], len(bytes.fromhex(key["key"]))) == (1, 32)
    assert datetime.now(UTC) - datetime.fromisoformat(key["made_at"]) < timedelta(minutes=1)
    token_keys.make_first("dev")
    assert vault.keys == [key]


def test_a_rotation_keeps_the_key_before(vault: Vault) -> None:
    token_keys.make_first("dev")
    (first,) = vault.keys
    assert "those of key 1 stay valid" in token_keys.rotate("dev")
    second, kept = vault.keys
    assert (kept, second["id"]) == (first, 2)
    assert second["key"] != first["key"]


def test_a_rotation_that_would_end_valid_tokens_is_refused(vault: Vault) -> None:
    token_keys.make_first("dev")
    token_keys.rotate("dev")
    before = vault.value
    vault.age(364)
    aged = vault.value
    with pytest.raises(UserError, match="rotate after that day"):
        token_keys.rotate("dev")
    assert vault.value == aged != before
    vault.age(1)
    token_keys.rotate("dev")
    assert [key["id"] for key in vault.keys] == [3, 2]


def test_a_leaked_key_ends_at_once(vault: Vault) -> None:
    token_keys.make_first("dev")
    token_keys.rotate("dev")
    assert "all tokens of users have ended" in token_keys.rotate("dev", is_leaked=True)
    assert [key["id"] for key in vault.keys] == [3]


def test_ids_stay_within_a_byte(vault: Vault) -> None:
    vault.value = json.dumps({"keys": [{"id": 255, "key": "00", "made_at": "2020-01-01T00:00:00+00:00"}]})
    token_keys.rotate("dev")
    assert [key["id"] for key in vault.keys] == [1, 255]
