"""The context of an event: kept and shown as proof, bounded, erased with its user, and in no log."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from pmp.contexts import LARGEST_BYTES

from checks.gateway import Gateway
from checks.stack import Stack
from tests.integration.api.test_contract import EMAIL, choose

CONTEXT = {
    "channel": "phone",
    "url": "https://shop.example.com/checkout?step=3",
    "form": "script-7",
    "notice": "https://shop.example.com/privacy",
    "locale": "de-CH",
    "country": "US-CA",
    "ip": "2001:db8::1",
    "user_agent": "Mozilla/5.0 (X11)",
    "collected_by": "agent 17",
    "on_behalf_of": "a parent",
    "evidence": "recording/4711",
    "tc_string": "CQSbk4AQSbk4ANwAAAENAwCgAAAAAAAAAAYgACPAAAAA.IDKQA4AAgAKAGQAygAAA.YAAAAAAAAAAA",
    "gpp_string": "DBABLA~CVVVkkkkkpFY.YA",
    "gpc": True,
    "metadata": [{"name": "campaign", "value": "spring"}],
}
LONGEST = {"url": "https://x/" + "u" * 2038, "notice": "n" * 2048, "evidence": "e" * 2048, "user_agent": "a" * 1000}


def body(user: str, **context: Any) -> dict[str, Any]:
    return {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}], "context": context}


def test_context_is_shown_wherever_the_event_is(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    plain = choose(api, user, {EMAIL: True}).json
    event = api.post("/v1/events", body(user, **CONTEXT))
    assert (event.status, event.json["context"]) == (201, CONTEXT)
    (batched,) = api.post("/v1/events:batch", {"events": [body(user, ip="192.0.2.7")]}).json["results"]
    export = api.get(f"/v1/users/{user}/export").json
    for events in (api.get(f"/v1/users/{user}/events").json["items"], export["events"]):
        contexts = {found["id"]: found.get("context") for found in events}
        assert contexts == {plain["id"]: None, event.json["id"]: CONTEXT, batched["id"]: {"ip": "192.0.2.7"}}
    assert "context" not in api.get(f"/v1/events/{plain['id']}").json
    assert api.get(f"/v1/events/{event.json['id']}").json == event.json
    assert export["wordings"][0]["id"] == EMAIL


@pytest.mark.parametrize(
    ("context", "pointer"),
    [
        ({"channel": "fax"}, "/channel"),
        ({"url": "javascript:alert(1)"}, "/url"),
        ({"url": "https://x/" + "u" * 2039}, "/url"),
        ({"form": " "}, "/form"),
        ({"form": "f" * 201}, "/form"),
        ({"notice": "n" * 2049}, "/notice"),
        ({"locale": "de_CH"}, "/locale"),
        ({"country": "Germany"}, "/country"),
        ({"ip": "192.0.2.300"}, "/ip"),
        ({"ip": "fe80::1%eth0"}, "/ip"),
        ({"ip": "shop.example.com"}, "/ip"),
        ({"user_agent": "a" * 1001}, "/user_agent"),
        ({"collected_by": "c" * 201}, "/collected_by"),
        ({"on_behalf_of": 7}, "/on_behalf_of"),
        ({"evidence": "e" * 2049}, "/evidence"),
        ({"metadata": [{"name": "n", "value": "v"}] * 21}, "/metadata"),
        ({"metadata": [{"name": "a b", "value": "v"}]}, "/metadata/0/name"),
        ({"metadata": [{"name": "n", "value": "v" * 501}]}, "/metadata/0/value"),
        ({"tc_string": "CQSbk4AQSbk4A"}, "/tc_string"),
        ({"tc_string": "C" * 4097}, "/tc_string"),
        ({"gpp_string": "DBABLA"}, "/gpp_string"),
        ({"gpp_string": ""}, "/gpp_string"),
        ({"gpc": 1}, "/gpc"),
        ({"anything": "else"}, "/anything"),
        ({"form": "\x00"}, "/form"),
        ({**LONGEST, "metadata": [{"name": "n", "value": "v" * 500}] * 3}, ""),
    ],
)
def test_context_beyond_its_bounds_returns_422(
    api: Gateway, new_user: Callable[[], str], context: dict[str, Any], pointer: str
) -> None:
    user = new_user()
    answer = api.post("/v1/events", body(user, **context))
    assert answer.status == 422
    assert [error["pointer"] for error in answer.json["errors"]] == [f"/context{pointer}"]
    (result,) = api.post("/v1/events:batch", {"events": [body(user, **context)]}).json["results"]
    assert [error["pointer"] for error in result["problem"]["errors"]] == [f"/events/0/context{pointer}"]
    assert api.get(f"/v1/users/{user}/events").json["items"] == []


def test_wrong_signal_is_refused_with_what_is_wrong_where(api: Gateway, new_user: Callable[[], str]) -> None:
    wrong = {"tc_string": "CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYg", "gpp_string": "DBABLA~CwVVkkkkkpFY.YA"}
    answer = api.post("/v1/events", body(new_user(), **wrong))
    assert answer.status == 422
    assert answer.json["errors"] == [
        {
            "pointer": "/context/tc_string",
            "detail": "is not a valid TC string: core segment: ends within VendorConsents",
        },
        {
            "pointer": "/context/gpp_string",
            "detail": "is not a valid GPP string: section 7 (usnat): core segment: sharing_notice has the value 3, "
            "which is not defined",
        },
    ]


def test_largest_context_is_kept(api: Gateway, new_user: Callable[[], str]) -> None:
    entries = [{"name": "n", "value": value} for value in ('"' * 200, "v" * 400, "")]
    context: dict[str, Any] = {**LONGEST, "metadata": entries}
    entries[2]["value"] = "v" * (LARGEST_BYTES - len(json.dumps(context, separators=(",", ":"))))
    assert len(json.dumps(context, separators=(",", ":"))) == LARGEST_BYTES
    answer = api.post("/v1/events", body(new_user(), **context))
    assert (answer.status, answer.json["context"]) == (201, context)


def test_empty_context_is_none(api: Gateway, new_user: Callable[[], str]) -> None:
    assert "context" not in api.post("/v1/events", body(new_user())).json


def test_same_id_with_another_context_is_a_conflict(api: Gateway, new_user: Callable[[], str]) -> None:
    event = {**body(new_user(), **CONTEXT), "id": str(uuid.uuid4())}
    first = api.post("/v1/events", event)
    again = api.post("/v1/events", event)
    assert (again.status, again.json) == (200, first.json)
    for other in ({**CONTEXT, "locale": "fr"}, {}, {"locale": "fr"}):
        assert api.post("/v1/events", {**event, "context": other}).status == 409


def test_erasure_deletes_the_context_and_no_log_has_it(
    api: Gateway, new_user: Callable[[], str], stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    user, other, mark, key = new_user(), new_user(), uuid.uuid4().hex, uuid.uuid4().hex
    context = {"url": f"https://x/{mark}", "user_agent": mark, "metadata": [{"name": "n", "value": mark}]}
    event = api.post("/v1/events", body(user, **context), Idempotency_Key=key).json
    kept = api.post("/v1/events", body(other, **context)).json
    assert api.post("/v1/events", body(user, **context, channel="fax")).status == 422
    assert api.delete(f"/v1/users/{user}").status == 200
    assert "context" not in api.get(f"/v1/events/{event['id']}").json
    assert api.get(f"/v1/events/{kept['id']}").json["context"] == context
    left = (
        "SELECT (SELECT count(*) FROM pmp.event_context AS c JOIN pmp.subject AS s USING (subject_key)"
        f" WHERE s.id = '{user}') + (SELECT count(*) FROM pmp.idempotency_key WHERE body LIKE '%{mark}%')"
    )
    assert mark not in capsys.readouterr().out
    # Before the query with the mark, which the log would quote if it took two seconds.
    assert mark not in (stack.cluster.directory / "postgres.log").read_text()
    assert stack.cluster.psql(left) == "0"
