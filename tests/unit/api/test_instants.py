"""How the API and imports read RFC 3339 instants."""

from datetime import timedelta

import pytest
from pmp import instants


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00z",
        "1970-01-01T00:00:00+00:00",
        "2026-01-31T12:00:00.123456789-23:59",
        "9999-12-31T23:59:59Z",
    ],
)
def test_valid_instant_is_read_as_utc(text: str) -> None:
    assert instants.read(text)[0].utcoffset() == timedelta()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-02-30T12:00:00Z",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00:60Z",
        "2026-01-31T24:00:00Z",
        "1969-12-31T23:59:59Z",
        "12026-01-31T12:00:00Z",
        "9999-12-31T23:59:59-10:00",
        "2026-01-31T12:00:00+99:00",
        "2026-01-31T12:00:00Z\n",
        "٢٠٢٦-01-31T12:00:00Z",
    ],
)
def test_invalid_instant_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|must) "):
        instants.read(text)


def test_error_names_a_leap_second() -> None:
    with pytest.raises(ValueError, match="is a leap second, which is not supported; use second 59"):
        instants.read("2016-12-31T23:59:60Z")


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-01T00:00:00+16:00", "2025-12-31T08:00:00+00:00"),
        ("2026-01-01T00:00:00-23:59", "2026-01-01T23:59:00+00:00"),
        ("2026-01-31t12:00:00.123456999z", "2026-01-31T12:00:00.123456+00:00"),
        ("2026-01-31t12:00:00.123456z", "2026-01-31t12:00:00.123456z"),
        ("2026-01-31T12:00:00.000+02:00", "2026-01-31T10:00:00.000000+00:00"),
        (None, None),
    ],
)
def test_utc_text_has_an_offset_that_postgresql_accepts(text: str | None, utc: str | None) -> None:
    assert instants.utc_text(text) == utc
    assert instants.has_fraction(text) == instants.has_fraction(utc)
