"""Exports: who is in them, as of when, and that they come back as an import would take them."""

import gzip
import json
import time
import urllib.request
from typing import Any

from tests.integration.imports.conftest import Context, event, ndjson
from tests.integration.imports.object_store import ObjectStore
from tests.support.stack import Stack


def exported(store: ObjectStore, **request: Any) -> dict[str, Any]:
    """Run an export through its hand-over and return its users by address."""
    from pmp import exports

    made = exports.create(request, "tester")
    assert (made["state"], made["download"]) == ("waiting", None)
    task = json.loads(store.invocations.pop())
    assert task == {"task": "export", "job": made["id"]}
    exports.run(task["job"], Context())
    done = exports.get(made["id"])
    assert done is not None
    assert done["state"] == "succeeded"
    with urllib.request.urlopen(done["download"]) as answer:
        users = [json.loads(line) for line in gzip.decompress(answer.read()).splitlines()]
    assert done["users"] == len(users)
    return {user["email"]: user for user in users}


def test_an_export_holds_everybody_or_those_of_one_choice_as_of_an_instant(
    stack: Stack, store: ObjectStore, monkeypatch: Any
) -> None:
    from pmp import exports, imports

    monkeypatch.setattr(exports, "PAGE_USERS", 7)
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "pmp")
    people = [event(f"export-{number}@example.com", enabled=number % 2 == 0) for number in range(20)]
    imports.handle_notification(store.put("imports/export.ndjson", ndjson(people)), Context())
    before = stack.cluster.psql("SELECT pmp.instant(clock_timestamp())")
    time.sleep(0.01)
    after = stack.cluster.psql("SELECT pmp.instant(clock_timestamp())")
    late = event("export-0@example.com", enabled=False, occurred_at=after)
    imports.handle_notification(store.put("imports/export-2.ndjson", ndjson([late])), Context())
    stack.cluster.psql(
        "SELECT pmp.erase_user((SELECT id FROM pmp.subject WHERE email = 'export-19@example.com'), 'tester')"
    )
    everybody = {e for e in exported(store) if e.startswith("export-")}
    assert everybody == {f"export-{number}@example.com" for number in range(19)}
    granted = exported(store, consent="email_notifications", enabled=True)
    assert {e for e in granted if e.startswith("export-")} == {f"export-{n}@example.com" for n in range(2, 19, 2)}
    assert granted["export-2@example.com"]["consents"] == [{"id": "email_notifications", "enabled": True}]
    assert "export-0@example.com" in exported(store, consent="email_notifications", enabled=True, as_of=before)
