"""Instants: RFC 3339 date-times, read by one rule for the API and for imports."""

import re
from datetime import UTC, datetime, timedelta

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII).fullmatch


TOLERANCE = timedelta(minutes=5)
"""How far a client's clock may run ahead."""

_LONGEST_KEPT = len("2026-01-31T12:00:00.123456Z")


def read(text: str) -> tuple[datetime, str]:
    """Read an RFC 3339 date-time; digits below the microsecond are cut off.

    Returns:
        The instant in UTC, and as text in UTC for PostgreSQL, which refuses the offsets of 16 hours and more that RFC
        3339 allows, and rounds digits below the microsecond. The text has a fraction of a second if ``text`` has one.

    Raises:
        ValueError: another form, no such date or time, or a year outside 1970 to 9999 (in UTC).
    """
    if not _RFC_3339(text):
        raise ValueError("must be an RFC 3339 date-time with an offset, for example 2026-01-31T12:00:00Z")
    if text[17:19] == "60":
        raise ValueError("is a leap second, which is not supported; use second 59")
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is not UTC:
            moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is not a valid date and time") from None
    if moment.year < 1970:
        raise ValueError("must not be before 1970")
    if text.endswith(("Z", "z")) and len(text) <= _LONGEST_KEPT:
        return moment, text
    return moment, moment.isoformat(timespec="microseconds" if has_fraction(text) else "seconds")


def has_fraction(text: str | None) -> bool:
    """Whether a valid date-time names a fraction of a second; without one it covers its whole second."""
    return text is not None and "." in text


def of_epoch(seconds: int) -> str:
    """A whole second since 1970 as the API writes instants."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def past_text(text: str | None) -> str | None:
    """The text of ``read`` for an instant whose state is asked for; None stays None.

    Raises:
        ValueError: as ``read``, or it is more than five minutes in the future: no state is known yet.
    """
    if text is None:
        return None
    moment, written = read(text)
    if moment > datetime.now(UTC) + TOLERANCE:
        raise ValueError("is in the future; choices until now are known")
    return written


def utc_text(text: str | None) -> str | None:
    """The text of ``read``; None stays None.

    Raises:
        ValueError: as ``read``.
    """
    return None if text is None else read(text)[1]
