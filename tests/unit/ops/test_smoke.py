"""The smoke test's people: marked, erased when it ends however it ends, and few events where events are real."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from ops import http, smoke
from ops.api import Api
from ops.errors import UserError
from ops.layers import Version
from ops.settings import ROOT

ANSWER = Callable[[str, str, Any], "tuple[int, Any] | None"]


@dataclass
class FakeApi:
    """Users by address, and events; ``broken`` answers first."""

    users: dict[str, str] = field(default_factory=dict)
    erased: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    broken: ANSWER = lambda _method, _path, _document: None

    def request(self, method: str, url: str, *, body: bytes | None = None, **_: object) -> http.Answer:
        parts = urlsplit(url)
        document = json.loads(body) if body and body.startswith(b"{") else None
        status, content = self.broken(method, parts.path, document) or self.answer(method, parts, document)
        return http.Answer(status, {}, json.dumps(content).encode())

    def answer(self, method: str, parts: Any, document: Any) -> tuple[int, Any]:  # noqa: PLR0911 - one an operation
        if (method, parts.path) == ("GET", "/v1/users"):
            [email] = parse_qs(parts.query)["email"]
            return 200, {"items": [{"id": self.users[email], "email": email}] if email in self.users else []}
        if (method, parts.path) == ("POST", "/v1/users"):
            if document["email"] in self.users:
                return 422, {"detail": "taken"}
            self.users[document["email"]] = f"user-{len(self.users) + len(self.erased)}"
            return 201, {"id": self.users[document["email"]], "email": document["email"], "consents": []}
        if (method, parts.path) == ("POST", "/v1/events"):
            self.events.append(document["user"]["id"])
            return 201, {}
        if (method, parts.path) == ("POST", "/v1/imports"):
            return 201, {"id": "import", "upload": {"method": "PUT", "url": "http://api/upload", "headers": {}}}
        if parts.path == "/upload":
            return 200, {}
        if parts.path == "/v1/imports/import":
            return 200, {"state": "succeeded", "accepted": 8, "skipped": 0, "rejected": 0}
        user = re.fullmatch("/v1/users/(.+)", parts.path)[1]  # type: ignore[index]
        if method == "DELETE":
            self.users = {email: one for email, one in self.users.items() if one != user}
            self.erased.append(user)
            return 200, {}
        return (200, {"consents": smoke.FOLDED}) if user in self.users.values() else (410, {})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    found = FakeApi()
    monkeypatch.setattr(http, "request", found.request)
    monkeypatch.setattr(smoke, "connect", lambda _environment: Api("http://api", "token"))
    monkeypatch.setattr(Version, "deployed", lambda _environment: Version("a" * 40, "b" * 64))
    for name in ("_release", "_ready", "_requires_token", "_vendors"):
        monkeypatch.setattr(smoke, name, lambda *_: "")
    return found


def test_people_are_marked_and_nobody_is_left(api: FakeApi) -> None:
    made: list[str] = []

    def note(method: str, path: str, document: Any) -> None:
        if (method, path) == ("POST", "/v1/users"):
            made.append(document["email"])

    api.broken = note
    smoke.smoke("prod", 8)
    assert api.users == {}
    assert made == smoke.addresses()[:5]
    assert all(re.fullmatch(r"pmp-smoke-test\+\d+@example\.com", email) for email in made)
    # Again, as after a retried job: the same addresses, and nobody in the way.
    smoke.smoke("prod", 8)
    assert made == smoke.addresses()[:5] * 2
    assert api.users == {}


@pytest.mark.parametrize("path", ["/v1/events", "/v1/imports/import", "/upload"])
def test_people_are_erased_after_a_failure_too(api: FakeApi, path: str) -> None:
    api.broken = lambda _method, asked, _document: (500, {"detail": "on purpose"}) if asked == path else None
    with pytest.raises(UserError, match="500"):
        smoke.smoke("prod", 8)
    assert api.erased
    assert api.users == {}


def test_what_a_killed_test_left_is_erased_by_the_next_one(api: FakeApi) -> None:
    api.users = {smoke.addresses()[0]: "left-1", smoke.addresses()[-1]: "left-2", "ada@example.com": "ada"}
    smoke.smoke("prod", 8)
    assert api.erased[:2] == ["left-1", "left-2"]
    assert api.users == {"ada@example.com": "ada"}


def test_the_first_failure_is_told_even_if_nobody_can_be_erased(api: FakeApi) -> None:
    def fail(method: str, path: str, _document: Any) -> tuple[int, Any] | None:
        return (500, {"detail": path}) if path == "/v1/events" or method == "DELETE" else None

    api.broken = fail
    with pytest.raises(UserError, match="POST http://api/v1/events answered 500"):
        smoke.smoke("prod", 8)


def test_prod_keeps_ten_events_of_a_test(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    *_, document = yaml.safe_load_all((ROOT / ".gitlab-ci.yml").read_text())
    [prod] = [one["inputs"] for one in document["include"] if one["inputs"]["environment"] == "prod"]
    uploaded: list[bytes] = []
    lines = smoke._lines

    def counted(users: list[str], events: int) -> Any:
        for line in lines(users, events):
            uploaded.append(line)
            yield line

    monkeypatch.setattr(smoke, "_lines", counted)
    smoke.smoke("prod", prod["smoke_events"])
    assert len(api.events) + len(uploaded) == 10
    # Each of the imported people has an event before the last one, so that there is something to fold.
    users = [json.loads(line)["user"]["id"] for line in uploaded]
    assert all(users.count(user) == 2 for user in users)


def test_too_few_events_are_refused() -> None:
    with pytest.raises(UserError, match="--events 3: give at least 4"):
        smoke.smoke("prod", 3)
