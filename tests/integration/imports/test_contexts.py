"""Contexts on lines of imports: kept with their events, part of their content, and erased with their users."""

import json
import uuid
from typing import Any

import pytest

from checks.gateway import Gateway
from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import announced, event, ndjson

PROOF = {"form": "card-7", "gpc": True, "metadata": [{"name": "shop", "value": "Köln"}]}


def line(address: str, context: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return event(address, **fields) if context is None else event(address, context=context, **fields)


def test_context_of_a_line_is_kept_and_erased_with_its_user(stack: Stack, store: ObjectStore) -> None:
    run, api, ids = uuid.uuid4().hex, Gateway(), [str(uuid.uuid4()) for _ in range(3)]
    lines = [
        line(f"a.{run}@example.com", PROOF, id=ids[0]),
        line(f"b.{run}@example.com", None, id=ids[1]),
        line(f"b.{run}@example.com", {"ip": "192.0.2.9"}, id=ids[2]),
    ]
    assert announced(stack, store, ndjson(lines))["accepted"] == 3
    events = [api.get(f"/v1/events/{one}").json for one in ids]
    assert [one.get("context") for one in events] == [PROOF, None, {"ip": "192.0.2.9"}]
    assert api.delete(f"/v1/users/{events[0]['user']['id']}").status == 200
    assert "context" not in api.get(f"/v1/events/{ids[0]}").json
    left = (
        "SELECT count(*) FROM pmp.event_context AS c JOIN pmp.event AS e USING (subject_key, sequence)"
        f" WHERE e.id = '{ids[0]}'"
    )
    assert stack.cluster.psql(left) == "0"
    # Afterwards nobody can tell the context, so the line is the erased user's and not a conflict.
    again = announced(stack, store, ndjson(lines))
    assert (again["accepted"], again["skipped"], again["reasons"]) == (0, 2, {"erased_user": 1})


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("known", "other"), [(None, PROOF), (PROOF, None), (PROOF, {**PROOF, "gpc": False}), ({"gpc": True}, PROOF)]
)
def test_same_id_with_another_context_is_a_conflict(
    stack: Stack, store: ObjectStore, known: dict[str, Any] | None, other: dict[str, Any] | None, dry_run: bool
) -> None:
    address, identifier = f"{uuid.uuid4().hex}@example.com", str(uuid.uuid4())
    same, different = line(address, known, id=identifier), line(address, other, id=identifier)
    # Within a file, and across files.
    job = announced(stack, store, ndjson([same, different, same]), dry_run=dry_run)
    assert (job["accepted"], job["skipped"], job["reasons"]) == (1, 1, {"event_conflict": 1})
    announced(stack, store, ndjson([same]))
    job = announced(stack, store, ndjson([different, same]), dry_run=dry_run)
    assert (job["accepted"], job["skipped"], job["reasons"]) == (0, 1, {"event_conflict": 1})


def test_wrong_context_is_rejected_by_name(stack: Stack, store: ObjectStore) -> None:
    address = f"{uuid.uuid4().hex}@example.com"
    wrong: list[dict[str, Any]] = [{"tc_string": "x"}, {"channel": "fax"}, {"surname": "Ada"}]
    job = announced(stack, store, ndjson([line(address, one) for one in (*wrong, PROOF)]))
    assert (job["accepted"], job["rejected"], job["reasons"]) == (1, 3, {"invalid_context": 3})
    rejected = store.get(job["rejects_key"]).decode().splitlines()
    reasons = [json.loads(one)["rejected"] for one in rejected]
    for reason, told in zip(reasons, ("/context/tc_string", "/context/channel", "/context/surname"), strict=True):
        assert told in str(reason)
