"""Double opt-in, and unsubscription by one click (RFC 8058)."""

import email.policy
import json
import re
import uuid
from collections.abc import Callable
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import pytest
from pmp import housekeeping, person_tokens

from checks.gateway import Answer, Context, Gateway, invoke
from checks.stack import Stack
from tests.integration.api.test_contract import EMAIL, SMS, choose
from tests.integration.api.test_me import DAY, Mine, ask, consents, mine

FORM = "application/x-www-form-urlencoded"
ONE_CLICK = b"List-Unsubscribe=One-Click"


def reason(api: Gateway, user: str, consent: str) -> str:
    checked = api.post("/v1/check", {"checks": [{"user": {"id": user}, "consent": consent}]}).json["results"][0]
    assert checked["allowed"] == (checked["reason"] == "given")
    found: str = checked["reason"]
    return found


# -- double opt-in -----------------------------------------------------------------------------------------------------


def test_a_grant_counts_once_it_is_confirmed(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    context = {"channel": "web", "form": "newsletter-2", "ip": "192.0.2.7"}
    me = mine(Gateway(client="shop"), user, "confirm", consents=[SMS], context=context)
    assert reason(api, user, SMS) == "pending"
    assert api.get(f"/v1/users/{user}").json["consents"] == []
    assert api.get(f"/v1/users/{user}/events").json["items"] == []
    shown = consents(mine(api, user))
    assert (shown[SMS]["enabled"], shown[SMS]["pending"], shown[EMAIL]["pending"]) == (False, True, False)
    confirmed = me.request("POST", "/v1/me/confirm")
    assert confirmed.status == 200, confirmed.content
    event = confirmed.json["event"]
    assert event["source"] == "shop"
    assert event["context"].items() >= (context | {"actor": "user", "purpose": "confirm"}).items()
    assert event["context"]["asked_at"] < event["context"]["confirmed_at"] == confirmed.json["confirmed_at"]
    assert reason(api, user, SMS) == "given"
    assert not consents(mine(api, user))[SMS]["pending"]
    assert me.request("POST", "/v1/me/confirm").json == confirmed.json
    assert api.get(f"/v1/users/{user}/events").json["items"] == [event]


def test_a_denial_since_the_question_wins(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    me = mine(api, user, "confirm", consents=[SMS, EMAIL])
    choose(api, user, {SMS: False})
    assert (reason(api, user, SMS), reason(api, user, EMAIL)) == ("denied", "pending")
    confirmed = me.request("POST", "/v1/me/confirm").json
    assert confirmed["denied"] == [SMS]
    assert [choice["id"] for choice in confirmed["event"]["consents"]] == [EMAIL]
    assert (reason(api, user, SMS), reason(api, user, EMAIL)) == ("denied", "given")
    assert me.request("POST", "/v1/me/confirm").json == confirmed
    other = mine(api, user, "confirm", consents=[SMS])
    assert reason(api, user, SMS) == "pending"
    choose(api, user, {SMS: False})
    assert other.request("POST", "/v1/me/confirm").json["event"] is None
    assert reason(api, user, SMS) == "denied"


def test_a_consent_retired_since_the_question_is_not_granted(api: Gateway, new_user: Callable[[], str]) -> None:
    user, consent = new_user(), f"c{uuid.uuid4().hex[:12]}"
    api.put(f"/v1/consents/{consent}", {"description": "x", "channel": "web"})
    me = mine(api, user, "confirm", consents=[consent, SMS])
    assert api.delete(f"/v1/consents/{consent}").status == 200
    confirmed = me.request("POST", "/v1/me/confirm").json
    assert (confirmed["denied"], len(confirmed["event"]["consents"])) == ([consent], 1)
    assert consent not in consents(mine(api, user))


def test_many_confirmations_make_one_event(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    me = mine(api, user, "confirm", consents=[SMS])
    answers = [me.request("POST", "/v1/me/confirm").content for _ in range(3)]
    assert len(set(answers)) == 1
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 1


def test_the_newest_ten_requests_of_a_user_are_kept(api: Gateway, new_user: Callable[[], str], stack: Stack) -> None:
    user = new_user()
    asked = [mine(api, user, "confirm", consents=[SMS]) for _ in range(11)]
    ended = asked[0].request("POST", "/v1/me/confirm")
    assert (ended.status, ended.json["type"]) == (410, "urn:pmp:problem:confirmation-ended")
    assert asked[1].request("POST", "/v1/me/confirm").status == 200
    count = f"SELECT count(*) FROM pmp.confirmation JOIN pmp.subject USING (subject_key) WHERE subject.id = '{user}'"
    assert stack.cluster.psql(count).strip() == "10"
    stack.cluster.psql(
        "UPDATE pmp.confirmation SET expires_at = now() WHERE subject_key ="
        f" (SELECT subject_key FROM pmp.subject WHERE id = '{user}')"
    )
    from pmp import database

    housekeeping.run(database.verified(), Context(900))
    assert stack.cluster.psql(count).strip() == "0"


def test_an_erasure_takes_what_was_asked_with_it(api: Gateway, new_user: Callable[[], str], stack: Stack) -> None:
    user = new_user()
    me = mine(api, user, "confirm", consents=[SMS], context={"ip": "192.0.2.77"})
    assert api.delete(f"/v1/users/{user}").status == 200
    left = stack.cluster.psql("SELECT count(*) FROM pmp.confirmation WHERE context ->> 'ip' = '192.0.2.77'")
    assert left.strip() == "0"
    assert me.request("POST", "/v1/me/confirm").status == 410
    assert api.get(f"/v1/users/{user}").status == 410


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"purpose": "confirm"}, "/consents"),
        ({"purpose": "confirm", "consents": [SMS], "expires_in": 7 * DAY + 1}, "/expires_in"),
        ({"purpose": "confirm", "consents": ["nothing"]}, "/consents/0"),
        ({"purpose": "confirm", "consents": [SMS], "context": {"ip": "x"}}, "/context/ip"),
        ({"purpose": "preferences", "context": {"form": "x"}}, "/context"),
        ({"purpose": "unsubscribe"}, "/consents"),
        ({"purpose": "unsubscribe", "consents": [SMS], "expires_in": 60 * DAY - 1}, "/expires_in"),
        ({"purpose": "unsubscribe", "consents": [f"c{index:062}" for index in range(20)]}, "/consents"),
    ],
)
def test_a_request_beyond_its_bounds_is_refused(
    api: Gateway, new_user: Callable[[], str], more: dict[str, Any], pointer: str
) -> None:
    answer = api.post("/v1/tokens", {"user": {"id": new_user()}, **more})
    assert (answer.status, answer.json["errors"][0]["pointer"]) == (422, pointer)


# -- one click ---------------------------------------------------------------------------------------------------------


def click(url: str, body: bytes = ONE_CLICK, media: str = FORM) -> Answer:
    """What a mail provider sends: no token, no cookie."""
    path = re.sub(r"^https://[^/]+", "", url)
    return invoke("POST", path, {"Content-Type": media, "User-Agent": "Mail"}, body)


def link(api: Gateway, user: str, *names: str) -> str:
    answer = ask(api, user, "unsubscribe", consents=list(names))
    assert answer.status == 201, answer.content
    return f"/v1/unsubscribe/{answer.json['token']}"


def test_the_header_of_a_real_mail_unsubscribes(
    api: Gateway, new_user: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pmp.configuration import configuration

    monkeypatch.setenv("PMP_API_URL", "https://api.example.com")
    configuration.cache_clear()
    user = new_user()
    choose(api, user, {SMS: True, EMAIL: True})
    mail = EmailMessage(policy=email.policy.SMTP.clone(max_line_length=998))
    mail["Subject"] = "News"
    for name, value in ask(api, user, "unsubscribe", consents=[EMAIL]).json["headers"].items():
        mail[name] = value
    mail.set_content("Hello")
    sent = bytes(mail)
    line = next(line for line in sent.split(b"\r\n") if line.startswith(b"List-Unsubscribe:"))
    assert line.startswith(b"List-Unsubscribe: <https://api.example.com/v1/unsubscribe/")
    received = BytesParser(policy=email.policy.default).parsebytes(sent)
    assert received["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    url = received["List-Unsubscribe"].strip("<>")
    first = click(url, received["List-Unsubscribe-Post"].encode())
    assert (first.status, "Location" in first.headers, "Set-Cookie" in first.headers) == (200, False, False)
    assert api.get(f"/v1/users/{user}").json["consents"] == [
        {"id": EMAIL, "enabled": False}, {"id": SMS, "enabled": True},
    ]  # fmt: skip
    events = api.get(f"/v1/users/{user}/events").json["items"]
    assert events[-1]["context"] == {"actor": "user", "purpose": "unsubscribe"}
    assert click(url).status == 200
    assert api.get(f"/v1/users/{user}/events").json["items"] == events


def test_a_multipart_form_unsubscribes_too(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    body = (
        b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n'
        b'--x\r\nContent-Disposition: form-data; name="more"\r\n\r\n1\r\n--x--\r\n'
    )
    assert click(link(api, user, SMS), body, "multipart/form-data; boundary=x").status == 200
    assert reason(api, user, SMS) == "denied"


@pytest.mark.parametrize(
    ("body", "media", "status"),
    [
        (b"", FORM, 422),
        (b"List-Unsubscribe=Two-Clicks", FORM, 422),
        (b"list-unsubscribe=One-Click", FORM, 422),
        (b"\xff=\xfe", FORM, 400),
        (b"&".join([b"a=1"] * 60), FORM, 400),
        (b"no parts", "multipart/form-data; boundary=x", 400),
        (b"no parts", "multipart/form-data", 400),
        (json.dumps({"List-Unsubscribe": "One-Click"}).encode(), "application/json", 415),
    ],
)
def test_another_body_changes_nothing(
    api: Gateway, new_user: Callable[[], str], body: bytes, media: str, status: int
) -> None:
    user = new_user()
    assert click(link(api, user, SMS), body, media).status == status
    assert api.get(f"/v1/users/{user}").json["consents"] == []


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_scanner_that_follows_the_link_changes_nothing(
    api: Gateway, new_user: Callable[[], str], method: str
) -> None:
    user = new_user()
    choose(api, user, {SMS: True})
    page = invoke(method, link(api, user, SMS), {}, None)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    if method == "GET":
        text = page.content.decode()
        assert "Notifications by text message" in text
        assert '<form method="post">' in text
        assert user not in text
    assert reason(api, user, SMS) == "given"


def test_descriptions_cannot_add_markup_to_the_page(api: Gateway, new_user: Callable[[], str]) -> None:
    consent = f"c{uuid.uuid4().hex[:12]}"
    api.put(f"/v1/consents/{consent}", {"description": "<script>alert(1)</script>", "channel": "web"})
    page = invoke("GET", link(api, new_user(), consent), {}, None).content
    assert b"<script" not in page
    assert b"&lt;script&gt;" in page


def test_a_link_that_cannot_be_used_says_so(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    path = link(api, user, SMS)
    cut = path[:-3]
    other = f"/v1/unsubscribe/{ask(api, user).json['token']}"
    for wrong in (cut, other, "/v1/unsubscribe/" + "x" * 90):
        assert (invoke("GET", wrong, {}, None).status, click(wrong).status) == (404, 404)
    assert api.delete(f"/v1/users/{user}").status == 200
    assert (invoke("GET", path, {}, None).status, click(path).status) == (410, 410)
    assert api.get(f"/v1/users/{user}").status == 410


def test_a_link_to_a_consent_that_is_gone_is_answered(api: Gateway, new_user: Callable[[], str], stack: Stack) -> None:
    user = new_user()
    person = person_tokens.Person(user, "unsubscribe", "shop", 2**31, ("no_longer_there",))
    path = f"/v1/unsubscribe/{person_tokens.make(person)}"
    assert (invoke("GET", path, {}, None).status, click(path).status) == (200, 200)
    assert api.get(f"/v1/users/{user}/events").json["items"] == []


def test_a_rotation_of_the_key_keeps_links(
    api: Gateway, new_user: Callable[[], str], stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    from checks.object_store import TOKEN_KEYS_ARN

    user = new_user()
    path = link(api, user, SMS)
    known: Any = stack.store.secrets[TOKEN_KEYS_ARN]
    following = [{"id": number, "key": bytes([number] * 32).hex(), "made_at": ""} for number in (3, 2)]
    monkeypatch.setitem(stack.store.secrets, TOKEN_KEYS_ARN, {"keys": [following[1], *known["keys"]]})
    person_tokens.forget_keys()
    assert click(path).status == 200
    # The key before the last one is not accepted any more.
    monkeypatch.setitem(stack.store.secrets, TOKEN_KEYS_ARN, {"keys": [*following, *known["keys"]]})
    person_tokens.forget_keys()
    assert click(path).status == 404


# -- what is written down ----------------------------------------------------------------------------------------------


def test_tokens_and_addresses_are_not_logged(
    api: Gateway, new_user: Callable[[], str], capsys: pytest.CaptureFixture[str]
) -> None:
    user = new_user()
    path = link(api, user, SMS)
    unsubscribing, own = path.rpartition("/")[2], ask(api, user).json["token"]
    me = Mine(own)
    for target in (path, f"{path}/", f"{path}x", f"/V1/unsubscribe/{unsubscribing}", f"/v1/me/{own}"):
        invoke("GET", target, {}, None)
        click(target)
    me.get("/v1/me")
    me.get("/v1/me?limit=1")
    Mine(own[:-1]).get("/v1/me")
    printed = capsys.readouterr().out
    assert unsubscribing[:60] not in printed
    assert own[:60] not in printed
    assert "@example.com" not in printed


def test_many_clicks_make_one_event(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    path = link(api, user, SMS)
    assert {click(path).status for _ in range(3)} == {200}
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 1
