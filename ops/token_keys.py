"""The keys that sign users' own tokens: the secret ``{"keys": [{"id", "key", "made_at"}]}``, the newest first.

The function signs with the first key and accepts tokens of the first two (``lambda/pmp/person_tokens.py``), so a
rotation ends no token as long as the tokens of the key before it have expired.
"""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from ops import aws
from ops.errors import UserError

LONGEST_LIVED = timedelta(days=365)
"""No token is valid for longer: one-click unsubscriptions (``PURPOSES`` of ``lambda/pmp/person_tokens.py``)."""

_KEY_BYTES = 32
_LARGEST_ID = 255


def make_first(environment: str) -> None:
    """Write a first key into the empty secret; keys that are there are never replaced."""
    arn, client = _arn(environment), aws.client("secretsmanager")
    if not client.describe_secret(SecretId=arn).get("VersionIdsToStages"):
        _put(client, arn, [_new(1)])


def rotate(environment: str, *, is_leaked: bool = False) -> str:
    """Sign with a new key from now on; a warm function learns of it within five minutes.

    Args:
        environment: name, such as ``dev``.
        is_leaked: forget all other keys, which ends all their tokens.

    Returns:
        A sentence that says what is accepted now.

    Raises:
        UserError: tokens of the key before the present one can still be valid, and would end.
    """
    arn, client = _arn(environment), aws.client("secretsmanager")
    keys: list[dict[str, Any]] = json.loads(client.get_secret_value(SecretId=arn)["SecretString"])["keys"]
    present = keys[0]
    ends = datetime.fromisoformat(present["made_at"]) + LONGEST_LIVED
    if len(keys) > 1 and not is_leaked and ends > datetime.now(UTC):
        raise UserError(
            f"tokens of the key before the present one of {environment} can be valid until {ends:%Y-%m-%d}, and a "
            "rotation would end them, with links to unsubscribe among them: rotate after that day; if a key has "
            "leaked, add --leaked, which ends all tokens at once"
        )
    following = _new(present["id"] % _LARGEST_ID + 1)
    _put(client, arn, [following] if is_leaked else [following, present])
    if is_leaked:
        return f"{environment}: all tokens of users have ended; new ones are signed with key {following['id']}"
    return f"{environment}: new tokens are signed with key {following['id']}; those of key {present['id']} stay valid"


def _arn(environment: str) -> str:
    return aws.parameter(f"/pmp/{environment}/foundation/token_key_secret_arn")


def _new(identifier: int) -> dict[str, Any]:
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    return {"id": identifier, "key": secrets.token_hex(_KEY_BYTES), "made_at": made_at}


def _put(client: Any, arn: str, keys: list[dict[str, Any]]) -> None:
    client.put_secret_value(SecretId=arn, SecretString=json.dumps({"keys": keys}))
