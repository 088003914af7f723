"""UUIDs: their form, and the ones that this function makes."""

import os
import re
import time

UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_matches = re.compile(UUID).fullmatch


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in the form of RFC 9562, section 4."""
    return _matches(text) is not None


def parse(text: str) -> str:
    """The UUID in lower case.

    Raises:
        ValueError: not a UUID in the form of RFC 9562, section 4.
    """
    if not is_uuid(text):
        raise ValueError("must be a UUID")
    return text.lower()


def new() -> str:
    """A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then random bits, so that an index grows at its end."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
