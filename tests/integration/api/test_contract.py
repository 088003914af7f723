"""The published contract of a preference centre, to the letter, and the inputs that each of its rules refuses."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from checks.gateway import Gateway
from checks.stack import Stack

EMAIL, SMS = "email_notifications", "sms_notifications"


def at(seconds: float) -> str:
    """Return the instant ``seconds`` from now, in RFC 3339."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def choose(api: Gateway, user: str, consents: dict[str, bool], **more: Any) -> Any:
    choices = [{"id": consent, "enabled": enabled} for consent, enabled in consents.items()]
    return api.post("/v1/events", {"user": {"id": user}, "consents": choices, **more})


def consents(api: Gateway, user: str, query: str = "") -> dict[str, bool]:
    answer = api.get(f"/v1/users/{user}{query}")
    assert answer.status == 200, answer.content
    return {choice["id"]: choice["enabled"] for choice in answer.json["consents"]}


def test_published_example_works_as_written(api: Gateway) -> None:
    address = f"valid-{uuid.uuid4().hex}@email.com"
    created = api.post("/v1/users", {"email": address})
    assert created.status == 201
    assert created.json == {"id": created.json["id"], "email": address, "consents": []}
    assert created.headers["Location"] == f"/v1/users/{created.json['id']}"
    user = created.json["id"]
    first = api.post("/v1/events", {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}]})
    assert first.status == 201
    second = {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": False}, {"id": SMS, "enabled": True}]}
    assert api.post("/v1/events", second).status == 201
    assert api.get(f"/v1/users/{user}").json == {
        "id": user,
        "email": address,
        "consents": [{"id": EMAIL, "enabled": False}, {"id": SMS, "enabled": True}],
    }
    assert api.delete(f"/v1/users/{user}").status == 200


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a",
        "a@",
        "@b.com",
        "a b@c.com",
        "a@b..com",
        "a@b",
        "a@-b.com",
        ".a@b.com",
        "a..b@c.com",
        "a@b.com\n",
        "a@[127.0.0.1]",
        f"{'a' * 65}@b.com",
        f"a@{'b' * 64}.com",
        f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 63}.com",
        "ä" * 40 + "@b.com",
        "a@b.com, c@d.com",
        "<script>@b.com",
        "a@localhost",
        "a@b.test",
        None,
        5,
        [],
        {"a": "b"},
        "a\x00@b.com",
        "a\ud800@b.com",
    ],
)
def test_invalid_email_address_returns_422(api: Gateway, email: Any) -> None:
    answer = api.post("/v1/users", {"email": email})
    assert answer.status == 422
    assert answer.json["errors"][0]["pointer"] == "/email"


@pytest.mark.parametrize(
    ("email", "kept"),
    [
        ("Grütze@Bücher.example.com", "Grütze@bücher.example.com"),
        ("用户@例子.广告", "用户@例子.广告"),
        ("e\u0301@x.example.com", "\u00e9@x.example.com"),
        ("o'hara+tag@EXAMPLE.com", "o'hara+tag@example.com"),
        ("a@xn--bcher-kva.example.com", "a@bücher.example.com"),
    ],
)
def test_international_addresses_are_accepted_and_found(api: Gateway, email: str, kept: str) -> None:
    answer = api.post("/v1/users", {"email": email})
    assert (answer.status, answer.json["email"]) == (201, kept)
    for written in (email, kept, email.swapcase()):
        found = api.get(f"/v1/users?email={quote(written)}").json["items"]
        assert [user["id"] for user in found] == [answer.json["id"]], written


def test_address_that_differs_only_in_case_is_taken(api: Gateway) -> None:
    name = uuid.uuid4().hex
    assert api.post("/v1/users", {"email": f"Ärger{name}@example.com"}).status == 201
    again = api.post("/v1/users", {"email": f"äRGER{name}@EXAMPLE.com"})
    assert again.status == 422
    assert again.json["errors"] == [{"pointer": "/email", "detail": "is taken by another user"}]


def test_later_choice_wins_in_any_order_of_arrival(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    choose(api, user, {EMAIL: True}, occurred_at=at(-10))
    choose(api, user, {EMAIL: False}, occurred_at=at(-20))
    assert consents(api, user) == {EMAIL: True}
    events = api.get(f"/v1/users/{user}/events").json["items"]
    assert [event["consents"][0]["enabled"] for event in events] == [False, True]


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_denial_wins_over_a_grant_of_the_same_instant(
    api: Gateway, new_user: Callable[[], str], order: tuple[bool, bool]
) -> None:
    user, moment = new_user(), at(-5)
    for enabled in order:
        assert choose(api, user, {EMAIL: enabled}, occurred_at=moment).status == 201
    assert consents(api, user) == {EMAIL: False}


def test_choice_without_a_time_wins_over_a_grant_dated_ahead(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    choose(api, user, {EMAIL: True}, occurred_at=at(200))
    choose(api, user, {EMAIL: False})
    assert consents(api, user) == {EMAIL: False}


def consents_as_of_now(api: Gateway, user: str) -> dict[str, bool]:
    return consents(api, user, f"?as_of={quote(at(0))}")


@pytest.mark.parametrize("dated", [True, False])
def test_denial_wins_over_every_grant_received_before_it(
    api: Gateway, new_user: Callable[[], str], *, dated: bool
) -> None:
    user = new_user()
    ahead = at(290)
    grant = choose(api, user, {EMAIL: True}, occurred_at=ahead).json
    assert grant["occurred_at"] == ahead.replace("+00:00", "Z")
    denial = choose(api, user, {EMAIL: False}, **({"occurred_at": at(0)} if dated else {})).json
    assert denial["occurred_at"] <= denial["received_at"]
    assert consents(api, user) == consents_as_of_now(api, user) == {EMAIL: False}
    events = api.get(f"/v1/users/{user}/events").json["items"]
    assert [event["id"] for event in events] == [grant["id"], denial["id"]]


def test_denial_dated_in_the_future_counts_once_received(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    choose(api, user, {EMAIL: True}, occurred_at=at(-86400))
    denial = choose(api, user, {EMAIL: False}, occurred_at=at(120)).json
    assert consents(api, user) == consents_as_of_now(api, user) == {EMAIL: False}
    (result,) = api.post("/v1/check", {"checks": [{"user": {"id": user}, "consent": EMAIL}]}).json["results"]
    assert result == {"allowed": False, "reason": "denied", "model": "opt_in", "since": denial["received_at"]}


def test_denial_in_whole_seconds_wins_over_grants_in_its_second(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    choose(api, user, {EMAIL: True, SMS: False}, occurred_at="2026-01-01T10:00:00.5Z")
    denial = choose(api, user, {EMAIL: False, SMS: True}, occurred_at="2026-01-01T12:00:00+02:00").json
    assert denial["occurred_at"] == "2026-01-01T10:00:00Z"
    assert consents(api, user) == {EMAIL: False, SMS: False}


def test_denial_does_not_expire(api: Gateway, new_user: Callable[[], str]) -> None:
    consent, granted, denied = f"c{uuid.uuid4().hex[:12]}", new_user(), new_user()
    body = {"description": "x", "channel": "web", "expires_after_days": 1}
    assert api.put(f"/v1/consents/{consent}", body).status == 201
    for user in (granted, denied):
        choose(api, user, {consent: user == granted}, occurred_at=at(-90_000))
    asked = {"checks": [{"user": {"id": user}, "consent": consent} for user in (granted, denied)]}
    assert [result["reason"] for result in api.post("/v1/check", asked).json["results"]] == ["expired", "denied"]
    assert api.get(f"/v1/users/{denied}").json["consents"] == [{"id": consent, "enabled": False}]
    listed = api.get(f"/v1/users?consent={consent}&enabled=false").json["items"]
    assert [user["id"] for user in listed] == [denied]


def test_event_more_than_five_minutes_ahead_returns_422(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    assert choose(api, user, {EMAIL: True}, occurred_at=at(290)).status == 201
    refused = choose(api, user, {EMAIL: True}, occurred_at=at(310))
    assert refused.status == 422
    assert refused.json["errors"] == [{"pointer": "/occurred_at", "detail": "is more than five minutes in the future"}]
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 1


def test_event_sent_twice_is_recorded_once(api: Gateway, new_user: Callable[[], str]) -> None:
    user, identifier = new_user(), str(uuid.uuid4())
    first = choose(api, user, {EMAIL: True}, id=identifier)
    again = choose(api, user, {EMAIL: True}, id=identifier.upper())
    assert (first.status, again.status) == (201, 200)
    assert first.json == again.json
    for other in ({EMAIL: False}, {SMS: True}, {EMAIL: True, SMS: True}):
        assert choose(api, user, other, id=identifier).status == 409
    assert choose(api, user, {EMAIL: True}, id=identifier, occurred_at=at(-5)).status == 409
    assert choose(api, new_user(), {EMAIL: True}, id=identifier).status == 409
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 1


def test_known_event_id_with_another_time_or_version_returns_409(api: Gateway, new_user: Callable[[], str]) -> None:
    user, identifier, moment = new_user(), str(uuid.uuid4()), at(-5)
    recorded = choose(api, user, {EMAIL: True}, id=identifier, occurred_at=moment)
    assert recorded.status == 201
    same = moment.replace("+00:00", "Z")
    assert choose(api, user, {EMAIL: True}, id=identifier, occurred_at=same).json == recorded.json
    assert choose(api, user, {EMAIL: True}, id=identifier, occurred_at=at(-4)).status == 409
    assert choose(api, user, {EMAIL: True}, id=identifier).status == 409
    now = choose(api, user, {EMAIL: True}).json
    assert choose(api, user, {EMAIL: True}, id=now["id"], occurred_at=now["occurred_at"]).status == 409

    consent = f"c{uuid.uuid4().hex[:12]}"
    api.put(f"/v1/consents/{consent}", {"description": "one", "channel": "web"})
    first = choose(api, user, {consent: True}).json
    api.put(f"/v1/consents/{consent}", {"description": "two", "channel": "web"})
    assert choose(api, user, {consent: True}, id=first["id"]).json == first  # no version given: the newest at that time

    def naming(version: int) -> int:
        choice = {"id": consent, "enabled": True, "version": version}
        return int(api.post("/v1/events", {"id": first["id"], "user": {"id": user}, "consents": [choice]}).status)

    assert (naming(1), naming(2)) == (200, 409)
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 3


def test_error_points_to_the_invalid_field_of_an_event(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    unknown = choose(api, user, {EMAIL: True, "no_such_consent": True})
    assert (unknown.status, unknown.json["errors"][0]["pointer"]) == (422, "/consents/1/id")
    nobody = choose(api, str(uuid.uuid4()), {EMAIL: True})
    assert (nobody.status, nobody.json["errors"][0]["pointer"]) == (422, "/user/id")
    version = {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True, "version": 99}]}
    assert api.post("/v1/events", version).json["errors"][0]["pointer"] == "/consents/0/version"
    twice = {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}, {"id": EMAIL, "enabled": False}]}
    assert api.post("/v1/events", twice).json["errors"][0]["pointer"] == "/consents/1/id"
    many = [{"id": f"c{number}", "enabled": True} for number in range(101)]
    too_many = api.post("/v1/events", {"user": {"id": user}, "consents": many})
    assert too_many.json["errors"] == [{"pointer": "/consents", "detail": "must have at most 100 items"}]
    assert api.get(f"/v1/users/{user}/events").json["items"] == []


def test_as_of_shows_the_choices_of_that_instant(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    choose(api, user, {EMAIL: True}, occurred_at="2026-01-01T00:00:00Z")
    choose(api, user, {EMAIL: False, SMS: True}, occurred_at="2026-02-01T00:00:00Z")
    assert consents(api, user, "?as_of=2025-12-31T23:59:59.999999Z") == {}
    assert consents(api, user, "?as_of=2026-01-01T00:00:00Z") == {EMAIL: True}
    assert consents(api, user, "?as_of=2026-01-31T23:59:59.999999Z") == {EMAIL: True}
    # Without a fraction of a second, the denial counts from the end of the second and the grant from its start.
    assert consents(api, user, "?as_of=2026-02-01T01:00:00%2B01:00") == {EMAIL: True, SMS: True}
    assert consents(api, user, "?as_of=2026-02-01T01:00:00.999999%2B01:00") == {EMAIL: False, SMS: True}
    assert consents(api, user, "?as_of=2026-02-01T23:58:00%2B23:59") == {EMAIL: True}  # PostgreSQL's limit is 15:59
    assert api.get(f"/v1/users/{user}?as_of=yesterday").status == 422


def test_erasure_deletes_personal_data_and_keeps_the_events(api: Gateway, stack: Stack) -> None:
    address = f"{uuid.uuid4().hex}@example.com"
    user = api.post("/v1/users", {"email": address}, Idempotency_Key=uuid.uuid4().hex).json["id"]
    event = choose(api, user, {EMAIL: True}).json["id"]
    assert api.delete(f"/v1/users/{user}").status == 200
    for path in ("", "/events", "/export", "?as_of=2026-01-01T00:00:00Z"):
        assert api.get(f"/v1/users/{user}{path}").status == 410
    assert api.delete(f"/v1/users/{user}").status == 410
    assert choose(api, user, {EMAIL: False}).status == 410
    assert api.get(f"/v1/users?email={address}").json["items"] == []
    assert api.get(f"/v1/events/{event}").json["user"] == {"id": user}
    dump = stack.cluster.psql(
        "SELECT (SELECT count(*) FROM pmp.subject AS s WHERE s::text ILIKE '%" + address + "%') + "
        "(SELECT count(*) FROM pmp.idempotency_key AS i WHERE i::text ILIKE '%" + address + "%')"
    )
    assert dump.strip() == "0"
    again = api.post("/v1/users", {"email": address.upper()})
    assert again.status == 201
    assert again.json["id"] != user
    assert again.json["consents"] == []


def test_unknown_user_or_event_returns_404(api: Gateway) -> None:
    nobody = uuid.uuid4()
    for path in ("", "/events", "/export"):
        assert api.get(f"/v1/users/{nobody}{path}").status == 404
    assert api.delete(f"/v1/users/{nobody}").status == 404
    assert api.get(f"/v1/events/{nobody}").status == 404


def test_user_export_holds_the_user_and_every_event(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    recorded = [choose(api, user, {EMAIL: bool(number % 2)}, occurred_at=at(-10 + number)).json for number in range(3)]
    export = api.get(f"/v1/users/{user}/export").json
    assert export["user"] == api.get(f"/v1/users/{user}").json
    assert export["events"] == recorded
    assert export["created_at"] <= export["exported_at"]


def test_user_etag_changes_with_each_choice(api: Gateway) -> None:
    created = api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"})
    tag, path = created.headers["ETag"], created.headers["Location"]
    assert api.get(path).headers["ETag"] == tag
    assert api.get(path, If_None_Match=tag).status == 304
    choose(api, created.json["id"], {EMAIL: True})
    assert api.get(path, If_None_Match=tag).status == 200
    assert api.delete(path, If_Match=tag).status == 412
    assert api.get(path).status == 200
    assert api.delete(path, If_Match=api.get(path).headers["ETag"]).status == 200


def _all(api: Gateway, path: str) -> list[Any]:
    items: list[Any] = []
    while path:
        answer = api.get(path)
        assert answer.status == 200, answer.content
        items += answer.json["items"]
        assert (answer.json["next"] is not None) == ("Link" in answer.headers)
        link = answer.headers.get("Link", "")
        path = link[1 : link.index(">")] if link else ""
        if answer.json["next"]:
            assert f"cursor={answer.json['next']}" in path
    return items


def test_pages_hold_every_item_exactly_once(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    moment = at(-50)
    for number in range(7):
        choose(api, user, {EMAIL: bool(number % 2)}, occurred_at=moment if number < 4 else at(-40 + number))
    events = _all(api, f"/v1/users/{user}/events?limit=2")
    assert len({event["id"] for event in events}) == len(events) == 7
    assert [event["occurred_at"] for event in events] == sorted(event["occurred_at"] for event in events)
    every = [event["id"] for event in _all(api, "/v1/events?limit=100")]
    assert len(set(every)) == len(every)
    assert {event["id"] for event in events} <= set(every)
    people = [new_user() for _ in range(5)]
    listed = [found["id"] for found in _all(api, "/v1/users?limit=3")]
    assert [found for found in listed if found in people] == people
    assert api.get("/v1/users?limit=500").status == 200


def test_users_are_listed_by_choice_without_erased_users(api: Gateway, new_user: Callable[[], str]) -> None:
    consent = f"c{uuid.uuid4().hex[:12]}"
    assert api.put(f"/v1/consents/{consent}", {"description": "x", "channel": "web"}).status == 201
    yes, no, gone = [[new_user() for _ in range(5)] for _ in range(3)]
    for user in yes + gone:
        choose(api, user, {consent: True})
    for user in no:
        choose(api, user, {consent: False})
    for user in gone:
        api.delete(f"/v1/users/{user}")
    assert [user["id"] for user in _all(api, f"/v1/users?consent={consent}&enabled=true&limit=2")] == yes
    assert [user["id"] for user in _all(api, f"/v1/users?consent={consent}&enabled=false&limit=2")] == no
    assert api.get("/v1/users?consent=no_such&enabled=true").status == 422
    assert api.get(f"/v1/users?consent={consent}").status == 422


def test_users_of_one_choice_are_found_by_an_index(api: Gateway, stack: Stack) -> None:
    plan = stack.cluster.psql(
        "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; "
        "EXPLAIN SELECT c.subject_key FROM pmp.current_choice AS c WHERE c.consent_key = 1 "
        "AND c.enabled = true AND c.subject_key > 0 ORDER BY c.subject_key LIMIT 5"
    )
    assert "Index" in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan


@pytest.mark.parametrize("header", ["*", "current ETag"])
def test_erasure_with_a_failed_condition_erases_nothing(api: Gateway, new_user: Callable[[], str], header: str) -> None:
    user = f"/v1/users/{new_user()}"
    tag = api.get(user).headers["ETag"]
    assert api.delete(user, If_None_Match="*" if header == "*" else tag).status == 412
    assert api.get(user, If_Match=tag).status == 200
    assert api.get(user, If_Match='"other"').status == 412
    assert api.delete(user, If_None_Match='"other"').status == 200
