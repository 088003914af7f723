"""Lines and the versions of consents that they answer."""

import datetime as dt
import uuid

import pytest

from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import counts, event, ndjson
from tests.integration.imports.test_imports import imported, rejects


@pytest.fixture
def stack(own_stack: Stack) -> Stack:
    return own_stack


def test_line_without_a_version_is_skipped_after_a_new_version(stack: Stack, store: ObjectStore) -> None:
    def word(text: str) -> None:
        stack.cluster.psql(f"SELECT pmp.put_consent('worded', '{text}', 'web', NULL, 'tester')")

    word("one")
    now = dt.datetime.now(dt.UTC).isoformat()
    line = event("worded@example.com", id=str(uuid.uuid4()), consent="worded", occurred_at=now)
    assert counts(imported(stack, store, "imports/worded.ndjson", ndjson([line]))) == (1, 1, 0, 0)
    word("two")
    naming = [{**line, "consents": [{**line["consents"][0], "version": version}]} for version in (1, 2)]
    job = imported(stack, store, "imports/worded-2.ndjson", ndjson([line, *naming]))
    assert counts(job) == (3, 0, 2, 1)
    assert [r["line"] for r in rejects(store, job)] == [3]
