"""A dry run counts what the import counts, records nothing, and shows the first lines."""

import itertools
import json
import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pmp import database, housekeeping, imports
from pmp.imports import trials, worker

from checks.gateway import Gateway
from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context, event, ndjson

COUNTS = ("lines", "accepted", "skipped", "rejected", "reasons", "opted_in", "opted_out", "unchanged", "new_users")
DECLARED = "2026-02-03T00:00:00Z"
_runs = itertools.count()


def ran(store: ObjectStore, body: bytes, batch: int = 20_000, **request: Any) -> dict[str, Any]:
    """Import a file in batches of some lines, each by an invocation of its own, and return the row of its job."""
    mapping = request.pop("mapping", None)
    made = imports.create(database.connect(), {"occurred_at": DECLARED, **request}, "tester", mapping)
    key = f"imports/{made['id']}.ndjson"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "LARGEST_BATCH_LINES", batch)
        imports.handle_notification(store.put(key, body), Context(remaining_seconds=5))
        while (job := told(f"SELECT to_jsonb(j) FROM pmp.import_job AS j WHERE id = '{made['id']}'"))[
            "state"
        ] == "running":
            imports.run(made["id"], Context(remaining_seconds=5))
    result: dict[str, Any] = job
    return result


def told(query: str) -> Any:
    """The one value that a query selects."""
    ((value,),) = database.connect().run(query)
    return value


def counted(job: dict[str, Any]) -> dict[str, Any]:
    return {name: job[name] for name in COUNTS}


PEOPLE = ("ada", "bob", "new", "newer", "erased", "unknown", "Ada")
line: st.SearchStrategy[dict[str, Any]] = st.builds(
    dict,
    person=st.sampled_from(PEOPLE),
    by_id=st.booleans(),
    event=st.sampled_from((None, None, 1, 2, 3)),
    instant=st.sampled_from((None, "2025-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-02-01T00:00:00.5Z")),
    consents=st.lists(
        st.tuples(
            st.sampled_from(("email_notifications", "sms_notifications", "valued")),
            st.booleans(),
            st.sampled_from((None, None, "daily", "weekly", "never")),
        ),
        min_size=1,
        max_size=2,
        unique_by=lambda choice: choice[0],
    ),
    version=st.sampled_from((None, None, None, 1, 1, 9)),
    context=st.sampled_from((None, None, {}, {"ip": "192.0.2.1"}, {"ip": "192.0.2.1", "gpc": True}, {"ip": "?"})),
    is_bad=st.sampled_from((False,) * 9 + (True,)),
)


def written(lines: list[dict[str, Any]], run: int, ids: dict[str, str]) -> bytes:
    """The lines of a file whose people and event ids belong to one run of the property."""
    found = []
    for one in lines:
        name = one["person"]
        address = f"{name}.{run}@example.org"
        user = {"id": ids[name]} if one["by_id"] and name in ids else {"email": address}
        if one["is_bad"]:
            user = {"email": "not an address"}
        document: dict[str, Any] = {
            "user": user,
            "consents": [
                {"id": consent, "enabled": yes} | ({"value": value} if value and consent == "valued" else {})
                for consent, yes, value in one["consents"]
            ],
        }
        if one["version"] is not None:
            document["consents"][0]["version"] = one["version"]
        if one["context"] is not None:
            document["context"] = one["context"]
        if one["event"] is not None:
            document["id"] = str(uuid.UUID(int=(run << 8) + one["event"], version=4))
        if one["instant"] is not None:
            document["occurred_at"] = one["instant"]
        found.append(document)
    return ndjson(found)


@settings(
    max_examples=25,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(
    before=st.lists(line, max_size=5),
    lines=st.lists(line, min_size=5, max_size=12),
    again=st.lists(st.integers(0, 4), min_size=2, max_size=4),
    batches=st.tuples(st.sampled_from((1, 2, 3)), st.sampled_from((1, 4, 100))),
)
def test_dry_run_counts_what_the_import_counts(
    store: ObjectStore,
    before: list[dict[str, Any]],
    lines: list[dict[str, Any]],
    again: list[int],
    batches: tuple[int, int],
) -> None:
    run, api, ids = next(_runs), Gateway(), {"unknown": str(uuid.uuid4())}
    valued = {"values": [{"id": name, "description": name} for name in ("daily", "weekly")]}
    assert api.put("/v1/consents/valued", {"description": "x", "channel": "web", **valued}).status in {200, 201}
    for name in ("ada", "erased"):
        ids[name] = api.post("/v1/users", {"email": f"{name}.{run}@example.org"}).json["id"]
    ran(store, written(before, run, ids))
    assert api.delete(f"/v1/users/{ids['erased']}").status in {200, 204}
    body = written(lines + [lines[place] for place in again], run, ids)
    size = "SELECT array[(SELECT count(*) FROM pmp.event), (SELECT count(*) FROM pmp.subject)]"
    recorded = told(size)
    dry = ran(store, body, batches[0], dry_run=True)
    assert told(size) == recorded
    assert told("SELECT (SELECT count(*) FROM pmp.trial_event) + count(*) FROM pmp.trial_choice") == 0
    real = ran(store, body, batches[1])
    assert counted(dry) == counted(real)
    assert (dry["state"], dry["error"]) == (real["state"], real["error"])
    assert [real["accepted"], real["new_users"]] == [
        after - then for after, then in zip(told(size), recorded, strict=True)
    ]


def effects(job: dict[str, Any]) -> dict[str, int]:
    return {name: job[name] for name in ("opted_in", "opted_out", "unchanged", "new_users")}


def unique(*names: str) -> list[str]:
    run = uuid.uuid4().hex
    return [f"{name}.{run}@example.com" for name in names]


def test_effects_are_told_in_the_order_of_the_lines(store: ObjectStore) -> None:
    ada, bob, new = unique("ada", "bob", "new")
    ran(store, ndjson([event(ada), event(bob, enabled=False)]))
    later = [f"2026-02-02T00:00:0{second}.5Z" for second in range(6)]
    body = ndjson(
        [
            event(ada, occurred_at=later[0]),  # unchanged
            event(ada, occurred_at=later[1], enabled=False),  # out
            event(ada, occurred_at=later[2], enabled=False),  # unchanged
            event(ada, occurred_at=later[3]),  # in
            event(bob, occurred_at="2024-01-01T00:00:00Z"),  # unchanged: older than the choice that is known
            event(bob, occurred_at=later[0]),  # in
            event(bob, occurred_at=later[0], enabled=False),  # out: at the same instant a denial wins
            event(bob, occurred_at=later[0], consent="sms_notifications", enabled=False),  # out: the first answer
            event(new, occurred_at=later[5], enabled=False),  # out
            event(new.upper().replace("EXAMPLE.COM", "example.com"), occurred_at=later[4]),  # unchanged: older
        ]
    )
    expected = {"opted_in": 2, "opted_out": 4, "unchanged": 4, "new_users": 1}
    for batch in (1, 3, 100):
        assert effects(ran(store, body, batch, dry_run=True)) == expected, batch
    assert effects(ran(store, body)) == expected
    again = {"opted_in": 0, "opted_out": 0, "unchanged": 0, "new_users": 0}
    for dry_run in (True, False):
        assert effects(ran(store, body, 3, dry_run=dry_run)) == again


def test_preview_shows_the_first_lines_and_the_reasons(store: ObjectStore) -> None:
    ada, bob = unique("ada", "bob\\'s")
    own, nobody, api = str(uuid.uuid4()), str(uuid.uuid4()), Gateway()
    body = ndjson(
        [
            event(ada, id=own, occurred_at=None),
            event("not an address"),
            {**event(""), "user": {"id": nobody}},
            event(f'"{bob.partition("@")[0]}"@example.com'),
            *(event(ada, occurred_at=f"2025-01-01T00:00:{second:02}Z") for second in range(30)),
        ]
    )
    job = ran(store, body, 2, dry_run=True)
    answer = api.get(f"/v1/imports/{job['id']}/preview")
    assert answer.status == 200, answer.content
    lines = answer.json["lines"]
    assert [one["line"] for one in lines] == list(range(1, 21))
    assert lines[0] == {
        "line": 1,
        "event": {
            "id": own,
            "user": {"email": ada},
            "consents": [{"id": "email_notifications", "enabled": True, "version": 1}],
            "occurred_at": DECLARED,
        },
        "rejected": None,
    }
    assert (lines[1]["event"], lines[1]["rejected"]["code"]) == (None, "invalid_email")
    assert (lines[2]["event"], lines[2]["rejected"]["code"]) == (None, "unknown_user")
    assert lines[4]["event"]["occurred_at"] == "2025-01-01T00:00:00Z"
    assert ran(store, body, 100, dry_run=True)["accepted"] == job["accepted"]


def test_preview_is_of_dry_runs_only_and_ends_after_a_day(store: ObjectStore, stack: Stack) -> None:
    (ada,), api = unique("ada"), Gateway()
    real = ran(store, ndjson([event(ada)]))
    refused = api.get(f"/v1/imports/{real['id']}/preview")
    assert (refused.status, "not a dry run" in refused.json["detail"]) == (404, True)
    dry = ran(store, ndjson([event(ada)]), dry_run=True)
    assert api.get(f"/v1/imports/{dry['id']}/preview").status == 200
    assert Gateway(scope="pmp/check").get(f"/v1/imports/{dry['id']}/preview").status == 403
    stack.cluster.psql(f"UPDATE pmp.import_job SET finished_at = now() - interval '1 day' WHERE id = '{dry['id']}'")
    assert api.get(f"/v1/imports/{dry['id']}/preview").status == 404
    housekeeping.run(database.connect(), Context())
    assert told(f"SELECT count(*) FROM pmp.import_preview WHERE import_id = '{dry['id']}'") == 0


def test_erasure_deletes_a_person_from_previews(store: ObjectStore) -> None:
    (ada, bob), api = unique("ada", "bob"), Gateway()
    person = api.post("/v1/users", {"email": ada}).json["id"]
    job = ran(store, ndjson([event(ada.title()), event(bob)]), dry_run=True)
    assert api.delete(f"/v1/users/{person}").status == 200
    (left,) = api.get(f"/v1/imports/{job['id']}/preview").json["lines"]
    assert left["event"]["user"] == {"email": bob}
    # A line of an erased person is not shown either.
    job = ran(store, ndjson([event(ada), event(bob)]), dry_run=True)
    refused, _ = api.get(f"/v1/imports/{job['id']}/preview").json["lines"]
    assert (refused["event"], refused["rejected"]["code"]) == (None, "erased_user")


def test_what_a_cancelled_dry_run_accepted_is_deleted(store: ObjectStore, stack: Stack) -> None:
    people = unique(*map(str, range(5)))
    made = imports.create(database.connect(), {"dry_run": True}, "tester")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "LARGEST_BATCH_LINES", 2)
        patch.setattr(trials, "PORTION_ROWS", 1)
        imports.handle_notification(
            store.put(f"imports/{made['id']}.ndjson", ndjson(map(event, people))), Context(remaining_seconds=5)
        )
        left = "SELECT (SELECT count(*) FROM pmp.trial_event) + count(*) FROM pmp.trial_choice"
        assert told(left) >= 4
        imports.cancel(database.connect(), made["id"], "tester")
        housekeeping.run(database.connect(), Context())
        assert told(left) == 0


def test_logs_and_list_tell_a_dry_run_from_an_import(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    (ada,) = unique("ada")
    for dry_run in (True, False):
        for body in (ndjson([event(ada)]), b"{}\n"):
            job = ran(store, body, dry_run=dry_run)
            assert Gateway().get("/v1/imports?limit=1").json["items"][0]["dry_run"] is dry_run
            assert Gateway().get(f"/v1/imports/{job['id']}").json["dry_run"] is dry_run
    said = [json.loads(one)["message"] for one in capsys.readouterr().out.splitlines() if one.startswith("{")]
    # The metrics of imports count these messages.
    assert [one for one in said if one.startswith(("import ", "dry run "))] == [
        "dry run ended",
        "dry run ended",
        "import ended",
        "import ended",
    ]


def test_requests_do_not_wait_for_a_batch_of_a_dry_run(
    store: ObjectStore, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, new = unique("ada", "new")
    person = Gateway().post("/v1/users", {"email": ada}).json["id"]
    choice = '[{"id": "email_notifications", "enabled": false}]'
    kept, waited = trials.Preview.keep, list[str]()

    def keep(*arguments: Any) -> None:
        # The batch is not committed yet.
        kept(*arguments)
        waited.append(
            stack.cluster.psql(
                f"SET lock_timeout = '2s'; SELECT pmp.create_user('{new}', 'tester') ->> 'email';"
                f" SELECT pmp.create_event('{uuid.uuid4()}', '{person}', '{choice}', now(), 'tester') ->> 'outcome'"
            )
        )

    monkeypatch.setattr(trials.Preview, "keep", keep)
    job = ran(store, ndjson([event(ada), event(new)]), dry_run=True)
    assert (job["state"], job["accepted"], job["new_users"]) == ("succeeded", 2, 1)
    assert waited == [f"{new}\ncreated"]
