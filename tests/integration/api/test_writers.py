"""Every write records its client."""

import json
import uuid

import pytest
from pmp import specification, tasks

from checks.gateway import Gateway, invoke
from checks.stack import Stack
from tests.integration.api.test_contract import EMAIL, SMS, choose
from tests.integration.api.test_me import Mine

WRITES = {
    operation["operationId"]
    for methods in json.loads(specification.content())["paths"].values()
    for method, operation in methods.items()
    if method != "get" and operation["operationId"] not in {"checkConsents", "lookupUser", "createToken"}
}


def test_every_write_records_its_client(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "begin", lambda _task: None)
    run, consent = uuid.uuid4().hex[:12], f"c{uuid.uuid4().hex[:12]}"

    def by(operation: str) -> Gateway:
        return Gateway(client=f"{operation}-{run}")

    user = by("createUser").post("/v1/users", {"email": f"{run}@example.com"}).json["id"]
    event = choose(by("createEvent"), user, {EMAIL: True}).json
    signalled = f"s{uuid.uuid4().hex[:12]}"
    terms = {"description": "x", "channel": "web", "model": "opt_out"}
    assert Gateway().put(f"/v1/consents/{signalled}", {**terms, "opt_out_signals": ["gpc"]}).status == 201
    sent = by("recordSignal").post("/v1/signals", {"user": {"id": user}, "gpc": True}).json["event"]
    assert Gateway().put(f"/v1/consents/{signalled}", terms).status == 200
    batch = {"events": [{"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}]}]}
    (batched,) = by("createEvents").post("/v1/events:batch", batch).json["results"]
    by("putConsent").put(f"/v1/consents/{consent}", {"description": "x", "channel": "web"})
    imported = by("createImport").post("/v1/imports", {"format": "csv", "compression": "none"}).json["id"]
    mapping = {"user": {"email": "E-Mail"}, "consents": [{"consent": EMAIL, "from": "Opt-in"}]}
    stored = by("putMapping").put(f"/v1/mappings/{consent}", mapping)
    assert stored.status in {200, 201}, stored.content
    exported = by("createExport").post("/v1/exports", {}).json["id"]
    assert by("cancelImport").delete(f"/v1/imports/{imported}").status == 200
    assert Gateway(client="too late").delete(f"/v1/imports/{imported}").status == 200
    assert by("deleteExport").delete(f"/v1/exports/{exported}").status == 200
    assert Gateway(client="too late").delete(f"/v1/exports/{exported}").status == 200
    joined, kept = (
        by("createUser").post("/v1/users", {"email": f"{run}@{name}.example.net"}).json["id"] for name in "ab"
    )
    assert by("mergeUsers").post(f"/v1/users/{user}/merge", {"from": joined}).status == 200
    assert by("changeUser").patch(f"/v1/users/{kept}", {"email": f"{run}@example.org"}).status == 200
    made = by("createMyEvent").post("/v1/tokens", {"user": {"id": user}, "purpose": "preferences"}).json["token"]
    own = Mine(made).post("/v1/me/events", {"consents": [{"id": EMAIL, "enabled": True}]}).json
    asked = {"user": {"id": user}, "purpose": "confirm", "consents": [SMS]}
    made = by("confirmMyConsents").post("/v1/tokens", asked).json["token"]
    confirmed = Mine(made).request("POST", "/v1/me/confirm").json["event"]
    made = by("unsubscribe").post("/v1/tokens", asked | {"purpose": "unsubscribe"}).json["token"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert invoke("POST", f"/v1/unsubscribe/{made}", form, b"List-Unsubscribe=One-Click").status == 200
    other = by("createUser").post("/v1/users", {"email": f"other{run}@example.com"}).json["id"]
    made = by("eraseMe").post("/v1/tokens", {"user": {"id": other}, "purpose": "erase"}).json["token"]
    assert Mine(made).delete("/v1/me").status == 200
    assert by("eraseUser").delete(f"/v1/users/{user}").status == 200
    assert by("retireConsent").delete(f"/v1/consents/{consent}").status == 200
    assert Gateway(client="too late").delete(f"/v1/consents/{consent}").status == 200
    receiver = {"url": "https://receiver.example.com/pmp", "enabled": False}
    told = {}
    for operation in ("changeSubscription", "rotateSubscription", "replaySubscription"):
        told[operation] = by("createSubscription").post("/v1/subscriptions", receiver).json["id"]
    changed, rotated, replayed = (f"/v1/subscriptions/{identifier}" for identifier in told.values())
    assert by("changeSubscription").patch(changed, {"description": "x"}).status == 200
    assert by("rotateSubscription").post(f"{rotated}/rotate", None).status == 200
    assert by("replaySubscription").post(f"{replayed}/replay", {"from": "now"}).status == 200
    for path in (changed, rotated, replayed):
        assert by("deleteSubscription").delete(path).status == 204

    name = "SELECT pmp.source_name({}) FROM pmp.{} WHERE {}"
    recorded = {
        "createUser": name.format("created_by", "subject", f"id = '{user}'"),
        "changeUser": name.format(
            "replaced_by", "former_identifier JOIN pmp.subject USING (subject_key)", f"id = '{kept}'"
        ),
        "mergeUsers": name.format("merged_by", "subject", f"id = '{joined}'"),
        "eraseUser": name.format("erased_by", "subject", f"id = '{user}'"),
        "confirmMyConsents": name.format("source_key", "event", f"id = '{confirmed['id']}'"),
        "unsubscribe": name.format(
            "source_key",
            "event AS e JOIN pmp.subject USING (subject_key)"
            " JOIN pmp.consent_version ON e.versions = ARRAY[version_key] JOIN pmp.consent USING (consent_key)",
            f"subject.id = '{user}' AND consent.id = '{SMS}' AND e.enabled = '{{f}}'",
        ).replace("source_name(source_key)", "source_name(e.source_key)"),
        "eraseMe": name.format("erased_by", "subject", f"id = '{other}'"),
        "createMyEvent": name.format("source_key", "event", f"id = '{own['id']}'"),
        "createEvent": name.format("source_key", "event", f"id = '{event['id']}'"),
        "recordSignal": name.format("source_key", "event", f"id = '{sent['id']}'"),
        "createEvents": name.format("source_key", "event", f"id = '{batched['id']}'"),
        "putConsent": name.format(
            "source_key", "consent_version JOIN pmp.consent USING (consent_key)", f"id = '{consent}'"
        ),
        "createImport": f"SELECT client FROM pmp.import_job WHERE id = '{imported}'",
        "cancelImport": f"SELECT cancelled_by FROM pmp.import_job WHERE id = '{imported}'",
        "putMapping": f"SELECT client FROM pmp.import_mapping WHERE id = '{consent}'",
        "createExport": f"SELECT client FROM pmp.export_job WHERE id = '{exported}'",
        "retireConsent": name.format("retired_by", "consent", f"id = '{consent}'"),
        "createSubscription": f"SELECT client FROM pmp.subscription WHERE id = '{told['changeSubscription']}'",
        "deleteSubscription": f"SELECT deleted_by FROM pmp.subscription WHERE id = '{told['changeSubscription']}'",
        "deleteExport": f"SELECT deleted_by FROM pmp.export_job WHERE id = '{exported}'",
    }
    for operation, identifier in told.items():
        recorded[operation] = f"SELECT updated_by FROM pmp.subscription WHERE id = '{identifier}'"
    assert recorded.keys() == WRITES
    for operation, query in recorded.items():
        assert stack.cluster.psql(query).strip() == f"{operation}-{run}", operation
    assert event["source"] == f"createEvent-{run}"
