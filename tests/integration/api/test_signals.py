"""Opt-out signals: when they deny, when a stored choice stays, and what the consent strings in events say."""

import dataclasses
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pmp import vendors
from pmp.database import connect
from pmp.handler import handler
from pmp.signals import answer as decoding
from pmp.signals import tcf

from checks.gateway import Answer, Context, Gateway
from checks.stack import Stack
from local.vendor_list.server import Server, State
from tests.integration.api.test_concurrency import under_way
from tests.integration.api.test_contract import EMAIL
from tests.support import signal_strings as written

TERMS = {"description": "Sale of personal data", "channel": "web", "model": "opt_out"}
TC = "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"
GPC = {"gpc": True}


@pytest.fixture
def sale(api: Gateway) -> Iterator[str]:
    """A consent that names Global Privacy Control, until the end of the test."""
    name = f"sale_{uuid.uuid4().hex[:12]}"
    assert api.put(f"/v1/consents/{name}", {**TERMS, "opt_out_signals": ["gpc"]}).status == 201
    yield name
    assert api.put(f"/v1/consents/{name}", TERMS).status == 200


def signal(api: Gateway, user: str, **body: Any) -> Answer:
    return api.post("/v1/signals", {"user": {"id": user}, **body})


def result(answer: Answer, consent: str) -> tuple[int, str, bool]:
    (found,) = [one for one in answer.json["consents"] if one["id"] == consent]
    return answer.status, found["state"], found["denied"]


def grant(api: Gateway, user: str, consent: str, **context: Any) -> Answer:
    return api.post(
        "/v1/events", {"user": {"id": user}, "consents": [{"id": consent, "enabled": True}], "context": context}
    )


def allowed(api: Gateway, user: str, consent: str) -> bool:
    body = {"checks": [{"user": {"id": user}, "consent": consent}]}
    answer: bool = api.post("/v1/check", body).json["results"][0]["allowed"]
    return answer


def events(api: Gateway, user: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = api.get(f"/v1/users/{user}/events").json["items"]
    return items


def test_signal_denies_what_names_it_and_nothing_else(api: Gateway, new_user: Callable[[], str], sale: str) -> None:
    user = new_user()
    grant(api, user, EMAIL)
    assert allowed(api, user, sale)
    answer = signal(api, user, **GPC, context={"country": "US-CA"})
    assert result(answer, sale) == (201, "not_given", True)
    event = answer.json["event"]
    assert answer.headers["Location"] == f"/v1/events/{event['id']}"
    assert api.get(f"/v1/events/{event['id']}").json == event
    assert event["context"] == {"country": "US-CA", "gpc": True}
    assert {"id": sale, "enabled": False, "version": 1} in event["consents"]
    assert EMAIL not in {choice["id"] for choice in event["consents"]}
    assert not allowed(api, user, sale)
    assert allowed(api, user, EMAIL)


def test_repeated_signal_adds_nothing_to_the_record(api: Gateway, new_user: Callable[[], str], sale: str) -> None:
    user = new_user()
    assert signal(api, user, **GPC).status == 201
    for _ in range(5):
        answer = signal(api, user, **GPC)
        assert (result(answer, sale), answer.json["event"]) == ((200, "denied", False), None)
    assert len(events(api, user)) == 1


def test_later_grant_counts_until_the_next_signal(api: Gateway, new_user: Callable[[], str], sale: str) -> None:
    user = new_user()
    signal(api, user, **GPC)
    grant(api, user, sale, notice="v7")
    assert allowed(api, user, sale)
    assert result(signal(api, user, **GPC), sale) == (201, "granted", True)
    assert not allowed(api, user, sale)


def test_grant_despite_the_signal_stays_until_it_is_denied(
    api: Gateway, new_user: Callable[[], str], sale: str
) -> None:
    user = new_user()
    signal(api, user, **GPC)
    grant(api, user, sale, notice="v7", despite_signal=True)
    assert result(signal(api, user, **GPC), sale)[1:] == ("granted_despite_signal", False)
    assert allowed(api, user, sale)
    choice = {"user": {"id": user}, "consents": [{"id": sale, "enabled": False}]}
    assert api.post("/v1/events", choice).status == 201
    assert result(signal(api, user, **GPC), sale)[1:] == ("denied", False)
    # A grant that says nothing of the signal does not inherit the earlier one's proof.
    grant(api, user, sale, despite_signal=False)
    assert result(signal(api, user, **GPC), sale)[1:] == ("granted", True)


def test_absence_of_a_signal_changes_nothing(api: Gateway, new_user: Callable[[], str], sale: str) -> None:
    user = new_user()
    assert (signal(api, user, gpc=False).status, events(api, user)) == (200, [])
    assert signal(api, user, gpc=False).json["consents"] == []
    signal(api, user, **GPC)
    assert signal(api, user, gpc=False).status == 200
    assert not allowed(api, user, sale)


def test_signal_of_a_merged_user_is_the_remaining_ones(api: Gateway, new_user: Callable[[], str], sale: str) -> None:
    user, former = new_user(), new_user()
    email = api.get(f"/v1/users/{former}").json["email"]
    grant(api, former, sale, despite_signal=True)
    assert api.post(f"/v1/users/{user}/merge", {"from": former}).status == 200
    for named in ({"id": user}, {"id": former}, {"email": email}):
        answer = api.post("/v1/signals", {"user": named, **GPC})
        assert result(answer, sale) == (200, "granted_despite_signal", False)
        assert answer.json["user"] == {"id": user}
    grant(api, former, sale)
    assert [signal(api, former, **GPC).status for _ in range(2)] == [201, 200]


@pytest.mark.parametrize(
    ("section", "status"),
    [("CVVVkkkkkpFY.YA", 201), ("CVVVkkkkkpFY.QA", 200), ("CVVVkkkkkpFY", 200)],
)
def test_signal_within_a_gpp_string_counts(
    api: Gateway, new_user: Callable[[], str], sale: str, section: str, status: int
) -> None:
    user = new_user()
    answer = signal(api, user, gpp_string=f"DBABLA~{section}", tc_string=TC)
    assert answer.status == status
    assert allowed(api, user, sale) == (status == 200)
    if status == 201:
        assert answer.json["event"]["context"] == {"gpp_string": f"DBABLA~{section}", "tc_string": TC}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/gpc"),
        ({"tc_string": TC}, "/gpc"),
        ({"gpc": "1"}, "/gpc"),
        ({"gpc": True, "tc_string": TC[:20]}, "/tc_string"),
        ({"gpp_string": "DBABLA"}, "/gpp_string"),
        ({"gpc": True, "context": {"gpc": True}}, "/context/gpc"),
        ({"gpc": True, "context": {"despite_signal": True}}, "/context/despite_signal"),
        ({"gpc": True, "context": {"ip": "x"}}, "/context/ip"),
        ({"gpc": True, "surname": "x"}, "/surname"),
    ],
)
def test_wrong_signal_is_refused(
    api: Gateway, new_user: Callable[[], str], sale: str, body: dict[str, Any], pointer: str
) -> None:
    user = new_user()
    answer = signal(api, user, **body)
    assert (answer.status, [error["pointer"] for error in answer.json["errors"]]) == (422, [pointer])
    assert events(api, user) == []


def test_signal_needs_a_user_and_a_scope(api: Gateway, new_user: Callable[[], str], sale: str) -> None:
    unknown: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "email": "nobody@example.com",
        "phone": "+41790000000",
        "external_id": {"namespace": "crm", "id": "nobody"},
    }
    for by, value in unknown.items():
        answer = api.post("/v1/signals", {"user": {by: value}, **GPC})
        assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, f"/user/{by}")
    user = new_user()
    email = api.get(f"/v1/users/{user}").json["email"]
    assert Gateway(scope="pmp/read").post("/v1/signals", {"user": {"email": email}, **GPC}).status == 403
    external = {"namespace": "crm", "id": uuid.uuid4().hex}
    assert api.patch(f"/v1/users/{user}", {"external_ids": {"crm": external["id"]}}).status == 200
    assert api.post("/v1/signals", {"user": {"email": email.upper()}, **GPC}).status == 201
    again = api.post("/v1/signals", {"user": {"external_id": external}, **GPC})
    assert (again.status, again.json["user"]) == (200, {"id": user})
    assert api.delete(f"/v1/users/{user}").status == 200
    assert signal(api, user, **GPC).status == 410


def test_two_signals_at_once_are_one_event(api: Gateway, new_user: Callable[[], str], sale: str, stack: Stack) -> None:
    user = new_user()
    call = (
        f"SELECT pmp.record_signal(gen_random_uuid(), '{user}', NULL, NULL, '{{gpc}}', '{{not_given,granted}}',"
        " '{}', 't') ->> 'outcome'"
    )
    outcomes: list[str] = []
    both = [threading.Thread(target=lambda: outcomes.append(stack.cluster.psql(call))) for _ in range(2)]
    # Both have found nothing before either of them gets the user's row.
    waiting = "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
    with under_way("SELECT pmp.prepare_erasure(:user)", user=user) as holder:
        for one in both:
            one.start()
        while holder.run(waiting) != [[2]]:
            assert all(one.is_alive() for one in both), outcomes
            time.sleep(0.01)
        holder.run("COMMIT")
    for one in both:
        one.join()
    assert sorted(outcomes) == ["created", "unchanged"]
    assert len(events(api, user)) == 1


def test_repetition_of_a_lost_answer_is_the_same_event(new_user: Callable[[], str], sale: str, stack: Stack) -> None:
    call = (
        f"SELECT pmp.record_signal('{uuid.uuid4()}', '{new_user()}', NULL, NULL, '{{gpc}}', '{{not_given}}',"
        " '{}', 't') -> 'event' ->> 'id'"
    )
    assert stack.cluster.psql(call) == stack.cluster.psql(call) != ""


@pytest.fixture
def list_version(stack: Stack, third_party: Server) -> Iterator[int]:
    """The version of the vendor list that PMP has a copy of."""
    stack.cluster.psql("DELETE FROM pmp.upstream_cache; DELETE FROM pmp.vendor")
    third_party.state = State()
    handler({"task": "refresh_vendors"}, Context())
    yield int(stack.cluster.psql("SELECT version FROM pmp.upstream_cache"))
    stack.cluster.psql("DELETE FROM pmp.upstream_cache; DELETE FROM pmp.vendor")


def test_strings_are_decoded_on_demand_with_the_names_of_their_list(
    api: Gateway, new_user: Callable[[], str], list_version: int, stack: Stack
) -> None:
    vendor = int(stack.cluster.psql("SELECT min(id) FROM pmp.vendor"))
    name = stack.cluster.psql(f"SELECT name FROM pmp.vendor WHERE id = {vendor}")
    tc = dataclasses.replace(
        tcf.decode(TC),
        vendor_list_version=list_version,
        consents=((1, 2),),
        legitimate_interests=((2, 2),),
        vendor_consents=((vendor, vendor),),
        disclosed=((vendor, vendor), (60_000, 60_000)),
    )
    for version, has_names in ((list_version, True), (list_version - 1, False)):
        string = written.tc_string(dataclasses.replace(tc, vendor_list_version=version), 0)
        event = grant(api, new_user(), EMAIL, tc_string=string, gpp_string=f"DBACNY~{string}~1YNN").json
        assert "decoded" not in event
        answer = api.get(f"/v1/events/{event['id']}?decode=true").json
        assert {**event, "decoded": answer["decoded"]} == answer
        found = answer["decoded"]["tc_string"]
        assert answer["decoded"]["gpp_string"]["sections"] == [
            {"id": 2, "name": "tcfeuv2", "tc_string": found},
            {"id": 6, "name": "uspv1", "text": "1YNN"},
        ]
        assert (found["vendor_list_version"], found["has_names"]) == (version, has_names)
        assert [(one["id"], one["consent"], one["legitimate_interest"]) for one in found["purposes"]] == [
            (1, True, False),
            (2, True, True),
        ]
        assert all(bool(one["name"]) == has_names for one in found["purposes"])
        assert found["vendors"] == [
            {
                "id": vendor,
                "name": name if has_names else None,
                "consent": True,
                "legitimate_interest": False,
                "disclosed": True,
            },
            {"id": 60_000, "name": None, "consent": False, "legitimate_interest": False, "disclosed": True},
        ]
    assert vendors.names(connect(), list_version + 1) is None


def test_event_without_strings_decodes_to_nothing(api: Gateway, new_user: Callable[[], str]) -> None:
    event = grant(api, new_user(), EMAIL).json
    assert api.get(f"/v1/events/{event['id']}?decode=true").json["decoded"] == {}
    assert api.get(f"/v1/events/{event['id']}?decode=yes").status == 422


def test_decoded_answer_is_bounded(api: Gateway, new_user: Callable[[], str]) -> None:
    everybody = dataclasses.replace(tcf.decode(TC), vendor_consents=((1, 65_535),))
    string = written.tc_string(everybody, 0)
    event = grant(api, new_user(), EMAIL, tc_string=string).json
    answer = api.get(f"/v1/events/{event['id']}?decode=true")
    found = answer.json["decoded"]["tc_string"]
    assert (len(found["vendors"]), found["vendors_left_out"]) == (
        decoding.MOST_VENDORS,
        65_535 - decoding.MOST_VENDORS,
    )
    assert len(answer.content) < 500_000
