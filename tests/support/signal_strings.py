"""Write TC and GPP strings: the inverse of ``pmp.signals``, for tests."""

from collections.abc import Sequence

from pmp.signals.bits import Ranges
from pmp.signals.tcf import RESTRICTIONS, TcString

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def text(bits: str) -> str:
    """Bits as characters of six bits each, padded with zeros."""
    bits += "0" * (-len(bits) % 6)
    return "".join(_ALPHABET[int(bits[place : place + 6], 2)] for place in range(0, len(bits), 6))


def number(value: int, width: int) -> str:
    """An unsigned integer as bits."""
    assert value < 1 << width
    return f"{value:0{width}b}"


def letters(two: str) -> str:
    """Two letters as bits."""
    return "".join(number(ord(letter) - ord("A"), 6) for letter in two)


def ones(ranges: Ranges, width: int) -> str:
    """A bit for each id up to ``width``."""
    return "".join(
        "1" if any(first <= place <= last for first, last in ranges) else "0" for place in range(1, width + 1)
    )


def entries(ranges: Sequence[tuple[int, int]]) -> str:
    """A list of ids and ranges, in the order given."""
    bits = number(len(ranges), 12)
    for first, last in ranges:
        bits += f"0{number(first, 16)}" if first == last else f"1{number(first, 16)}{number(last, 16)}"
    return bits


def ids(ranges: Ranges, *, as_ranges: bool) -> str:
    """A set of ids with its largest one."""
    largest = ranges[-1][1] if ranges else 0
    return number(largest, 16) + (f"1{entries(ranges)}" if as_ranges else f"0{ones(ranges, largest)}")


def core(tc: TcString, deciseconds: int, *, as_ranges: bool) -> str:
    """The bits of a core segment that was made and updated at an instant."""
    bits = number(2, 6) + 2 * number(deciseconds, 36) + number(tc.cmp_id, 12) + number(tc.cmp_version, 12)
    bits += number(tc.screen, 6) + letters(tc.language) + number(tc.vendor_list_version, 12)
    bits += number(tc.policy_version, 6) + f"{tc.is_service_specific:b}{tc.uses_non_standard_texts:b}"
    bits += ones(tc.special_features, 12) + ones(tc.consents, 24) + ones(tc.legitimate_interests, 24)
    bits += f"{tc.purpose_one_is_special:b}" + letters(tc.country)
    bits += ids(tc.vendor_consents, as_ranges=as_ranges) + ids(tc.vendor_legitimate_interests, as_ranges=as_ranges)
    bits += number(len(tc.restrictions), 12)
    for one in tc.restrictions:
        bits += number(one.purpose, 6) + number(RESTRICTIONS.index(one.kind), 2) + entries(one.vendors)
    return bits


def tc_string(tc: TcString, deciseconds: int, *, as_ranges: bool = True) -> str:
    """The string of a decoded one; its instants are ``deciseconds`` since 1970."""
    segments = [text(core(tc, deciseconds, as_ranges=as_ranges))]
    if tc.disclosed is not None:
        segments.append(text(number(1, 3) + ids(tc.disclosed, as_ranges=as_ranges)))
    if tc.publisher is not None:
        custom = max(
            [0, *(last for _, last in tc.publisher.custom_consents + tc.publisher.custom_legitimate_interests)]
        )
        bits = number(3, 3) + ones(tc.publisher.consents, 24) + ones(tc.publisher.legitimate_interests, 24)
        bits += number(custom, 6) + ones(tc.publisher.custom_consents, custom)
        segments.append(text(bits + ones(tc.publisher.custom_legitimate_interests, custom)))
    return ".".join(segments)


def fibonacci(value: int) -> str:
    """An integer from 1 in Fibonacci coding."""
    weights = [1, 2]
    while weights[-1] <= value:
        weights.append(weights[-1] + weights[-2])
    bits = ""
    for weight in reversed(weights[:-1]):
        bits += "1" if weight <= value else "0"
        value -= weight if weight <= value else 0
    return bits[::-1] + "1"


def header(ranges: Ranges) -> str:
    """The header of a GPP string with these section ids."""
    bits, last = number(3, 6) + number(1, 6) + number(len(ranges), 12), 0
    for first, end in ranges:
        bits += f"{first != end:b}{fibonacci(first - last)}"
        bits += fibonacci(end - first) if first != end else ""
        last = end
    return text(bits)


def us_section(values: Sequence[int], version: int, gpc: bool | None) -> str:
    """A section of the United States: its version, values of two bits, and its part for GPC."""
    section = text(number(version, 6) + "".join(number(value, 2) for value in values))
    return section if gpc is None else f"{section}.{text(f'01{gpc:b}')}"
