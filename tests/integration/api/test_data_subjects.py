"""The table of docs/operations.md: each right of a person is carried out by the requests that it names."""

import json
import re
import uuid
from typing import Any

import pytest

from checks.gateway import Answer, Gateway
from checks.stack import Stack
from ops.settings import ROOT
from tests.integration.api.test_contract import EMAIL, SMS
from tests.integration.api.test_me import Mine, mine
from tests.integration.api.test_signals import GPC

PAGE = (ROOT / "docs/operations.md").read_text()
SECTION = PAGE.partition("## Requests of data subjects\n")[2].partition("\n## ")[0]
REQUEST = re.compile(r"`((?:GET|POST|PATCH|DELETE) /v1/[^`]+)`")
ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def rows() -> dict[str, set[str]]:
    """Return the requests of each row of the table, by the right's name."""
    found: dict[str, set[str]] = {}
    for line in SECTION.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if len(cells) == 5 and re.match(r"\d", cells[1]):
            found[cells[0]] = set(REQUEST.findall(line))
    return found


class Recorder:
    """Sends requests and remembers them as the page writes them."""

    def __init__(self) -> None:
        self.sent: set[str] = set()

    def __call__(self, way: Gateway, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer: Answer = way.request(method, path, body)
        assert answer.status == status, answer.content
        self.sent.add(f"{method} {ID.sub('{id}', path)}")
        return answer.json


@pytest.fixture
def send() -> Recorder:
    return Recorder()


def require(right: str, send: Recorder) -> None:
    """Fail unless each request in the table's row was sent."""
    assert rows()[right], f"the table has no request in its row {right!r}"
    assert rows()[right] <= send.sent, f"{right}: the page names what this test does not send"


def register(send: Recorder, api: Gateway, **identifiers: Any) -> str:
    address = f"{uuid.uuid4().hex}@example.com"
    return str(send(api, "POST", "/v1/users", {"email": address, **identifiers}, 201)["id"])


def choose(
    send: Recorder, api: Gateway, user: str, *, enabled: bool, consents: tuple[str, ...] = (EMAIL, SMS), **more: Any
) -> Any:
    body = {"user": {"id": user}, "consents": [{"id": one, "enabled": enabled} for one in consents], **more}
    return send(api, "POST", "/v1/events", body, 201)


def allowed(api: Gateway, user: str, *consents: str) -> list[bool]:
    answer = api.post("/v1/check", {"checks": [{"user": {"id": user}, "consent": one} for one in consents]})
    return [result["allowed"] for result in answer.json["results"]]


def test_table_has_the_rights_that_are_carried_out_here() -> None:
    assert set(rows()) == {
        "withdrawal", "access", "rectification", "erasure",
        "restriction", "telling recipients", "portability", "objection",
    }  # fmt: skip


def test_withdrawal(api: Gateway, send: Recorder) -> None:
    user = register(send, api)
    choose(send, api, user, enabled=True)
    assert allowed(api, user, EMAIL, SMS) == [True, True]
    choose(send, api, user, enabled=False, consents=(EMAIL,))
    assert allowed(api, user, EMAIL, SMS) == [False, True]
    require("withdrawal", send)


@pytest.mark.parametrize("right", ["access", "portability"])
def test_access_and_portability(api: Gateway, send: Recorder, right: str) -> None:
    user = register(send, api, phone=f"+4477{uuid.uuid4().int % 10**8:08}")
    body = {
        "user": {"id": user},
        "consents": [{"id": EMAIL, "enabled": True}],
        "context": {"channel": "web", "url": "https://shop.example.com/checkout"},
    }
    event = send(api, "POST", "/v1/events", body, 201)
    for exported in (
        send(api, "GET", f"/v1/users/{user}/export"),
        send(mine(api, user), "GET", "/v1/me/export"),
    ):
        assert exported["user"]["email"]
        assert exported["user"]["phone"]
        assert [(one["id"], one["context"]["url"]) for one in exported["events"]] == [
            (event["id"], "https://shop.example.com/checkout")
        ]
        assert [one["id"] for one in exported["wordings"]] == [EMAIL]
    assert [one["event"] for one in send(api, "GET", f"/v1/users/{user}/deliveries")["items"]] == [event["id"]]
    require(right, send)


def test_rectification(api: Gateway, send: Recorder) -> None:
    user, duplicate = register(send, api), register(send, api)
    choose(send, api, user, enabled=True, consents=(EMAIL,))
    choose(send, api, duplicate, enabled=True, consents=(SMS,))
    address = f"{uuid.uuid4().hex}@example.org"
    assert send(api, "PATCH", f"/v1/users/{user}", {"email": address})["email"] == address
    send(api, "POST", f"/v1/users/{user}/merge", {"from": duplicate})
    choose(send, api, user, enabled=False, consents=(EMAIL,))
    assert allowed(api, duplicate, EMAIL, SMS) == [False, True]
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 3, "nothing was edited"
    require("rectification", send)


def test_erasure(api: Gateway, send: Recorder) -> None:
    user, other = register(send, api), register(send, api)
    choose(send, api, user, enabled=True)
    assert send(api, "DELETE", f"/v1/users/{user}")["remains"]
    own: Mine = mine(api, other, "erase")
    assert send(own, "DELETE", "/v1/me")["remains"]
    for one in (user, other):
        assert api.get(f"/v1/users/{one}").status == 410
    require("erasure", send)


def test_restriction(api: Gateway, send: Recorder, stack: Stack) -> None:
    """No check is answered yes, whatever the model. ``ops hold`` calls the function that is called here."""
    user, silent = register(send, api), f"c{uuid.uuid4().hex[:12]}"
    terms = {"description": "Fraud", "channel": "other", "model": "legitimate_interest"}
    send(api, "PUT", f"/v1/consents/{silent}", terms, 201)
    choose(send, api, user, enabled=True)
    assert allowed(api, user, EMAIL, SMS, silent) == [True, True, True]
    reason = {"metadata": [{"name": "reason", "value": "restriction"}]}
    choose(send, api, user, enabled=False, consents=(EMAIL, SMS, silent), context=reason)
    assert allowed(api, user, EMAIL, SMS, silent) == [False, False, False]
    shown = api.get(f"/v1/users/{user}/events").json["items"]
    assert shown[-1]["context"] == reason, "the history does not say that it was the person's choice"
    hold = json.loads(stack.cluster.psql(f"SELECT pmp.set_legal_hold('{user}', NULL, 'Article 18', 'test')"))
    assert hold["outcome"] == "set"
    stack.cluster.psql(f"SELECT pmp.lift_legal_hold('{hold['id']}', 'test')")
    require("restriction", send)


def test_telling_recipients(api: Gateway, send: Recorder) -> None:
    user = register(send, api)
    choose(send, api, user, enabled=True)
    api.delete(f"/v1/users/{user}")
    assert send(api, "GET", f"/v1/users/{user}/deliveries")["erasure"] is not None
    require("telling recipients", send)


def test_objection(api: Gateway, send: Recorder) -> None:
    user, by_person, by_browser = register(send, api), f"c{uuid.uuid4().hex[:12]}", f"c{uuid.uuid4().hex[:12]}"
    terms = {"description": "Offers", "channel": "email", "model": "opt_out"}
    send(api, "PUT", f"/v1/consents/{by_person}", terms, 201)
    send(api, "PUT", f"/v1/consents/{by_browser}", {**terms, "opt_out_signals": ["gpc"]}, 201)
    assert allowed(api, user, by_person, by_browser) == [True, True]
    choose(send, api, user, enabled=False, consents=(by_person,))
    send(api, "POST", "/v1/signals", {"user": {"id": user}, **GPC}, 201)
    send(api, "PUT", f"/v1/consents/{by_browser}", terms)  # the signals of other tests do not meet it
    assert allowed(api, user, by_person, by_browser) == [False, False]
    require("objection", send)


def test_finding_a_person(api: Gateway) -> None:
    """Before any of it: support finds whoever writes, and the proof of whoever was erased."""
    assert "`POST /v1/users/lookup`" in SECTION
    address = f"{uuid.uuid4().hex}@example.com"
    user = api.post("/v1/users", {"email": address}).json["id"]
    assert api.post("/v1/users/lookup", {"email": address}).json["user"]["id"] == user
    api.delete(f"/v1/users/{user}")
    found = api.post("/v1/users/lookup", {"email": address}).json
    assert (found["user"], len(found["erased"])) == (None, 1)
