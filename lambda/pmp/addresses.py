"""Email addresses: which are valid, and the form in which they are stored. No DNS lookup.

The rules are email-validator's, which follows RFC 5321, 5322 and 6531, with limits of 64 octets before the @ and 254 in
all. The API and imports share them. Addresses that differ only in case are one user: the database decides that.
"""

import re

LONGEST_LOCAL_PART_OCTETS = 64
LONGEST_OCTETS = 254
_CACHED_DOMAINS = 20_000
_PLAIN_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*").fullmatch


class InvalidAddressError(ValueError):
    """Not a valid address.

    The text may quote characters of the address.

    Attributes:
        discreet: a shorter reason that quotes nothing, for files that must not repeat personal data.
    """

    def __init__(self, reason: str, discreet: str) -> None:
        super().__init__(f"is not a valid email address: {reason}")
        self.discreet = f"is not a valid email address: {discreet}"


def normalize(address: str) -> str:
    """The address as it is stored: Unicode NFC, the domain in lower case and in its own script.

    Raises:
        InvalidAddressError: the address breaks a rule.
    """
    from email_validator import EmailNotValidError, validate_email

    if "\ufffd" in address:  # stands for bytes that were not UTF-8; the library accepts it
        reason = "it contains U+FFFD, the replacement for a character that could not be read; send UTF-8"
        raise InvalidAddressError(reason, reason)
    if len(address) > LONGEST_OCTETS:  # before the library, whose time grows with the square of the length
        reason = f"it has more than {LONGEST_OCTETS} octets"
        raise InvalidAddressError(reason, reason)
    try:
        found = validate_email(address, check_deliverability=False, strict=True)
    except (EmailNotValidError, UnicodeError) as error:
        discreet = "its domain is reserved" if "special-use" in str(error) else _usual_fault(address)
        raise InvalidAddressError(str(error), discreet) from None
    # The library counts characters here; RFC 6531 keeps RFC 5321's octets.
    if len(found.local_part.encode()) > LONGEST_LOCAL_PART_OCTETS:
        reason = f"it has more than {LONGEST_LOCAL_PART_OCTETS} octets before the @"
        raise InvalidAddressError(reason, reason)
    return str(found.normalized)


def _usual_fault(address: str) -> str:
    """What is wrong with an address, without its characters."""
    local = address.rpartition("@")[0]
    faults = (
        (not local, "it has no @, or nothing before it"),
        (address != address.strip(), "it begins or ends with a blank"),
        ("<" in address or ">" in address, "it has < or >: leave out the name around the address"),
        (address.count("@") > 1, "it has more than one @: write one address for each user"),
        (
            any(character.isspace() or not character.isprintable() for character in address),
            "it has a blank or an invisible character, such as a no-break space",
        ),
        (
            len(local.encode(errors="replace")) > LONGEST_LOCAL_PART_OCTETS,
            f"it has more than {LONGEST_LOCAL_PART_OCTETS} octets before the @",
        ),
    )
    return next((text for is_so, text in faults if is_so), "it breaks the rules of RFC 5321")


class Normalizer:
    """Normalizes many addresses: most have plain names at few domains, and each such domain is validated only once."""

    def __init__(self) -> None:
        self._domains: dict[str, tuple[str, int]] = {}
        """By domain as it is written: its normalized form, and the octets of the longer of the two."""

    def normalize(self, address: str) -> str:
        """As the function ``normalize``.

        Raises:
            InvalidAddressError: the address breaks a rule.
        """
        local, _, domain = address.rpartition("@")
        is_plain = _PLAIN_LOCAL_PART(local) is not None
        if is_plain and len(local) <= LONGEST_LOCAL_PART_OCTETS and domain in self._domains:
            known, octets = self._domains[domain]
            if len(local) + 1 + octets <= LONGEST_OCTETS:
                return f"{local}@{known}"
        normalized = normalize(address)
        if is_plain and domain.isascii() and len(self._domains) < _CACHED_DOMAINS:
            known = normalized.rpartition("@")[2]
            self._domains[domain] = known, max(len(domain), len(known.encode()))
        return normalized


def fold(address: str) -> str:
    """The form in which addresses are compared, as ``pmp.fold_email`` in the database; a test compares the two."""
    return address.lower()


def lookup_form(address: str) -> str:
    """The address as ``normalize`` would store it, to find its user; an invalid address is returned unchanged.

    A check has up to 1,000 addresses, so this only maps characters, which takes a hundredth of a validation's time.
    """
    if address.isascii() and "xn--" not in address.lower():
        return address  # only the case can differ, and the database ignores it
    from unicodedata import normalize as compose

    import idna

    local, at, domain = address.rpartition("@")
    try:
        domain = idna.uts46_remap(domain, std3_rules=False, transitional=False)
        domain = ".".join(idna.ulabel(label) if label.startswith("xn--") else label for label in domain.split("."))
    except (idna.IDNAError, UnicodeError):
        return address
    return compose("NFC", local) + at + domain
