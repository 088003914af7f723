"""Parsing of lines into events. Tests of whole imports cover the reports of rejected lines."""

import datetime as dt
import json
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pmp import addresses, export_text
from pmp.imports import columns
from pmp.imports.errors import FileError
from pmp.imports.lines import Batch, Catalogue, Parser, Version

from tests.support.shapes import SHAPES, check_time

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
START, REWORDED = dt.datetime(2025, 1, 1, tzinfo=dt.UTC), dt.datetime(2025, 6, 1, 12, 0, 0, 500_000, dt.UTC)
CATALOGUE = Catalogue(
    {
        "email_notifications": [Version(1, START, 1)],
        "sms_notifications": [Version(1, START, 2), Version(2, REWORDED, 5)],
    }
)


def _hash(address: str) -> bytes:
    return address.encode().ljust(32, b"\0")


DECLARED = "2025-12-01T00:00:00Z"


def parsed(line: Any, header: str | None = None, declared: str | None = DECLARED) -> Batch:
    table = columns.of_events(header, ",", CATALOGUE) if header else None
    parser, batch = Parser(CATALOGUE, NOW, declared, table, address_hash=_hash), Batch()
    # Twice: the second line is parsed with the caches that the first has filled.
    for number in (1, 2):
        parser.add(batch, number, line if isinstance(line, bytes) else json.dumps(line).encode())
    return batch


def test_line_is_parsed_into_columns() -> None:
    choices = [
        {"id": "sms_notifications", "enabled": True, "version": 1},
        {"id": "email_notifications", "enabled": False},
    ]
    batch = parsed({"user": {"email": "Ada@Example.com"}, "consents": choices})
    assert not batch.bad
    assert batch.event_ids[0] == batch.event_ids[1]
    assert [str(uuid.UUID(one)) for one in batch.event_ids] == batch.event_ids
    assert uuid.UUID(batch.event_ids[0]).version == 8
    assert batch.emails == ['"Ada@example.com"'] * 2
    assert batch.user_ids == ["NULL"] * 2
    assert batch.address_hashes == _hash("Ada@example.com") * 2
    # Sorted, because the line has no id.
    assert (batch.versions, batch.choices) == (["{1,2}"] * 2, ["{f,t}"] * 2)
    assert batch.named == ['"{2}"'] * 2
    assert (batch.instants, batch.fractions) == (["NULL"] * 2, ["f"] * 2)


LINE: dict[str, Any] = {
    "user": {"email": "ada@example.com"},
    "consents": [{"id": "sms_notifications", "enabled": True}, {"id": "email_notifications", "enabled": False}],
    "occurred_at": "2025-11-01T10:00:00.5Z",
}


def content_id(**fields: Any) -> str:
    return parsed(LINE | fields).event_ids[0]


def test_line_that_says_the_same_has_the_same_id() -> None:
    same: list[dict[str, Any]] = [
        {"user": {"email": "ada@EXAMPLE.com"}},
        {"consents": LINE["consents"][::-1]},
        {"occurred_at": "2025-11-01T11:00:00.500000+01:00"},
        {"occurred_at": "2025-11-01t10:00:00.50z"},
        {"id": None},
    ]
    assert {content_id(**one) for one in same} == {content_id()}
    header = "email,email_notifications,sms_notifications,occurred_at"
    wide = parsed(b"ada@example.com,false,true,2025-11-01T10:00:00.5Z", header)
    assert wide.event_ids[0] == content_id()
    # A whole file's instant is that of its lines.
    undated = parsed({**LINE, "occurred_at": None}, declared="2025-11-01T10:00:00.5Z")
    assert undated.event_ids[0] == content_id()


def test_line_that_says_something_else_has_another_id() -> None:
    choice = {"id": "sms_notifications", "enabled": True}
    other: list[dict[str, Any]] = [
        {},
        {"user": {"email": "eve@example.com"}},
        {"user": {"id": str(uuid.uuid4())}},
        {"consents": [choice]},
        {"consents": [{**choice, "enabled": False}]},
        {"consents": [{**choice, "version": 1}]},
        {"consents": [{**choice, "version": 2}]},
        {"consents": [{**choice, "id": "email_notifications"}]},
        {"occurred_at": "2025-11-01T10:00:00Z"},
        {"occurred_at": "2025-11-01T10:00:00.0Z"},
        {"occurred_at": "2025-11-01T10:00:00.05Z"},
        {"occurred_at": "2025-11-01T10:00:05Z"},
        {"occurred_at": "2025-11-01T10:00:50Z"},
        {"occurred_at": "2025-11-01T10:00:00.500001Z"},
        {"occurred_at": None},
    ]
    assert len({content_id(**one) for one in other}) == len(other)


def test_id_of_an_address_needs_the_key() -> None:
    """Else anybody could test whether an erased user's event is that of an address."""
    batch = Batch()
    Parser(CATALOGUE, NOW, None, address_hash=lambda _: b"a" * 32).add(batch, 1, json.dumps(LINE).encode())
    Parser(CATALOGUE, NOW, None, address_hash=lambda _: b"b" * 32).add(batch, 1, json.dumps(LINE).encode())
    assert len(set(batch.event_ids)) == 2


def test_line_without_an_instant_is_rejected_unless_one_is_declared() -> None:
    line = {**LINE, "occurred_at": None}
    batch = parsed(line, declared=None)
    assert [(error.code, error.pointer) for _, error, _ in batch.bad] == [("undated", "/occurred_at")] * 2
    assert parsed(line, declared="2025-11-01T10:00:00.5Z").fractions == ["t"] * 2
    assert not parsed(LINE, declared=None).bad


@pytest.mark.parametrize("enabled", [1, 0, "true", None, 1.0])
def test_only_true_and_false_are_accepted_with_or_without_the_cache(enabled: object) -> None:
    parser, batch = Parser(CATALOGUE, NOW, DECLARED, address_hash=_hash), Batch()
    for value in (True, False, enabled):
        line = {"user": {"email": "a@example.com"}, "consents": [{"id": "email_notifications", "enabled": value}]}
        parser.add(batch, 1, json.dumps(line).encode())
    assert len(batch.line_numbers) == 2
    assert [error.pointer for _, error, _ in batch.bad] == ["/consents/0/enabled"]


def test_wide_and_long_csv_give_the_same_consents() -> None:
    wide = parsed(b"a@example.com,,true", "email,sms_notifications,email_notifications")
    long = parsed(b"a@example.com,email_notifications,True", "email,consent,enabled")
    assert (wide.versions, wide.choices, wide.emails) == (long.versions, long.choices, long.emails)
    for header in ("email", "email_notifications", "email,email,email_notifications", "email,colour"):
        with pytest.raises(FileError, match="CSV header"):
            parsed(b"", header)


@settings(deadline=None)  # the first call imports the library
@given(st.emails() | st.text(min_size=1, max_size=70).map(lambda local: f"{local}@example.com"))
def test_imports_accept_the_same_addresses_as_the_api(address: str) -> None:
    try:
        expected = addresses.normalize(address)
    except ValueError:
        expected = ""
    parser, batch = Parser(CATALOGUE, NOW, DECLARED, address_hash=_hash), Batch()
    for email in (f"known@{address.rpartition('@')[2]}", address):
        line = {"user": {"email": email}, "consents": [{"id": "email_notifications", "enabled": True}]}
        parser.add(batch, 1, json.dumps(line).encode())
    if expected:
        assert batch.emails[-1] == '"' + expected.replace("\\", "\\\\").replace('"', '\\"') + '"'
    else:
        assert batch.bad[-1][1].code == "invalid_email"


@pytest.mark.parametrize("address", ["a" * 65 + "@example.com", "é" * 33 + "@example.com"])
def test_local_part_of_more_than_64_octets_is_rejected(address: str) -> None:
    line = {"user": {"email": address}, "consents": [{"id": "email_notifications", "enabled": True}]}
    assert [error.code for _, error, _ in parsed(line).bad] == ["invalid_email"] * 2


@pytest.mark.parametrize(
    ("occurred_at", "utc"),
    [
        ("2025-12-31T12:00:00+16:00", "2025-12-30T20:00:00+00:00"),
        ("2025-12-30T12:00:00-23:59", "2025-12-31T11:59:00+00:00"),
        ("2025-12-31t12:00:00.1234567z", "2025-12-31T12:00:00.123456+00:00"),
    ],
)
def test_instant_is_passed_on_in_utc(occurred_at: str, utc: str) -> None:
    """PostgreSQL refuses an offset of 16 hours or more, and with it the whole batch."""
    line = {"user": {"email": "a@example.com"}, "consents": [{"id": "email_notifications", "enabled": True}]}
    batch = parsed({**line, "occurred_at": occurred_at})
    assert batch.instants == [utc] * 2
    assert batch.fractions == ["t" if "." in occurred_at else "f"] * 2


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda c: (
            st.lists(c)
            | st.dictionaries(
                st.sampled_from(["id", "user", "consents", "email", "enabled", "version", "occurred_at"]), c
            )
        ),
    )
)
def test_any_json_document_is_either_parsed_or_rejected(document: Any) -> None:
    batch = parsed(document)
    assert len(batch.line_numbers) + len(batch.bad) == 2


@pytest.mark.parametrize("header", [None, "email,consent,enabled"])
@pytest.mark.parametrize("shape", SHAPES)
def test_processor_time_grows_no_faster_than_the_line(shape: str, header: str | None) -> None:
    def parse(line: bytes) -> None:
        table = columns.of_events(header, ",", CATALOGUE) if header else None
        Parser(CATALOGUE, NOW, DECLARED, table, address_hash=_hash).add(Batch(), 1, line)

    check_time(parse, shape)


@pytest.mark.parametrize(
    ("occurred_at", "key"),
    [
        (None, "5"),
        ("2025-06-01T12:00:00.5Z", "5"),
        ("2025-06-01T12:00:00.499999Z", "2"),
        ("2025-06-01T12:00:00Z", "5"),  # covers its second
        ("2025-06-01T11:59:59Z", "2"),
        ("2020-01-01T00:00:00Z", "2"),  # before the first version
    ],
)
def test_line_answers_the_version_in_force_at_its_instant(occurred_at: str | None, key: str) -> None:
    line = {"user": {"email": "a@example.com"}, "consents": [{"id": "sms_notifications", "enabled": True}]}
    # One parser for all lines: what it remembers of a line with another instant must not leak into this one.
    parser, batch = Parser(CATALOGUE, NOW, DECLARED, address_hash=_hash), Batch()
    for instant in ("2025-05-01T00:00:00Z", "2025-07-01T00:00:00Z", occurred_at):
        parser.add(batch, 1, json.dumps(line | {"occurred_at": instant}).encode())
    assert batch.versions == ["{2}", "{5}", f"{{{key}}}"]


def test_version_that_is_newer_than_the_instant_is_rejected() -> None:
    choice = {"id": "sms_notifications", "enabled": True, "version": 2}
    line = {"user": {"email": "a@example.com"}, "consents": [choice]}
    for occurred_at, codes in (
        ("2025-06-01T12:00:00.499999Z", ["version_too_new"] * 2),
        ("2025-06-01T12:00:00.5Z", []),
        ("2025-06-01T12:00:00Z", []),
        (None, []),  # declared
    ):
        batch = parsed(line | {"occurred_at": occurred_at})
        assert [error.code for _, error, _ in batch.bad] == codes, occurred_at
        assert all(error.pointer == "/consents/0/version" for _, error, _ in batch.bad)


def test_row_lists_choices_with_their_versions() -> None:
    line = {
        "user": {"email": "a@example.com"},
        "consents": [{"id": "email_notifications", "enabled": True, "version": 1}],
    }
    header = "email,consent,enabled,version,exported_user_id,received_at,source"
    row = parsed(b"a@example.com,email_notifications,true,1,x,y,z", header)
    assert not row.bad
    assert (row.versions, row.choices, row.named) == (parsed(line).versions, ["{t}"] * 2, parsed(line).named)
    both = parsed(b"a@example.com,sms_notifications email_notifications,true false,", "email,consent,enabled,version")
    wide = parsed(b"a@example.com,false,true", "email,email_notifications,sms_notifications")
    assert (both.versions, both.choices, both.named) == (wide.versions, wide.choices, wide.named)


@pytest.mark.parametrize(
    ("cells", "code", "pointer"),
    [
        ("email_notifications sms_notifications,true,", "invalid_choices", "/enabled"),
        (",true,", "invalid_choices", "/enabled"),
        (",,", "invalid_choices", "/consents"),
        ("email_notifications sms_notifications,true true,1", "invalid_choices", "/version"),
        ("email_notifications,true,one", "invalid_type", "/version"),
        ("email_notifications,true,9", "unknown_version", "/consents/0/version"),
        ("email_notifications,expired,", "invalid_type", "/enabled"),
    ],
)
def test_row_with_a_wrong_list_is_rejected(cells: str, code: str, pointer: str) -> None:
    error = parsed(f"a@example.com,{cells}".encode(), "email,consent,enabled,version").bad[0][1]
    assert (error.code, error.pointer) == (code, pointer)


@given(st.text())
def test_escaped_cell_is_no_formula_and_can_be_read_back(cell: str) -> None:
    for text in (cell, *(prefix + sign + cell for prefix in ("", "'", "''") for sign in "=+-@\t\r\n\uff1d")):
        assert export_text.escaped(text)[:1] not in tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
        assert export_text.unescaped(export_text.escaped(text)) == text
