"""A plan that a pooled session made for a small table stays good when the table grows before the next ANALYZE."""

import json
from collections.abc import Iterator

import pytest
from pmp import database, imports

from checks.bench.growth.operations import OPERATIONS
from checks.bench.growth.record import Record
from checks.object_store import ObjectStore
from checks.stack import Stack
from checks.stack import stack as started
from tests.integration.imports.conftest import Context

SMALL = 300
"""Events, of a fifth as many users: a few pages, for which a scan is the cheapest plan."""

ADDED = 6000
"""Users that register then, with one event each."""

EXTRA = 60
"""Blocks by which an operation may exceed those of a new session: indexes have a level more, pages fill."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Servers of these tests alone, whose tables nobody analyzes but they."""
    with started(settings={"autovacuum": "off"}) as running:
        yield running


def blocks(connection: database.Connection, statement: str) -> int:
    rows = connection.run(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}")
    (plan,) = rows[0][0] if isinstance(rows[0][0], list) else json.loads(rows[0][0])
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


def test_plans_kept_from_a_small_record_do_not_scan_a_large_one(stack: Stack, store: ObjectStore) -> None:
    record = Record(stack)
    list(record.fill(SMALL))
    (values,) = record.parameters(1)
    statements = {operation.name: operation.statement.format(**values) for operation in OPERATIONS}
    old = database.connect()
    for statement in statements.values():
        for _ in range(8):
            old.run(statement)
    stack.cluster.psql(
        "SELECT count(pmp.create_event(gen_random_uuid(), (pmp.create_user(gen_random_uuid() || '@example.com', 'many')"
        " ->> 'id')::uuid, '[{\"id\": \"email_notifications\", \"enabled\": true}]', NULL, 'many'))"
        f" FROM generate_series(1, {ADDED})"
    )
    kept = {name: blocks(old, statement) for name, statement in statements.items()}
    old.run("SELECT pmp.analyze_grown()")
    for statement in statements.values():  # plans again, for which it reads the catalogue
        old.run(statement)
    found = {name: (blocks(old, statement), stack.blocks(statement)) for name, statement in statements.items()}
    old.close()
    assert {name for name, (now, fresh) in found.items() if now > 1.5 * fresh + EXTRA} == set(), found
    assert any(kept[name] > 2 * fresh + EXTRA for name, (_, fresh) in found.items()), (
        "nothing scanned: the test is moot"
    )


def test_import_has_the_tables_analyzed_that_it_makes_grow(stack: Stack, store: ObjectStore) -> None:
    lines = [
        json.dumps(
            {
                "user": {"email": f"grown{number}@example.com"},
                "consents": [{"id": "email_notifications", "enabled": True}],
                "occurred_at": "2026-01-31T12:00:00Z",
            }
        )
        for number in range(3 * ADDED)
    ]
    stack.cluster.psql("ANALYZE")
    imports.handle_notification(store.put("imports/grown.ndjson", "\n".join(lines).encode()), Context())
    for table in ("subject", "event", "current_choice"):
        known = stack.cluster.psql(f"SELECT reltuples FROM pg_class WHERE oid = 'pmp.{table}'::regclass")
        assert float(known) > 2 * ADDED, table


def test_catalogue_is_analyzed_when_it_changes(stack: Stack) -> None:
    stack.cluster.psql("SELECT pmp.put_consent('analyzed', 'x', 'web', NULL, 'tester')")
    for table in ("consent", "consent_version"):
        known, there = stack.cluster.psql(
            f"SELECT reltuples, (SELECT count(*) FROM pmp.{table}) FROM pg_class WHERE oid = 'pmp.{table}'::regclass"
        ).split("|")
        assert float(known) == float(there), table
