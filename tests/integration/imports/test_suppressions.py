"""A list of hashed addresses denies for the people who are users, and for those who will be."""

import hashlib
import json
import threading
import time
import uuid
from typing import Any

from pmp import database

from checks.gateway import Gateway
from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import assert_projection_equals_replay, counts, event, ndjson
from tests.integration.imports.test_trials import counted, effects, ran, unique

AT = "2026-03-01T00:00:00Z"


def digest(address: str) -> str:
    return hashlib.sha256(address.lower().encode()).hexdigest()


def listed(*hashes: str) -> bytes:
    return "".join(f"{one}\n" for one in ("sha256", *hashes)).encode()


def suppressed(store: ObjectStore, body: bytes, **request: Any) -> dict[str, Any]:
    from pmp.imports import mappings

    mapping = mappings.named(database.connect(), "opt_out_hashes")
    return ran(store, body, **{"occurred_at": AT, "mapping": mapping, **request})


def allowed(address: str) -> tuple[bool, str]:
    checks = {"checks": [{"user": {"email": address}, "consent": "email_notifications"}]}
    (found,) = Gateway().post("/v1/check", checks).json["results"]
    return found["allowed"], found["reason"]


def test_known_user_is_denied_from_the_declared_instant_on(store: ObjectStore, stack: Stack) -> None:
    older, newer, other = unique("Older", "newer", "other")
    ran(store, ndjson([event(older), event(newer, occurred_at="2026-03-02T00:00:00Z")]))
    body = listed(digest(older), digest(newer).upper(), digest(older), "abc", f"x{digest(other)[1:]}", "")
    dry = suppressed(store, body, dry_run=True)
    job = suppressed(store, body)
    assert counted(dry) == counted(job)
    assert (counts(job), job["reasons"]) == ((5, 2, 1, 2), {"invalid_hash": 2})
    assert effects(job) == {"opted_in": 0, "opted_out": 1, "unchanged": 1, "new_users": 0}
    assert (allowed(older), allowed(newer)[0]) == ((False, "denied"), True)
    assert counts(suppressed(store, body)) == (5, 0, 3, 2)
    assert_projection_equals_replay(stack)


def test_later_user_is_denied_until_a_newer_grant(store: ObjectStore, stack: Stack) -> None:
    imported, registered, granting = unique("imported", "registered", "granting")
    body = listed(*map(digest, (imported, registered, granting)), digest(imported))
    dry = suppressed(store, body, dry_run=True)
    job = suppressed(store, body)
    assert counted(dry) == counted(job)
    assert counts(job) == (4, 3, 1, 0)
    assert counts(suppressed(store, body)) == (4, 0, 4, 0)
    assert allowed(imported)[1] == "unknown_user"

    # A later import of an older grant does not count; a newer one does.
    lines = ndjson([event(imported.upper()), event(granting, occurred_at="2026-03-02T00:00:00Z")])
    dry, job = ran(store, lines, dry_run=True), ran(store, lines)
    assert counted(dry) == counted(job)
    assert effects(job) == {"opted_in": 1, "opted_out": 0, "unchanged": 1, "new_users": 2}
    assert (allowed(imported), allowed(granting)[0]) == ((False, "denied"), True)

    made = Gateway().post("/v1/users", {"email": registered})
    assert made.json["consents"] == [{"id": "email_notifications", "enabled": False}]
    assert allowed(registered) == (False, "denied")
    choice = {"user": {"id": made.json["id"]}, "consents": [{"id": "email_notifications", "enabled": True}]}
    assert Gateway().post("/v1/events", choice).status == 201
    assert allowed(registered)[0] is True
    # Once applied, the list is known.
    assert counts(suppressed(store, body)) == (4, 0, 4, 0)
    left = "SELECT count(*) FROM pmp.suppression WHERE address_digest = decode('{}', 'hex')"
    assert {stack.cluster.psql(left.format(digest(one))) for one in (imported, registered, granting)} == {"0"}
    assert_projection_equals_replay(stack)


def test_a_mapping_of_hashes_can_only_deny(store: ObjectStore) -> None:
    mapping = {"user": {"email_sha256": "sha256"}, "consents": [{"consent": "email_notifications", "enabled": True}]}
    refused = Gateway().put("/v1/mappings/hashes", mapping | {"event_id": "id"})
    assert refused.status == 422
    assert {error["pointer"] for error in refused.json["errors"]} == {"/event_id", "/consents/0/enabled"}
    own = {
        "user": {"email_sha256": digest("x@example.com")},
        "consents": [{"id": "email_notifications", "enabled": False}],
    }
    assert ran(store, ndjson([own]))["reasons"] == {"unknown_field": 1}


def test_user_who_appears_while_a_list_is_imported_is_denied(stack: Stack, store: ObjectStore) -> None:
    (address,) = unique("racing")
    body, of_user = listed(digest(address)), f"FROM pmp.subject WHERE email = '{address}'"
    with database.connect().transaction():
        database.connect().run("SELECT pmp.create_user(:address, 'tester')", address=address)
        # The import waits for the new user.
        waiting = threading.Thread(
            target=stack.cluster.psql,
            args=[f"SELECT pg_advisory_xact_lock(pmp.suppression_lock()); SELECT 1 / count(*) {of_user}"],
        )
        waiting.start()
        time.sleep(1)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()
    assert counts(suppressed(store, body)) == (1, 1, 0, 0)
    assert allowed(address) == (False, "denied")


def test_hundred_thousand_hashes_are_imported_in_seconds(store: ObjectStore) -> None:
    body = listed(*(digest(f"{number}.{uuid.uuid4().hex}@example.com") for number in range(100_000)))
    began = time.process_time(), time.monotonic()
    job = suppressed(store, body)
    print(json.dumps({"seconds": time.monotonic() - began[1], "function": time.process_time() - began[0]}))
    assert counts(job) == (100_000, 100_000, 0, 0)
    assert time.monotonic() - began[1] < 60
