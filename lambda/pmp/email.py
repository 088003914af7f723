"""E-mail addresses: whether one can exist, and how it is written. No name is looked up."""

from pmp.http.problems import invalid

LONGEST_LOCAL_PART_OCTETS = 64


def normalized(address: str, pointer: str) -> str:
    """The address as it is kept: Unicode normalized (NFC), the domain in lower case and in its own script.

    The rules are email-validator's, which follows RFC 5321, 5322 and 6531, with their limits of 64 octets before the @
    and 254 in all. Uniqueness without regard to case is the database's.

    Args:
        address: as the client wrote it.
        pointer: of the address in the client's document.

    Raises:
        Problem: 422 with that pointer.
    """
    from email_validator import EmailNotValidError, validate_email

    try:
        found = validate_email(address, check_deliverability=False, strict=True)
    except EmailNotValidError as error:
        raise invalid([{"pointer": pointer, "detail": f"is no e-mail address: {error}"}]) from None
    # The library counts characters here; RFC 6531 keeps RFC 5321's octets.
    if len(found.local_part.encode()) > LONGEST_LOCAL_PART_OCTETS:
        detail = f"has more than {LONGEST_LOCAL_PART_OCTETS} octets before the @"
        raise invalid([{"pointer": pointer, "detail": detail}])
    return str(found.normalized)


def sought(address: str) -> str:
    """The address as ``normalized`` would have kept it, for looking somebody up; what cannot exist stays as it is."""
    if address.isascii() and "xn--" not in address.lower():
        return address  # only the case can differ, and the database folds that
    from email_validator import EmailNotValidError, validate_email

    try:
        return str(validate_email(address, check_deliverability=False).normalized)
    except EmailNotValidError:
        return address
