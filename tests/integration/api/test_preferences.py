"""The preference centre in a real browser: a user changes their own choices with a token of their own."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from checks import chromium
from checks.gateway import Gateway, served, token
from checks.stack import Stack
from checks.stack import stack as started
from local import demo
from ops.api import Api

READY = "document.getElementById('content')?.hidden === false"


@pytest.fixture(scope="module")
def url(stack: Stack) -> Iterator[str]:
    with served(stack.environment) as address:
        yield address


@pytest.fixture(scope="module")
def demo_url() -> Iterator[str]:
    """The API of a record of its own: the demo's consents and user have the names that other tests use."""
    with started() as running, served(running.environment) as address:
        yield address


@dataclass
class Person:
    """A user with a consent of their own, and tokens for both."""

    api: Gateway
    consent: str = field(default_factory=lambda: f"news_{uuid.uuid4().hex[:12]}")
    user: str = ""

    def __post_init__(self) -> None:
        body = {"description": "News <b>once</b> a week", "channel": "email", "translations": {"de": "Neuigkeiten"}}
        assert self.api.put(f"/v1/consents/{self.consent}", body).status == 201
        self.user = self.api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"]

    @property
    def choices(self) -> dict[str, bool]:
        consents = self.api.get(f"/v1/users/{self.user}").json["consents"]
        return {one["id"]: one["enabled"] for one in consents}

    def choose(self, *, enabled: bool) -> None:
        body = {"user": {"id": self.user}, "consents": [{"id": self.consent, "enabled": enabled}]}
        assert self.api.post("/v1/events", body).status == 201

    def token(self, purpose: str = "preferences", **more: Any) -> str:
        answer = self.api.post("/v1/tokens", {"user": {"id": self.user}, "purpose": purpose, **more})
        assert answer.status == 201, answer.content
        return str(answer.json["token"])


@pytest.fixture
def person(api: Gateway) -> Person:
    return Person(api)


def switch(person: Person) -> str:
    return f"document.getElementById('choice-{person.consent}')"


def open_page(page: chromium.Page, address: str) -> None:
    page.call("Page.navigate", url="about:blank")
    page.call("Page.navigate", url=address)


def test_a_person_changes_a_choice(url: str, person: Person) -> None:
    given = person.token()
    with chromium.page() as page:
        open_page(page, f"{url}/preferences#token={given}")
        page.wait(READY)
        assert page.evaluate(f"{switch(person)}.checked") is False
        assert page.evaluate(f"{switch(person)}.labels[0].innerText") == "News <b>once</b> a week"
        page.evaluate(f"{switch(person)}.focus(); {switch(person)}.click()")
        page.wait(f"{switch(person)}.checked && document.getElementById('status').innerText === 'Saved.'")
        page.wait("document.getElementById('history').innerText.includes('On: News <b>once</b> a week')")
        assert person.choices == {person.consent: True}
        assert page.evaluate("document.activeElement.id") == f"choice-{person.consent}", "the keyboard stays there"
        page.evaluate("document.getElementById('none').click()")
        page.wait(f"!{switch(person)}.checked")
        assert person.choices == {person.consent: False}
        # Neither the address bar nor any address that was asked has the token.
        assert page.evaluate("location.href") == f"{url}/preferences"
        asked = page.requested()
        assert f"{url}/v1/me" in asked
        assert not any(given in address.partition("#")[0] for address in asked)
        assert {address.split("/")[2] for address in asked if address.startswith("http")} == {url.split("/")[2]}
        # It is still there after a reload, and only in this tab.
        page.call("Page.reload")
        page.wait(READY)
        assert page.complaints() == []
    [event, *_] = person.api.get(f"/v1/users/{person.user}/events").json["items"]
    assert event["context"]["actor"] == "user"


def test_the_history_goes_on_and_can_be_downloaded(url: str, person: Person) -> None:
    for number in range(12):
        person.choose(enabled=number % 2 == 0)
    with chromium.page() as page:
        open_page(page, f"{url}/preferences#token={person.token()}")
        page.wait(READY)
        assert page.evaluate("document.querySelectorAll('#history li').length") == 10
        assert page.evaluate("document.querySelector('#history li').innerText").startswith("Off:"), "the newest"
        page.evaluate("document.getElementById('more').click()")
        page.wait("document.querySelectorAll('#history li').length === 12")
        assert page.evaluate("document.getElementById('more').hidden") is True
        # The file that the link would save.
        page.evaluate(
            "const made = URL.createObjectURL;"
            " URL.createObjectURL = (blob) => { window.saved = blob; return made.call(URL, blob); }; 0"
        )
        page.evaluate("document.getElementById('download').click()")
        page.wait("window.saved instanceof Blob")
        file = json.loads(page.evaluate("window.saved.text()"))
        assert (file["user"]["id"], len(file["events"])) == (person.user, 12)
        # A long export is a redirection to a file that the page's policy does not let it ask for.
        page.evaluate(
            "const asked = fetch; window.saved = null; window.fetch = (path, options) => path === '/v1/me/export'"
            " ? Promise.resolve({ ok: false, status: 0, type: 'opaqueredirect' }) : asked(path, options); 0"
        )
        page.evaluate("document.getElementById('download').click()")
        page.wait("window.saved instanceof Blob")
        assert len(json.loads(page.evaluate("window.saved.text()"))["events"]) == 12


def test_a_person_erases_themselves(url: str, person: Person) -> None:
    with chromium.page() as page:
        open_page(page, f"{url}/preferences#token={person.token()}")
        page.wait(READY)
        assert page.evaluate("document.getElementById('erase').hidden") is True, "this link may live for days"
        open_page(page, f"{url}/preferences#token={person.token()}&erase={person.token('erase')}")
        page.wait(READY)
        page.evaluate("document.getElementById('erase').click()")
        page.wait("document.getElementById('sure').open")
        assert page.violations() == []
        page.evaluate("document.querySelector('#sure button[value=no]').click()")
        assert person.api.get(f"/v1/users/{person.user}").status == 200
        page.evaluate("document.getElementById('erase').click()")
        page.evaluate("document.querySelector('#sure button[value=yes]').click()")
        page.wait("document.getElementById('notice').innerText === 'Your data has been erased.'")
        assert page.evaluate("sessionStorage.length") == 0
        assert page.violations() == []
    assert person.api.get(f"/v1/users/{person.user}").status == 410


@pytest.mark.parametrize(
    ("fragment", "notice"),
    [
        ("", "Open this page from the link that we sent you."),
        ("#token=forged", "This link has expired or is incomplete. Ask for a new one."),
    ],
)
def test_without_a_valid_token_the_page_says_what_to_do(url: str, fragment: str, notice: str) -> None:
    with chromium.page() as page:
        open_page(page, f"{url}/preferences{fragment}")
        page.wait(f"document.getElementById('notice')?.innerText === '{notice}'")
        assert page.evaluate(READY) is False
        assert page.violations() == []


def test_a_choice_that_is_not_recorded_is_not_shown_as_made(url: str, person: Person) -> None:
    with chromium.page() as page:
        open_page(page, f"{url}/preferences#token={person.token()}")
        page.wait(READY)
        page.call(
            "Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1
        )
        page.evaluate(f"{switch(person)}.click()")
        page.wait("document.getElementById('status').innerText.startsWith('Not saved.')")
        page.wait(f"!{switch(person)}.checked && !{switch(person)}.ariaBusy")


def test_a_token_for_some_consents_shows_only_these(url: str, person: Person) -> None:
    with chromium.page() as page:
        open_page(page, f"{url}/preferences#token={person.token(consents=[person.consent])}")
        page.wait(READY)
        assert page.evaluate("document.querySelectorAll('#choices li').length") == 1
        assert page.evaluate("document.getElementById('history').checkVisibility()") is False
        assert page.evaluate("document.getElementById('download').checkVisibility()") is False
        page.evaluate(f"{switch(person)}.click()")
        page.wait("document.getElementById('status').innerText === 'Saved.'")
    assert person.choices == {person.consent: True}


@pytest.mark.parametrize(
    ("languages", "title", "label"),
    [
        ("de-AT,en", "Ihre Einstellungen", "Neuigkeiten"),
        ("fr", "Vos préférences", "News <b>once</b> a week"),
        ("it,en-GB", "Your preferences", "News <b>once</b> a week"),
    ],
)
def test_the_page_speaks_the_browsers_language(
    url: str, person: Person, languages: str, title: str, label: str
) -> None:
    with chromium.page() as page:
        page.call("Network.setUserAgentOverride", userAgent="test", acceptLanguage=languages)
        open_page(page, f"{url}/preferences#token={person.token()}")
        page.wait(READY)
        assert page.evaluate("document.querySelector('h1').innerText") == title
        assert page.evaluate("document.title") == title
        assert page.evaluate(f"{switch(person)}.labels[0].innerText") == label
        assert "undefined" not in page.evaluate("document.body.innerText")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [320, 1280])
def test_the_demo_fits_the_screen_and_is_accessible(demo_url: str, width: int, dark: bool) -> None:
    api = Api(demo_url, token())
    user = demo.seed(api)
    assert demo.seed(api) == user, "a second time changes nothing"
    with chromium.page() as page:
        page.look(width, 844, dark=dark)
        open_page(page, demo.link(api, user))
        page.wait(READY)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.violations() == []
        assert page.complaints() == []


def test_the_page_allows_no_inline_code_and_no_other_host(api: Gateway) -> None:
    answer = api.get("/preferences")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert b"://" not in answer.content
    assert b"style=" not in answer.content
    assert api.get("/preferences/words.js").headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert api.get("/preferences/secrets.js").status == 404
