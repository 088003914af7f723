"""Read the fields of a segment: text of 6 bits a character, as TCF and GPP encode it."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

LONGEST = 4096
"""Characters of a string. A TC string with all 1,100 vendors of the list and three segments has about 700."""

LARGEST_ID = 2**16 - 1

Ranges = tuple[tuple[int, int], ...]
"""Ids as ranges from the first to the last one, in ascending order and apart from each other."""

_VALUES = {
    letter: f"{value:06b}"
    for value, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
}
"""Base64url (RFC 4648, section 5) without padding."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LARGEST_CODE_BITS = 24
"""Of a Fibonacci code for a number up to ``LARGEST_ID``, with its final 1."""


class SignalError(ValueError):
    """A string that is not what it claims to be. The text says in which part what is wrong; it quotes nothing."""


def check_length(text: str) -> None:
    """Refuse what is too long to be decoded.

    Raises:
        SignalError: it has more than ``LONGEST`` characters.
    """
    if len(text) > LONGEST:
        raise SignalError(f"has more than {LONGEST} characters")


def merged(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges in any order, which may overlap, as ``Ranges``."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(last, found[-1][1])
        else:
            found.append((first, last))
    return tuple(found)


class Reader:
    """Reads one segment from its start to its end.

    Args:
        text: the segment.
        part: its name in errors, for example "core segment".

    Raises:
        SignalError: by each method, where the segment ends within the field, or the field has a value that its
            specification does not define.
    """

    def __init__(self, text: str, part: str) -> None:
        self._part, self._at = part, 0
        try:
            self._bits = "".join([_VALUES[letter] for letter in text])
        except KeyError:
            place = next(place for place, letter in enumerate(text, start=1) if letter not in _VALUES)
            raise self.wrong(f"character {place} is not one of A-Z, a-z, 0-9, - and _") from None

    def __len__(self) -> int:
        """Bits of the segment, with its padding."""
        return len(self._bits)

    def wrong(self, detail: str) -> SignalError:
        """The error that says what is wrong with this segment."""
        return SignalError(f"{self._part}: {detail}")

    def integer(self, width: int, field: str) -> int:
        """An unsigned integer of ``width`` bits."""
        return int(self._take(width, field), 2)

    def flag(self, field: str) -> bool:
        """One bit."""
        return self._take(1, field) == "1"

    def instant(self, field: str) -> str:
        """36 bits of tenths of a second since 1970, as RFC 3339."""
        moment = _EPOCH + timedelta(milliseconds=100 * self.integer(36, field))
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def letters(self, field: str) -> str:
        """Two letters of 6 bits each, A = 0."""
        values = [self.integer(6, field) for _ in range(2)]
        if max(values) > 25:
            raise self.wrong(f"{field} is not two letters")
        return "".join(chr(ord("A") + value) for value in values)

    def ones(self, width: int, field: str) -> Ranges:
        """The places of the bits that are set among ``width`` bits; the first place is 1."""
        bits = self._take(width, field) if width else ""
        found = []
        start = bits.find("1")
        while start >= 0:
            end = bits.find("0", start)
            end = width if end < 0 else end
            found.append((start + 1, end))
            start = bits.find("1", end)
        return tuple(found)

    def entries(self, field: str, largest: int = LARGEST_ID) -> Ranges:
        """A list of ids and ranges of ids: ``NumEntries`` of 12 bits, then the entries, in any order."""
        found = []
        for _ in range(self.integer(12, field)):
            is_range = self.flag(field)
            first = self.integer(16, field)
            last = self.integer(16, field) if is_range else first
            if not 1 <= first <= last:
                raise self.wrong(f"{field} has a range from {first} to {last}")
            if last > largest:
                raise self.wrong(f"{field} has the id {last} above its MaxVendorId, {largest}")
            found.append((first, last))
        return merged(found)

    def ids(self, field: str) -> Ranges:
        """A set of ids: ``MaxVendorId``, ``IsRangeEncoding``, and a bit for each id or a list of entries."""
        largest = self.integer(16, field)
        return self.entries(field, largest) if self.flag(field) else self.ones(largest, field)

    def fibonacci(self, field: str) -> int:
        """An integer from 1 in Fibonacci coding, which ends with the first two ones in a row.

        https://github.com/InteractiveAdvertisingBureau/Global-Privacy-Platform/blob/main/Core/Consent%20String%20Specification.md#fibonacci-encoding-to-deal-with-string-length
        """
        end = self._bits.find("11", self._at, self._at + _LARGEST_CODE_BITS)
        if end < 0:
            raise self.wrong(f"{field} is not a Fibonacci code of at most {_LARGEST_CODE_BITS} bits")
        value, one, two = 0, 1, 2
        for bit in self._bits[self._at : end + 1]:
            value += one if bit == "1" else 0
            one, two = two, one + two
        self._at = end + 2
        return value

    def end(self) -> None:
        """Refuse anything but padding after the last field: then it was not what was read here."""
        if "1" in self._bits[self._at :]:
            raise self.wrong(f"goes on after its last field, at bit {self._bits.index('1', self._at) + 1}")

    def _take(self, width: int, field: str) -> str:
        bits = self._bits[self._at : self._at + width]
        if len(bits) < width:
            raise self.wrong(f"ends within {field}")
        self._at += width
        return bits
