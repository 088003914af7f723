"""Changes out: subscriptions, signed messages, failures, replay and the ledger, with receivers on loopback."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pmp import database
from pmp.deliveries import chain, dispatcher, posting
from pmp.handler import handler
from standardwebhooks import Webhook, WebhookVerificationError

from checks.gateway import Context, Gateway, token
from checks.receiver import Behaviour, Handler, Message, Receiver
from checks.stack import Stack

NewUser = Callable[[], str]


@pytest.fixture(autouse=True)
def _no_others(stack: Stack) -> Iterator[None]:
    """Leave no subscription enabled, and no chain alive, for the tests after this one."""
    chain._queue.cache_clear()
    yield
    stack.cluster.psql(
        "UPDATE pmp.subscription SET is_enabled = false, deleted_at = coalesce(deleted_at, now());"
        " UPDATE pmp.delivery_chain SET until = '-infinity'"
    )
    stack.store.invocations.clear()
    chain._queue.cache_clear()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    running = Receiver()
    yield running
    running.close()


def subscribe(api: Gateway, url: str, **more: Any) -> dict[str, Any]:
    answer = api.post("/v1/subscriptions", {"url": url, **more})
    assert answer.status == 201, answer.content
    document: dict[str, Any] = answer.json
    return document


def shown(api: Gateway, subscription: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = api.get(f"/v1/subscriptions/{subscription['id']}").json
    return document


def change(api: Gateway, subscription: dict[str, Any], **members: Any) -> dict[str, Any]:
    answer = api.request("PATCH", f"/v1/subscriptions/{subscription['id']}", members)
    assert answer.status == 200, answer.content
    document: dict[str, Any] = answer.json
    return document


def tell(api: Gateway, user: str, enabled: bool = True, consent: str = "email_notifications", **more: Any) -> str:
    body = {"user": {"id": user}, "consents": [{"id": consent, "enabled": enabled}], **more}
    answer = api.post("/v1/events", body)
    assert answer.status == 201, answer.content
    identifier: str = answer.json["id"]
    return identifier


def deliver() -> None:
    """Send until nothing is due, which takes far less than a minute."""
    dispatcher.Dispatcher(database.connect()).work(60)


@pytest.fixture
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a minute, and not half a second, be the least until the next attempt: only ``due`` brings it."""
    monkeypatch.setattr(dispatcher, "FIRST_PAUSE_SECONDS", 120.0)


def due(stack: Stack) -> None:
    """Let the next attempts come now."""
    stack.cluster.psql("UPDATE pmp.delivery_lane SET next_attempt_at = now()")


def answering(status: int) -> Behaviour:
    def behaviour(handler: Handler, message: Message) -> int:
        return status

    return behaviour


def ids(receiver: Receiver) -> list[str]:
    return [event["id"] for event in receiver.events]


def test_change_is_told_in_a_signed_batch_of_cloud_events(api: Gateway, new_user: NewUser, receiver: Receiver) -> None:
    before = tell(api, new_user())
    made = subscribe(api, receiver.url, description="Mail tool")
    user = new_user()
    grant, denial = tell(api, user), tell(api, user, enabled=False)
    deliver()

    (message,) = receiver.messages
    assert message.headers["content-type"].startswith("application/cloudevents-batch+json")
    # The official library verifies what was sent, and nothing else.
    assert Webhook(made["secret"]).verify(message.body, message.headers) == message.events
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(message.body + b" ", message.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(message.body, {**message.headers, "webhook-id": "msg_other"})

    first, second = message.events
    assert (first["id"], second["id"]) == (grant, denial)
    assert before not in ids(receiver)
    assert first["sequence"] < second["sequence"]
    stored = api.get(f"/v1/events/{denial}").json
    state = second["data"].pop("state")
    assert second["data"].pop("state_at") >= stored["received_at"]
    assert second["data"] == stored
    assert {name: second[name] for name in ("specversion", "type", "subject", "time", "datacontenttype")} == {
        "specversion": "1.0",
        "type": "pmp.event.recorded",
        "subject": user,
        "time": stored["received_at"],
        "datacontenttype": "application/json",
    }
    # Both say what counts now, so that a receiver may drop the older one.
    assert state == first["data"]["state"]
    assert state == [{"id": "email_notifications", "enabled": False, "since": stored["received_at"]}]
    deliver()
    assert len(receiver.messages) == 1
    assert shown(api, made)["state"] == "active"


def test_secret_is_shown_once_and_stored_nowhere(stack: Stack, api: Gateway, receiver: Receiver) -> None:
    made = api.post("/v1/subscriptions", {"url": receiver.url}, **{"Idempotency-Key": (key := uuid.uuid4().hex)})
    again = api.post("/v1/subscriptions", {"url": receiver.url}, **{"Idempotency-Key": key})
    assert (again.status, again.json) == (201, made.json)
    secret = made.json["secret"]
    for answer in (api.get("/v1/subscriptions"), api.get(made.headers["Location"])):
        assert answer.status == 200
        assert b"whsec" not in answer.content
    stored = stack.cluster.psql(
        "SELECT jsonb_agg(s) FROM pmp.subscription AS s; SELECT jsonb_agg(k) FROM pmp.idempotency_key AS k"
    )
    assert secret.removeprefix("whsec_") not in stored
    assert key in stored


def test_rotation_signs_with_both_secrets_for_a_day(
    stack: Stack, api: Gateway, new_user: NewUser, receiver: Receiver
) -> None:
    made = subscribe(api, receiver.url)
    rotated = api.post(f"/v1/subscriptions/{made['id']}/rotate", None).json
    assert rotated["secret"] != made["secret"]
    user = new_user()
    tell(api, user)
    deliver()
    for secret in (made["secret"], rotated["secret"]):
        Webhook(secret).verify(receiver.messages[-1].body, receiver.messages[-1].headers)
    stack.cluster.psql("UPDATE pmp.subscription SET previous_until = now()")
    tell(api, user)
    deliver()
    Webhook(rotated["secret"]).verify(receiver.messages[-1].body, receiver.messages[-1].headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(receiver.messages[-1].body, receiver.messages[-1].headers)


def test_only_events_and_choices_that_were_asked_for(api: Gateway, new_user: NewUser, receiver: Receiver) -> None:
    subscribe(api, receiver.url, consents=["sms_notifications"])
    user = new_user()
    tell(api, user)
    choices = [{"id": "email_notifications", "enabled": False}, {"id": "sms_notifications", "enabled": True}]
    both = api.post(
        "/v1/events", {"user": {"id": user}, "consents": choices, "context": {"url": "https://shop.example.com/"}}
    ).json
    deliver()
    (event,) = receiver.events
    assert event["id"] == both["id"]
    assert [choice["id"] for choice in event["data"]["consents"]] == ["sms_notifications"]
    assert [choice["id"] for choice in event["data"]["state"]] == ["sms_notifications"]
    assert "context" not in event["data"]


@pytest.mark.usefixtures("long_pauses")
def test_failed_message_comes_again_as_it_was(
    stack: Stack, api: Gateway, new_user: NewUser, receiver: Receiver
) -> None:
    made = subscribe(api, receiver.url)
    user = new_user()
    first = tell(api, user)
    receiver.behaviour = answering(500)
    deliver()
    second = tell(api, user, enabled=False)
    failing = shown(api, made)
    assert (failing["state"], failing["lanes"]["prompt"]["failures"]) == ("failing", 1)
    assert failing["lanes"]["prompt"]["last_error"] == "the receiver answered 500"
    receiver.behaviour = None
    deliver()
    assert receiver.messages == []  # not before its next attempt
    due(stack)
    deliver()
    assert ids(receiver) == [first, second]
    assert receiver.messages[0].headers["webhook-id"] == receiver.refused[0].headers["webhook-id"]
    assert shown(api, made)["state"] == "active"


def test_pauses_double_up_to_an_hour() -> None:
    for failures in range(1, 40):
        longest = min(3600, 2 ** (failures - 1))
        assert all(longest / 2 <= dispatcher.pause(failures) <= longest for _ in range(10))


@pytest.mark.parametrize(("answer", "bounds"), [
    ((429, "180"), (180, 180)), ((503, "Fri, 31 Dec 2100 23:59:59 GMT"), (86_400, 86_400)), ((503, "soon"), (60, 120)),
    ((500, "180"), (60, 120)), ((429, "9" * 30), (86_400, 86_400)),
])  # fmt: skip
@pytest.mark.usefixtures("long_pauses")
def test_receiver_says_when_to_come_back(
    stack: Stack, api: Gateway, receiver: Receiver, answer: tuple[int, str], bounds: tuple[int, int]
) -> None:
    status, header = answer

    def busy(handler: Handler, message: Message) -> None:
        handler.send_response(status)
        handler.send_header("Retry-After", header)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    made = subscribe(api, receiver.url)
    receiver.behaviour = busy
    tell(api, api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"])
    deliver()
    # From the failure, which may be long ago on a busy machine; there was no second one.
    seconds = stack.cluster.psql(
        "SELECT extract(epoch FROM next_attempt_at - failing_since) FROM pmp.delivery_lane JOIN pmp.subscription AS s"
        f" USING (subscription_key) WHERE s.id = '{made['id']}' AND lane = 'prompt'"
    )
    # Both instants are of the server's clock, which goes on between them.
    assert bounds[0] <= float(seconds) <= bounds[1] + 1


def test_receiver_that_is_gone_is_told_nothing_more(
    stack: Stack, api: Gateway, new_user: NewUser, receiver: Receiver
) -> None:
    made = subscribe(api, receiver.url)
    receiver.behaviour = answering(410)
    tell(api, new_user())
    deliver()
    document = shown(api, made)
    assert (document["enabled"], document["state"], document["stopped"]) == (False, "stopped", "gone")
    due(stack)
    deliver()
    assert len(receiver.refused) == 1
    # What it missed waits for it.
    receiver.behaviour = None
    assert change(api, made, enabled=True)["state"] == "active"
    deliver()
    assert len(receiver.events) == 1


def test_receiver_that_fails_for_five_days_is_stopped(
    stack: Stack, api: Gateway, new_user: NewUser, receiver: Receiver
) -> None:
    made = subscribe(api, receiver.url)
    receiver.behaviour = answering(400)
    tell(api, new_user())
    deliver()
    stack.cluster.psql("UPDATE pmp.delivery_lane SET failing_since = now() - interval '121 hours' WHERE failures > 0")
    due(stack)
    deliver()
    document = shown(api, made)
    assert (document["state"], document["stopped"]) == ("stopped", "failed")


def test_redirect_is_not_followed(api: Gateway, new_user: NewUser, receiver: Receiver) -> None:
    inner = Receiver()

    def redirect(handler: Handler, message: Message) -> None:
        handler.send_response(307)
        handler.send_header("Location", inner.url)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    receiver.behaviour = redirect
    made = subscribe(api, receiver.url)
    tell(api, new_user())
    deliver()
    inner.close()
    assert inner.messages == []
    assert shown(api, made)["lanes"]["prompt"]["last_error"] == "the receiver answered 307"


def test_slow_receivers_hold_nobody_up(
    api: Gateway, new_user: NewUser, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(posting, "TOTAL_SECONDS", 30.0)
    others = threading.Event()

    def waiting(handler: Handler, message: Message) -> int:
        # A message that had to wait for this answer would not come in time.
        return 204 if others.wait(20) else 500

    def quick(handler: Handler, message: Message) -> int:
        others.set()
        return 204

    receiver.behaviour = quick
    slow = [Receiver(waiting), Receiver(waiting)]
    subscriptions = [subscribe(api, one.url) for one in (*slow, receiver)]
    tell(api, new_user())
    deliver()
    for one in slow:
        one.close()
    for subscription in subscriptions:
        assert shown(api, subscription)["lanes"]["prompt"]["acknowledged_at"] is not None


def test_slow_receivers_end_in_time(api: Gateway, new_user: NewUser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posting, "TOTAL_SECONDS", 1.0)
    over, waited = threading.Event(), threading.Event()

    def silent(handler: Handler, message: Message) -> int:
        if not over.wait(20):
            waited.set()
        return 204

    def dribbling(handler: Handler, message: Message) -> None:
        handler.wfile.write(b"HTTP/1.1 204 No Content\r\nX-Slow: ")
        end = time.monotonic() + 20
        while not over.wait(0.05) and time.monotonic() < end:
            handler.wfile.write(b"x")
            handler.wfile.flush()
        handler.wfile.write(b"\r\n\r\n")

    slow = [Receiver(silent), Receiver(dribbling)]
    subscriptions = [subscribe(api, one.url) for one in slow]
    tell(api, new_user())
    deliver()
    assert not waited.is_set(), "20 s are far beyond the second that a receiver has"
    over.set()
    for one in slow:
        one.close()
    for subscription in subscriptions:
        assert shown(api, subscription)["lanes"]["prompt"]["last_error"] == "no answer within 1 s"


@pytest.mark.parametrize("body", [b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"HTTP/1.1 200 OK\r\n\r\nabc"])
def test_hanging_body_of_a_success_is_a_success(
    api: Gateway, new_user: NewUser, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(posting, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(posting, "TOTAL_SECONDS", 30.0)
    over, waited = threading.Event(), threading.Event()

    def hanging(handler: Handler, message: Message) -> None:
        handler.wfile.write(body)
        handler.wfile.flush()
        if not over.wait(20):
            waited.set()

    receiver.behaviour = hanging
    made = subscribe(api, receiver.url)
    tell(api, new_user())
    deliver()
    assert not waited.is_set(), "the body is waited for"
    over.set()
    assert shown(api, made)["lanes"]["prompt"]["acknowledged_at"] is not None


def test_large_answers_are_not_read(api: Gateway, new_user: NewUser, receiver: Receiver) -> None:
    sent = 0

    def large(handler: Handler, message: Message) -> None:
        nonlocal sent
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        try:
            while sent < 1_000_000_000:
                sent += handler.wfile.write(b"x" * 100_000)
        except OSError:
            pass

    receiver.behaviour = large
    made = subscribe(api, receiver.url)
    tell(api, new_user())
    deliver()
    assert shown(api, made)["state"] == "active"
    assert sent < 50_000_000


def test_replay_tells_again_under_the_same_ids(api: Gateway, new_user: NewUser, receiver: Receiver) -> None:
    made = subscribe(api, receiver.url)
    user = new_user()
    resume = api.get("/v1/events?limit=100").json
    while resume["next"]:
        resume = api.get(f"/v1/events?limit=100&cursor={resume['next']}").json
    told = [tell(api, user, enabled=bool(number % 2)) for number in range(3)]
    deliver()
    assert ids(receiver) == told
    answer = api.post(f"/v1/subscriptions/{made['id']}/replay", {"from": resume["resume"]})
    assert answer.status == 200, answer.content
    deliver()
    assert ids(receiver) == told * 2
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 2
    # Forward: what a receiver cannot take can be left out.
    change(api, made, enabled=False)
    left = tell(api, user)
    api.post(f"/v1/subscriptions/{made['id']}/replay", {"from": "now"})
    change(api, made, enabled=True)
    last = tell(api, user)
    deliver()
    assert left not in ids(receiver)
    assert ids(receiver)[-1] == last

    page = api.get(f"/v1/users/{user}/deliveries").json
    acknowledged = {item["event"]: len(item["deliveries"]) for item in page["items"]}
    assert acknowledged == {**dict.fromkeys(told, 2), left: 0, last: 1}


def test_ledger_says_who_was_told_and_when(api: Gateway, new_user: NewUser, receiver: Receiver) -> None:
    mail = subscribe(api, receiver.url)
    text = subscribe(api, f"{receiver.url}?sms", consents=["sms_notifications"])
    user, other = new_user(), new_user()
    first = tell(api, user)
    tell(api, other)
    before = api.get(f"/v1/users/{user}/deliveries").json
    assert before["items"][0]["deliveries"] == []
    deliver()
    second = tell(api, user, consent="sms_notifications")
    deliver()
    page = api.get(f"/v1/users/{user}/deliveries").json
    told = [(item["event"], [one["subscription"] for one in item["deliveries"]]) for item in page["items"]]
    assert told[0] == (first, [mail["id"]])
    assert (told[1][0], sorted(told[1][1])) == (second, sorted([mail["id"], text["id"]]))
    assert page["items"][0]["deliveries"][0]["acknowledged_at"] > page["items"][0]["received_at"]
    one = api.get(f"/v1/users/{user}/deliveries?limit=1").json
    assert one["items"] == page["items"][:1]
    assert api.get(f"/v1/users/{user}/deliveries?limit=1&cursor={one['next']}").json["items"] == page["items"][1:]
    # A deleted subscription was told nevertheless.
    assert api.delete(f"/v1/subscriptions/{mail['id']}").status == 204
    assert api.get(f"/v1/subscriptions/{mail['id']}").status == 404
    assert api.get(f"/v1/users/{user}/deliveries").json == page
    assert api.get(f"/v1/users/{uuid.uuid4()}/deliveries").status == 404


def test_erasure_is_told_and_leaves_the_ledger(api: Gateway, new_user: NewUser, receiver: Receiver) -> None:
    made = subscribe(api, receiver.url)
    user = new_user()
    address = api.get(f"/v1/users/{user}").json["email"]
    tell(api, user)
    receiver.behaviour = answering(500)
    deliver()
    assert api.delete(f"/v1/users/{user}").status == 200
    receiver.behaviour = None
    change(api, made, enabled=True)
    deliver()
    by_type = {event["type"]: event for event in receiver.events}
    assert by_type["pmp.user.erased"]["data"] == {
        "user": {"id": user},
        "erased_at": api.get(f"/v1/users/{user}/deliveries").json["erasure"]["erased_at"],
    }
    assert by_type["pmp.event.recorded"]["data"]["state"] is None
    assert not any(address.encode() in message.body for message in receiver.messages)
    page = api.get(f"/v1/users/{user}/deliveries").json
    assert [one["subscription"] for one in page["erasure"]["deliveries"]] == [made["id"]]
    assert len(page["items"][0]["deliveries"]) == 1


def test_end_of_an_import_is_told(stack: Stack, api: Gateway, receiver: Receiver) -> None:
    subscribe(api, receiver.url)
    job = api.post("/v1/imports", {}).json["id"]
    trial = api.post("/v1/imports", {"dry_run": True}).json["id"]
    for one in (job, trial):
        assert api.delete(f"/v1/imports/{one}").status == 200
    deliver()
    ended = [event for event in receiver.events if event["type"] == "pmp.import.ended"]
    assert [event["data"] for event in ended] == [{"id": job, "state": "cancelled"}]


def test_chain_goes_on_while_anybody_listens(stack: Stack, api: Gateway, new_user: NewUser, receiver: Receiver) -> None:
    def messages() -> list[dict[str, Any]]:
        taken = [json.loads(body) for body in stack.store.invocations]
        stack.store.invocations.clear()
        return taken

    def invoke(body: dict[str, Any]) -> None:
        record = {"body": json.dumps(body), "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:pmp-local-deliveries"}
        handler({"Records": [record]}, Context())

    made = subscribe(api, receiver.url)
    subscribe(api, f"{receiver.url}/2")
    (first,) = messages()  # one chain, however many subscribe
    tell(api, new_user())
    invoke(first)
    assert len(receiver.messages) == 2
    (second,) = messages()
    assert second == {**first, "link": 1}
    invoke(first)  # it came twice
    handler({"task": "deliveries"}, Context())  # the chain is alive
    assert messages() == []
    # It broke: the schedule begins another, and the old one ends when it comes back.
    stack.cluster.psql("UPDATE pmp.delivery_chain SET until = now()")
    handler({"task": "deliveries"}, Context())
    (other,) = messages()
    assert other["chain"] != first["chain"]
    invoke(second)
    assert messages() == []
    stack.cluster.psql("UPDATE pmp.subscription SET is_enabled = false")
    invoke(other)
    handler({"task": "deliveries"}, Context())
    assert messages() == []
    change(api, made, enabled=True)
    assert len(messages()) == 1


@pytest.mark.parametrize(("body", "pointer"), [
    ({}, "/url"), ({"url": "http://example.com"}, "/url"), ({"url": "https://10.0.0.1/"}, "/url"),
    ({"url": "https://[::1]/"}, "/url"), ({"url": "https://[fd00:ec2::254]/"}, "/url"),
    ({"url": "https://2130706433/"}, "/url"), ({"url": "https://0x7f.1/"}, "/url"),
    ({"url": "https://hooks.example.com:8443/"}, "/url"), ({"url": "https://a@example.com/"}, "/url"),
    ({"url": "https://example.com\\@localhost/"}, "/url"), ({"url": "https://example.com/#x"}, "/url"),
    ({"url": "https://exämple.com/"}, "/url"), ({"url": "https://intranet/"}, "/url"),
    ({"url": "https://example.com:99999/"}, "/url"), ({"url": "https://example.com/\n"}, "/url"),
    ({"url": "https://example.com", "consents": []}, "/consents"),
    ({"url": "https://example.com", "consents": ["unheard_of"]}, "/consents"),
    ({"url": "https://example.com", "secret": "mine"}, "/secret"),
])  # fmt: skip
def test_bad_subscriptions_are_refused(api: Gateway, body: dict[str, Any], pointer: str) -> None:
    answer = api.post("/v1/subscriptions", body)
    assert answer.status == 422, answer.content
    assert answer.json["errors"][0]["pointer"] == pointer
    if pointer == "/url" and body:
        made = subscribe(api, "https://example.com/hooks", enabled=False)
        assert api.request("PATCH", f"/v1/subscriptions/{made['id']}", body).status == 422


def test_subscriptions_belong_to_administrators(api: Gateway, new_user: NewUser) -> None:
    made = subscribe(api, "https://example.com/hooks", enabled=False)
    one = f"/v1/subscriptions/{made['id']}"
    for method, target in [
        ("GET", "/v1/subscriptions"), ("POST", "/v1/subscriptions"), ("GET", one), ("PATCH", one), ("DELETE", one),
        ("POST", f"{one}/rotate"), ("POST", f"{one}/replay"), ("GET", f"/v1/users/{new_user()}/deliveries"),
    ]:  # fmt: skip
        headers = {"Authorization": f"Bearer {token('pmp/read pmp/write pmp/check')}"}
        assert api.request(method, target, None, **headers).status == 403, (method, target)
    assert api.post(f"{one}/replay", {"from": "yesterday"}).status == 422
    assert api.post(f"/v1/subscriptions/{uuid.uuid4()}/replay", {"from": "now"}).status == 404
    assert api.post(f"/v1/subscriptions/{uuid.uuid4()}/rotate", None).status == 404
    assert api.request("PATCH", one, {"enabled": True}, **{"If-Match": '"other"'}).status == 412
    assert api.request("DELETE", one, None, **{"If-Match": '"other"'}).status == 412


def test_there_are_a_hundred_at_most(stack: Stack, api: Gateway) -> None:
    stack.cluster.psql(
        "INSERT INTO pmp.subscription (id, url, description, client, is_enabled)"
        " SELECT gen_random_uuid(), 'https://example.com', '', 'full', false FROM generate_series(1, 100)"
    )
    answer = api.post("/v1/subscriptions", {"url": "https://example.com/hooks"})
    assert (answer.status, answer.json["type"]) == (409, "urn:pmp:problem:too-many")
