"""JSON of any size in shapes that are expensive for a careless reader, and a comparison of processor times.

Times depend on the machine, so each is compared: with that of an eighth of the text, where a quadratic step would take
sixty-four times as long, and with that of parsing the text as JSON.
"""

import contextlib
import gc
import json
import time
from collections.abc import Callable

FACTOR = 8
MOST_GROWTH = 3 * FACTOR
MOST_PARSINGS = 40
LEAST_SECONDS = 0.004
"""Shorter times are mostly noise."""
LARGEST = 1 << 20
UUID = "01a20aa5-7b3c-7a26-b54f-452299678f07"


def repeated(unit: str, separator: str, before: str, after: str) -> Callable[[int], str]:
    """Return a body of ``size`` bytes: as many units as fit."""

    def body(size: int) -> str:
        count = (size - len(before) - len(after)) // (len(unit.encode()) + len(separator))
        return before + separator.join([unit] * count) + after

    return body


def numbered(unit: str, before: str, after: str) -> Callable[[int], str]:
    """Return a body of ``size`` bytes: as many units as fit, each with its own number for ``#``."""

    def body(size: int) -> str:
        count = (size - len(before) - len(after)) // (len(unit.encode()) + 8)
        return before + ",".join(unit.replace("#", f"{number:07}") for number in range(count)) + after

    return body


def nested(opening: str, closing: str) -> Callable[[int], str]:
    """Return a body of ``size`` bytes that is nested as deeply as it can be."""

    def body(size: int) -> str:
        depth = size // (len(opening) + len(closing))
        return opening * depth + closing * depth

    return body


def checks(user: str) -> Callable[[int], str]:
    """Return 1,000 checks, or an eighth of them for the smaller size; ``#`` in ``user`` is a number."""

    def body(size: int) -> str:
        count = 1000 if size == LARGEST else 1000 // FACTOR
        items = [f'{{"user":{user.replace("#", f"{number:03}")},"consent":"c{number}"}}' for number in range(count)]
        return f'{{"checks":[{",".join(items)}]}}'

    return body


LONG_DOMAIN = ".".join(["ü" * 20] * 5)
SHAPES = {
    "nested arrays": nested("[", "]"),
    "nested objects": nested('{"a":', "}"),
    "unclosed arrays": lambda size: "[" * size,
    "unclosed objects": lambda size: '{"a":' * (size // 5),
    "one key doubled": repeated('"a":1', ",", "{", "}"),
    "every key doubled": lambda size: numbered('"#":1', "{", ",")(size // 2) + numbered('"#":1', "", "}")(size // 2),
    "unknown keys": numbered('"#":1', "{", "}"),
    "long unknown key": lambda size: '{"' + "a" * (size - 10) + '":1}',
    "long string": lambda size: '{"email":"' + "a" * (size - 20) + '"}',
    "escapes": repeated("\\u00e9", "", '{"email":"', '"}'),
    "unpaired surrogates": repeated("\\ud800", "", '{"email":"', '"}'),
    "backslashes": repeated("\\\\", "", '{"email":"', '"}'),
    "letters of four bytes": repeated("\U0001f600", "", '{"email":"', '"}'),
    "unclosed string": lambda size: '{"email":"' + "\\\\" * (size // 2 - 10),
    "long integer": lambda size: '{"a":' + "9" * (size - 10) + "}",
    "long integers": repeated("9" * 1000, ",", "[", "]"),
    "long fraction": lambda size: '{"a":0.' + "1" * (size - 10) + "}",
    "long exponent": lambda size: '{"a":1e' + "9" * (size - 10) + "}",
    "long fractions": repeated("0." + "1" * 700, ",", "[", "]"),
    "numbers": repeated("1", ",", "[", "]"),
    "empty arrays": repeated("[]", ",", '{"checks":[', "]}"),
    "empty objects": repeated("{}", ",", '{"consents":[', "]}"),
    "spaces": lambda size: " " * (size - 2) + "{}",
    "not JSON at the end": repeated("[]", ",", "[", "x"),
    "unknown users": checks(f'{{"id":"{UUID}"}}'),
    "checks with unknown keys": checks('{"id":"x",' + ",".join(f'"{key}":1' for key in range(100)) + "}"),
    "addresses": checks('{"email":"ada#@example.com"}'),
    "international addresses": checks(f'{{"email":"é#@{LONG_DOMAIN}.de"}}'),
    "international local parts": checks('{"email":"' + "e\\u0301" * 100 + '#@example.com"}'),
    "punycode": checks('{"email":"a#@' + ".".join(["xn--" + "bcher-kva" * 6] * 4) + '.de"}'),
}


def _seconds(work: Callable[[], object]) -> float:
    best = float("inf")
    # The garbage collector's passes come in steps.
    gc.disable()
    try:
        for _ in range(3):
            started = time.process_time()
            work()
            best = min(best, time.process_time() - started)
    finally:
        gc.enable()
    return max(best, LEAST_SECONDS)


def _parse(body: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):
        json.loads(body)


def check_time(work: Callable[[bytes], object], shape: str) -> None:
    """Check that the work takes no longer for 1 MiB of a shape than its size explains.

    Raises:
        AssertionError: it does.
    """
    small, large = (SHAPES[shape](LARGEST // part).encode() for part in (FACTOR, 1))
    assert len(large) <= LARGEST
    seconds = _seconds(lambda: work(large))
    growth = seconds / _seconds(lambda: work(small))
    assert growth < MOST_GROWTH, f"{growth:.0f} times as long for {FACTOR} times the bytes"
    parsings = seconds / _seconds(lambda: _parse(large))
    assert parsings < MOST_PARSINGS, f"{parsings:.0f} times as long as parsing it as JSON"
