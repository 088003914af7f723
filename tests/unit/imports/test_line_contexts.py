"""Contexts on lines of imports: the rules of the API, and what a line without one costs."""

import json
from typing import Any

import pytest

from tests.unit.imports.test_lines import parsed

LINE = {"user": {"email": "ada@example.com"}, "consents": [{"id": "email_notifications", "enabled": True}]}


def context_of(line: dict[str, Any] | bytes, header: str | None = None) -> Any:
    batch = parsed(line, header)
    assert not batch.bad, batch.bad
    # The element of an array literal is quoted as JSON is.
    return None if batch.contexts[0] == "NULL" else json.loads(json.loads(batch.contexts[0]))


def test_context_is_kept_as_it_is() -> None:
    context = {"url": "https://x/?a=\"b\\c'", "gpc": True, "metadata": [{"name": "n", "value": '":{}'}]}
    batch = parsed({**LINE, "context": context})
    assert context_of({**LINE, "context": context}) == context
    assert batch.has_contexts


@pytest.mark.parametrize("line", [LINE, {**LINE, "context": {}}, {**LINE, "context": None}])
def test_line_without_context_has_the_same_id_as_ever(line: dict[str, Any]) -> None:
    batch = parsed(line)
    assert (batch.contexts, batch.has_contexts) == (["NULL"] * 2, False)
    assert batch.event_ids[0] == "ebb9dd33-daa5-8d46-b490-b41c7a8542e7"


def test_context_is_part_of_what_a_line_says() -> None:
    contexts: list[dict[str, Any]] = [{}, {"form": "a"}, {"form": "b"}, {"form": "a", "gpc": True}]
    ids = [parsed({**LINE, "context": context}).event_ids[0] for context in contexts]
    assert len(set(ids)) == len(contexts)
    assert parsed({**LINE, "context": {"gpc": True, "form": "a"}}).event_ids[0] == ids[3]


@pytest.mark.parametrize(
    ("context", "pointer", "detail"),
    [
        ("web", "/context", "must be an object"),
        ({"channel": "fax"}, "/context/channel", "must be one of web"),
        ({"ip": "192.0.2.300"}, "/context/ip", "must be an IPv4 or IPv6 address"),
        ({"tc_string": "BOE"}, "/context/tc_string", "is not a valid TC string: core segment: Version is 1"),
        ({"ada@example.com": "x"}, "/context", "is not a known property"),
        ({"metadata": [{"name": "n"}]}, "/context/metadata/0/value", "is missing"),
        (
            {"notice": "é" * 2048, "evidence": "é" * 2048, "form": "f"},
            "/context",
            "has more than 8192",
        ),
    ],
)
def test_wrong_context_rejects_its_line(context: Any, pointer: str, detail: str) -> None:
    batch = parsed({**LINE, "context": context})
    (_, error, _), _ = batch.bad
    assert (error.code, error.pointer) == ("invalid_context", pointer)
    assert error.detail.startswith(detail)
    assert "ada@" not in error.detail


def test_repeated_name_in_a_context_rejects_the_line() -> None:
    text = json.dumps(LINE)[:-1] + ', "context": {"form": "a", "form": "b"}}'
    (_, error, _), _ = parsed(text.encode()).bad
    assert error.code == "repeated_field"


HEADER = "email,consent,enabled,context"


def test_cell_of_csv_holds_a_context_as_json() -> None:
    assert context_of(b'ada@example.com,email_notifications,true,"{""gpc"": true, ""form"": ""a""}"', HEADER) == {
        "gpc": True,
        "form": "a",
    }
    assert context_of(b"ada@example.com,email_notifications,true,", HEADER) is None
    assert context_of(b'ada@example.com,true,"{""form"": ""a""}"', "email,email_notifications,context") == {"form": "a"}


@pytest.mark.parametrize(
    ("cell", "code"),
    [("web", "invalid_context"), ('"[1]"', "invalid_context"), ('"{""gpc"": true, ""gpc"": true}"', "repeated_field")],
)
def test_wrong_cell_rejects_its_row(cell: str, code: str) -> None:
    (_, error, _), _ = parsed(f"ada@example.com,email_notifications,true,{cell}".encode(), HEADER).bad
    assert error.code == code
