"""What names a user besides the id: an email address, a phone number, an id of another system.

A kind of identifier is ``email``, ``phone``, or ``external:`` and the namespace of the other system, as in the table
``pmp.identifier``.
"""

import re
from typing import Any, NamedTuple

from pmp import addresses

MOST_EXTERNAL_IDS = 20
_SEPARATORS = re.compile(r"[ ().\-]")
"""What RFC 3966 (section 5.1.1) calls visual separators, and the blank, which people write instead."""
_E164 = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch


class Name(NamedTuple):
    """One identifier of a user.

    Attributes:
        kind: see this module.
        value: as it is stored.
    """

    kind: str
    value: str

    @property
    def text(self) -> str:
        """What the keyed hash of an erasure is made of; the same text as in ``pmp.prepare_erasure``."""
        return addresses.fold(self.value) if self.kind == "email" else f"{self.kind}:{self.value}"


def normalize_phone(text: str) -> str:
    """A phone number as it is stored: ``+`` and 7 to 15 digits (ITU-T E.164), without separators.

    Raises:
        ValueError: it is not an international number.
    """
    number = _SEPARATORS.sub("", text)
    if not _E164(number):
        raise ValueError("must be an international phone number: + and 7 to 15 digits, such as +41 79 123 45 67")
    return number


def external_id(text: str) -> str:
    """An id of another system, unchanged: regardless of its form, it is compared exactly.

    Raises:
        ValueError: it is not printable, or has a blank at an end.
    """
    if not text.isprintable() or text != text.strip():
        raise ValueError("must have printable characters only, and no blank at its ends")
    return text


def asked(user: dict[str, Any]) -> Name | None:
    """The identifier in ``{"email"}``, ``{"phone"}`` or ``{"external_id": {"namespace", "id"}}``; None in ``{"id"}``.

    What is not valid is returned as it is: nobody has it.
    """
    if "email" in user:
        return Name("email", addresses.lookup_form(user["email"]))
    if "phone" in user:
        number = _SEPARATORS.sub("", user["phone"])
        return Name("phone", number)
    if "external_id" in user:
        return Name(f"external:{user['external_id']['namespace']}", user["external_id"]["id"])
    return None


def named(document: dict[str, Any]) -> dict[str, str]:
    """The values of a user's document by kind, without the address."""
    found = {f"external:{namespace}": value for namespace, value in document.get("external_ids", {}).items()}
    return found | ({"phone": document["phone"]} if "phone" in document else {})


def member(kind: str) -> str:
    """JSON Pointer to the identifier of this kind in a user's document."""
    return "/" + kind.replace("external:", "external_ids/")
