"""Lines with values: imported, exported, and compared with events of the same id."""

import json
import uuid
from typing import Any

import pytest

from checks.gateway import Gateway
from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import assert_projection_equals_replay, counts, event, ndjson
from tests.integration.imports.test_data_exports import exported
from tests.integration.imports.test_imports import imported, rejects


@pytest.fixture
def stack(own_stack: Stack) -> Stack:
    return own_stack


@pytest.fixture
def topics(stack: Stack) -> str:
    name = f"t{uuid.uuid4().hex[:12]}"
    values = [{"id": one, "description": one} for one in ("arts", "news", "sports")]
    terms = json.dumps({"values": values, "multiple": True})
    stack.cluster.psql(f"SELECT pmp.put_consent('{name}', 'x', 'web', NULL, 'tester', '{terms}')")
    return name


def value_of(stack: Stack, address: str) -> str:
    return stack.cluster.psql(
        "SELECT coalesce(c.value::text, 'none') FROM pmp.current_choice AS c JOIN pmp.subject AS s USING (subject_key)"
        f" WHERE s.email = '{address}'"
    )


def test_lines_carry_values_and_exports_bring_them_back(stack: Stack, store: ObjectStore, topics: str) -> None:
    mark = topics[1:]

    def line(person: str, value: object, **fields: Any) -> dict[str, Any]:
        choice: dict[str, Any] = {"id": topics, "enabled": True} | ({} if value is None else {"value": value})
        return event(f"{person}.{mark}@example.com", **{"consents": [choice], **fields})

    known = str(uuid.uuid4())
    lines = [
        line("one", ["news", "arts"]),
        line("one", ["arts", "news"]),  # the same in another order: without an id, the same event
        line("two", ["news"], id=known),
        line("two", ["sports"], id=known),  # another value: a conflict
        line("three", None),
        line("four", "news"),
        line("four", ["weather"]),
        line("four", ["news"], consents=[{"id": topics, "enabled": False, "value": ["news"]}]),
        line("four", None, consents=[{"id": topics, "enabled": True, "value": None}]),
    ]
    job = imported(stack, store, f"imports/{mark}.ndjson", ndjson(lines))
    assert counts(job) == (9, 3, 1, 5)
    found = rejects(store, job)
    assert [(one["line"], one["code"], one["pointer"]) for one in found] == [
        (4, "event_conflict", "/id"),
        (6, "unknown_value", "/consents/0/value"),
        (7, "unknown_value", "/consents/0/value"),
        (8, "invalid_value", "/consents/0/value"),
        (9, "invalid_value", "/consents/0/value"),
    ]
    assert "some of arts, news, sports" in found[1]["detail"]
    assert [value_of(stack, f"{who}.{mark}@example.com") for who in ("one", "two", "three")] == [
        '["arts", "news"]',
        '["news"]',
        "none",
    ]
    assert_projection_equals_replay(stack)
    # Read again, each export is known, in both formats.
    for contents in ("events", "choices"):
        for text_format in ("ndjson", "csv"):
            _, text = exported(store, contents=contents, format=text_format)
            again = imported(stack, store, f"imports/{mark}-{contents}.{text_format}", text)
            assert again["rejected"] == 0, rejects(store, again)
            if contents == "events":
                assert counts(again)[1] == 0
    assert_projection_equals_replay(stack)
    assert value_of(stack, f"two.{mark}@example.com") == '["news"]'


def test_event_of_the_api_and_line_with_its_id_are_compared(stack: Stack, store: ObjectStore, topics: str) -> None:
    api, known = Gateway(), str(uuid.uuid4())
    address = f"api.{topics}@example.com"
    line = event(address, id=known, consents=[{"id": topics, "enabled": True, "value": ["arts", "news"]}])
    assert api.post("/v1/events", line | {"upsert": True}).status == 201
    other = {**line, "consents": [{"id": topics, "enabled": True, "value": ["arts"]}]}
    job = imported(stack, store, f"imports/{topics}.ndjson", ndjson([line, other]))
    assert counts(job) == (2, 0, 1, 1)
    assert rejects(store, job)[0]["code"] == "event_conflict"


def test_line_that_grants_a_retired_consent_is_rejected(stack: Stack, store: ObjectStore, topics: str) -> None:
    stack.cluster.psql(f"SELECT pmp.retire_consent('{topics}', 'test')")
    lines = [event(f"{topics}@example.com", consent=topics, enabled=enabled) for enabled in (True, False)]
    job = imported(stack, store, f"imports/{topics}.ndjson", ndjson(lines))
    assert counts(job) == (2, 1, 0, 1)
    assert [(one["line"], one["code"]) for one in rejects(store, job)] == [(1, "retired_consent")]
