"""The export of one user: in the answer if it fits, else a file in S3 with the same content."""

import json
import urllib.request
import uuid

import pytest

from checks.gateway import Gateway
from checks.object_store import ObjectStore
from checks.stack import Stack


def _user_with(stack: Stack, api: Gateway, events: int) -> str:
    """Register a user, and record events in one statement, the latest first."""
    user = str(api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"])
    stack.cluster.psql(
        "INSERT INTO pmp.event"
        " (id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, versions, enabled)"
        " SELECT gen_random_uuid(), s.subject_key, now() - n * interval '1 minute', now(), s.created_by, true, true,"
        f" '{{1}}', ARRAY[n % 2 = 0] FROM generate_series(1, {events}) AS n, pmp.subject AS s WHERE s.id = '{user}';"
        # Other tests compare the projection of everybody.
        " INSERT INTO pmp.current_choice SELECT r.* FROM pmp.subject AS s, pmp.replay(s.subject_key) AS r"
        f" WHERE s.id = '{user}'"
    )
    return user


@pytest.mark.usefixtures("store")
def test_short_export_is_in_the_answer(stack: Stack) -> None:
    api = Gateway()
    user = _user_with(stack, api, 2500)
    answer = api.get(f"/v1/users/{user}/export")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    moments = [event["occurred_at"] for event in answer.json["events"]]
    assert (len(moments), moments) == (2500, sorted(moments))
    [wording] = answer.json["wordings"]
    assert (wording["id"], wording["description"]) == ("email_notifications", "Notifications by email")
    assert answer.json["created_by"] == "test-client"
    assert api.get(f"/v1/users/{user}/export", Accept_Encoding="gzip").headers["Content-Encoding"] == "gzip"


def test_export_of_100000_events_is_a_file(stack: Stack, store: ObjectStore) -> None:
    api = Gateway()
    user = _user_with(stack, api, 100_000)
    answer = api.get(f"/v1/users/{user}/export")
    assert (answer.status, answer.content) == (302, b"")
    address = answer.headers["Location"]
    assert address.startswith(f"{store.url}/pmp-local-imports/exports/users/")
    with urllib.request.urlopen(address) as response:
        export = json.load(response)
    assert export["user"] == api.get(f"/v1/users/{user}").json
    moments = [event["occurred_at"] for event in export["events"]]
    assert (len({event["id"] for event in export["events"]}), moments) == (100_000, sorted(moments))
    assert export["events"][0].keys() == {"id", "user", "consents", "occurred_at", "received_at", "source"}


def test_user_erased_while_the_export_is_read_returns_410(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmp.http.routes import users

    api = Gateway()
    user = _user_with(stack, api, 1500)
    read = users._events

    def erase_after_a_page(*arguments: object) -> object:
        events = read(*arguments)  # type: ignore[arg-type]
        stack.cluster.psql(f"SELECT pmp.erase_user('{user}', 'test', ARRAY[bytea '\\x{'0' * 64}'], now())")
        return events

    monkeypatch.setattr(users, "_events", erase_after_a_page)
    assert api.get(f"/v1/users/{user}/export").status == 410
    assert not store.versions
