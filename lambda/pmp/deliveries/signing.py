"""Secrets of subscriptions, and signatures by the Standard Webhooks specification.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac

from pmp import erasures


def secret(subscription: str, number: int) -> bytes:
    """A secret of a subscription: 32 bytes, derived and so stored nowhere (docs/adr/0226).

    Args:
        subscription: its id, in lower case.
        number: counts the subscription's secrets from 1.

    Raises:
        BotoCoreError, ClientError: Secrets Manager does not give the key.
    """
    # An address has no NUL, so nothing derived here is also the hash of an address.
    return hmac.digest(erasures.key(), f"webhook\0{subscription}\0{number}".encode(), "sha256")


def shown(secret: bytes) -> str:
    """The secret as a receiver's library takes it."""
    return "whsec_" + base64.b64encode(secret).decode()


def headers(identifier: str, seconds: int, body: bytes, secrets: list[bytes]) -> dict[str, str]:
    """The headers of a message, with a signature by each secret.

    Args:
        identifier: of the message, without a full stop.
        seconds: since the epoch, now.
        body: as it is sent.
        secrets: the newest first.
    """
    content = f"{identifier}.{seconds}.".encode() + body
    marks = (base64.b64encode(hmac.digest(secret, content, "sha256")).decode() for secret in secrets)
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{mark}" for mark in marks),
    }
