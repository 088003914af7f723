"""Tokens of one user for one purpose, which API clients ask for and hand to that user (docs/adr/0111).

A token is base64url (RFC 4648, section 5, without padding) of its content and the HMAC-SHA256 of that::

    version 1 | key's id 1 | purpose 1 | user 16 | expiry 4 (seconds since 1970) | length of client 1 | client | subject

All numbers are bytes, in network order. The subject is the confirmation's id (16 bytes) for the purpose ``confirm``,
else the ids of the consents that the token is limited to, joined by commas; empty for all. Nothing in it is encrypted,
and nothing in it is personal but the user's id, a pseudonym.
"""

import base64
import binascii
import hmac
import struct
import time
import uuid
from dataclasses import dataclass

from pmp import vault
from pmp.configuration import configuration

_VERSION = 1
_HEAD = struct.Struct(">BBB16sIB")
_MAC_BYTES = 32
MOST_CHARACTERS = 2000
_FRESH_SECONDS = 300
"""After this a kept key is read again: an operator's replacement of a key that leaked takes effect everywhere."""
_LEAST_SECONDS = 10
"""Between two readings because of tokens with an unknown key, which anybody can make up."""

_MINUTE, _DAY = 60, 86400


@dataclass(frozen=True, slots=True)
class Bounds:
    """For how many seconds a token of a purpose may be valid."""

    code: int
    shortest: int
    longest: int
    default: int


PURPOSES = {
    "preferences": Bounds(1, _MINUTE, 30 * _DAY, _DAY),
    "confirm": Bounds(2, _MINUTE, 7 * _DAY, 7 * _DAY),
    # An opt-out has to work for 30 days after the message (CAN-SPAM), or for 60 (CASL, section 11(2)):
    # https://www.law.cornell.edu/uscode/text/15/7704 and https://laws-lois.justice.gc.ca/eng/acts/E-1.6/page-2.html
    "unsubscribe": Bounds(3, 60 * _DAY, 365 * _DAY, 60 * _DAY),
    "erase": Bounds(4, _MINUTE, 15 * _MINUTE, 15 * _MINUTE),
}
_NAMES = {bounds.code: name for name, bounds in PURPOSES.items()}


class InvalidTokenError(ValueError):
    """The text is not a token that this API made."""


class ExpiredTokenError(InvalidTokenError):
    """The API made the token, which has expired since."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a token is about, and what it allows.

    Attributes:
        user: the user's id.
        purpose: a key of ``PURPOSES``.
        client: the API client that asked for the token.
        consents: ids of the consents that it is limited to; empty for all.
        confirmation: id of what the user is asked to confirm; only for the purpose ``confirm``.
        expires_at: seconds since 1970.
    """

    user: str
    purpose: str
    client: str
    expires_at: int
    consents: tuple[str, ...] = ()
    confirmation: str | None = None


@dataclass(slots=True)
class _Keys:
    read_at: float = 0.0
    newest: int = 0
    by_id: dict[int, bytes] | None = None

    def load(self, oldest: float) -> dict[int, bytes]:
        """The keys by their ids, read from the secret unless that was done since ``oldest``.

        Raises:
            BotoCoreError, ClientError, KeyError, ValueError: see ``vault.read``.
        """
        if self.by_id is None or self.read_at < oldest:
            # The newest first. Older ones were valid long enough before (ops/token_keys.py).
            accepted = vault.read(configuration().token_key_secret_arn)["keys"][:2]
            self.by_id = {key["id"]: bytes.fromhex(key["key"]) for key in accepted}
            self.newest, self.read_at = accepted[0]["id"], time.time()
        return self.by_id


_keys = _Keys()


def forget_keys() -> None:
    """Read the keys again at their next use."""
    _keys.by_id = None


def make(person: Person) -> str:
    """The token.

    Args:
        person: its client has at most 255 bytes of UTF-8.

    Raises:
        BotoCoreError, ClientError, KeyError, ValueError: the key cannot be read.
    """
    keys = _keys.load(time.time() - _FRESH_SECONDS)
    client = person.client.encode()
    code, user = PURPOSES[person.purpose].code, uuid.UUID(person.user).bytes
    head = _HEAD.pack(_VERSION, _keys.newest, code, user, person.expires_at, len(client))
    subject = uuid.UUID(person.confirmation).bytes if person.confirmation else ",".join(person.consents).encode()
    content = head + client + subject
    return base64.urlsafe_b64encode(content + _mac(keys[_keys.newest], content)).rstrip(b"=").decode()


def read(text: str) -> Person:
    """The person that a token stands for.

    Raises:
        InvalidTokenError: it is not a token of this API.
        ExpiredTokenError: it has expired.
        BotoCoreError, ClientError, KeyError, ValueError: the key cannot be read.
    """
    raw = _decoded(text)
    content, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    version, key_id, code, user, expires_at, length = _HEAD.unpack_from(content)
    if version != _VERSION or code not in _NAMES:
        raise InvalidTokenError("is of an unknown kind")
    key = _key(key_id)
    # Also without a key, so that the time does not tell whether there is one.
    if not hmac.compare_digest(_mac(key or bytes(_MAC_BYTES), content), mac) or key is None:
        raise InvalidTokenError("has a wrong signature")
    if expires_at <= time.time():
        raise ExpiredTokenError("has expired")
    rest, purpose = content[_HEAD.size :], _NAMES[code]
    client, subject = rest[:length].decode(), rest[length:]
    if purpose == "confirm":
        return Person(_uuid(user), purpose, client, expires_at, confirmation=_uuid(subject))
    consents = tuple(subject.decode().split(",")) if subject else ()
    return Person(_uuid(user), purpose, client, expires_at, consents)


def _decoded(text: str) -> bytes:
    """The bytes of a token, if it is long enough to be one and is their one encoding."""
    if len(text) <= MOST_CHARACTERS:
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) >= _HEAD.size + _MAC_BYTES and base64.urlsafe_b64encode(raw).rstrip(b"=") == text.encode():
            return raw
    raise InvalidTokenError("is not a token")


def _key(key_id: int) -> bytes | None:
    keys = _keys.load(time.time() - _FRESH_SECONDS)
    if key_id not in keys:
        keys = _keys.load(time.time() - _LEAST_SECONDS)
    return keys.get(key_id)


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")


def _uuid(raw: bytes) -> str:
    return str(uuid.UUID(bytes=raw))
