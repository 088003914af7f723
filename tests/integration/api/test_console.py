"""The team's console in a real browser, beside the running function: it reads, and nobody else can."""

import json
import threading
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from checks import chromium
from checks.gateway import Gateway, served, token
from checks.stack import Stack
from local.console.server import KEY_HEADER, SCOPES, Server, Source, figures
from ops.api import Api
from ops.http import Answer

LINES = [
    {"message": "request", "operation": "getUser", "status": 200, "milliseconds": 2.0},
    {"message": "request", "operation": "getUser", "status": 404, "milliseconds": 1.0},
    {"message": "request", "operation": "createEvent", "status": 503, "milliseconds": 9.0},
    {"message": "import ended", "lines": 3},
]


@pytest.fixture(scope="module")
def console(stack: Stack) -> Iterator[Server]:
    expired = [True]

    def connect() -> Api:
        # The first token has expired, as that of a console which has been open for more than an hour.
        seconds = -60 if expired.pop() else 3600
        expired.append(False)
        return Api(url, token(SCOPES, "console", seconds))

    with served(stack.environment) as url:
        server = Server(Source(connect, lambda: LINES), 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(console: Server, path: str, document: Any = None, **headers: str) -> tuple[int, Any]:
    """Send one request with the key, unless ``headers`` has another; ``_`` in a header's name stands for a hyphen."""
    given = {KEY_HEADER: console.key} | {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        f"http://127.0.0.1:{console.server_port}{path}", document and json.dumps(document).encode(), given
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_user_is_found_with_their_proof(console: Server, api: Gateway) -> None:
    email, consent = f"{uuid.uuid4().hex}@example.com", f"news_{uuid.uuid4().hex[:12]}"
    wording = f"News, by the wording {consent}"
    assert api.put(f"/v1/consents/{consent}", {"description": wording, "channel": "email"}).status == 201
    user = api.post("/v1/users", {"email": email}).json["id"]
    event = {
        "user": {"id": user},
        "consents": [{"id": consent, "enabled": True}],
        "context": {"url": "https://shop.example.com/checkout"},
    }
    withdrawn = api.post("/v1/events", event | {"consents": [{"id": consent, "enabled": False}]}).json["id"]
    made = api.post("/v1/events", event).json["id"]
    with chromium.page() as page:
        for width, dark in ((1280, False), (390, True)):
            page.look(width, 844, dark=dark)
            page.call("Page.navigate", url="about:blank")
            page.call("Page.navigate", url=console.address)
            page.wait("document.querySelectorAll('#catalogue tbody tr').length > 0")
            page.wait("document.querySelectorAll('#figures dd').length === 5")
            page.evaluate(f"document.getElementById('who').value = '{email}'")
            page.evaluate("document.querySelector('#find button').click()")
            page.wait("document.querySelectorAll('#user table').length === 2")
            text = page.evaluate("document.getElementById('user').innerText")
            assert 0 < text.index(made) < text.index(withdrawn), "the newest comes first"
            assert f"yes to {consent} v1: {wording}" in text
            assert "url: https://shop.example.com/checkout" in text
            assert "They agreed, and that counts." in text
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.violations() == []
        assert page.evaluate("location.hash") == "", "the key stays out of the history"
        assert page.complaints() == []
        assert not any(email in address for address in page.requested())


def test_a_user_can_be_found_by_id_and_may_be_unknown(console: Server, new_user: Any) -> None:
    user = new_user()
    assert ask(console, f"/v1/users/{user}")[1]["id"] == user
    assert ask(console, f"/v1/users/{uuid.uuid4()}")[0] == 404
    assert ask(console, "/find", {"email": f"{uuid.uuid4().hex}@example.com"})[1]["items"] == []


def test_rejected_lines_of_an_import_are_shown(console: Server, api: Gateway, stack: Stack) -> None:
    job = api.post("/v1/imports", {"format": "ndjson", "compression": "none"}).json["id"]
    stack.cluster.psql(f"UPDATE pmp.import_job SET rejects_key = 'rejects/{job}.ndjson' WHERE id = '{job}'")
    stack.store.put(f"rejects/{job}.ndjson", b'{"email": "lea@"}\n' * 60)
    status, shown = ask(console, f"/v1/imports/{job}/rejects")
    assert (status, shown["lines"]) == (200, ['{"email": "lea@"}'] * 50)
    assert job in {one["id"] for one in ask(console, "/v1/imports?limit=100")[1]["items"]}


def test_the_whole_catalogue_is_read_page_by_page() -> None:
    def answer(method: str, path: str, document: object = None) -> Answer:
        consent = {"version": 1, "description": "News", "channel": "email", "expires_after_days": None}
        pages = {
            "/v1/consents?limit=500": {"items": [consent | {"id": "first"}], "next": "b-2"},
            "/v1/consents?limit=500&cursor=b-2": {"items": [consent | {"id": "second"}], "next": None},
            "/v1/ready": {"checks": {"database": "ok"}},
        }
        return Answer(200, {}, json.dumps(pages.get(path, {"items": [], "next": None})).encode())

    source = Source(lambda: Api("", ""), list)
    source.ask = answer  # type: ignore[method-assign]
    server = Server(source, 0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with chromium.page() as page:
        page.call("Page.navigate", url=server.address)
        page.wait("document.querySelectorAll('#catalogue tbody tr').length === 2")
    server.shutdown()


def test_figures_are_counted_from_the_log() -> None:
    assert figures(LINES) == {
        "requests": 3,
        "refused": 1,
        "failed": 1,
        "median_ms": 2.0,
        "operations": {"getUser": 2, "createEvent": 1},
    }
    assert figures([])["median_ms"] is None


@pytest.mark.parametrize(
    ("path", "document", "headers", "status"),
    [
        ("/v1/consents", None, {"X_Console_Key": "guessed"}, 403),
        ("/v1/consents", None, {"Host": "attacker.example"}, 421),
        ("/", None, {"Host": "attacker.example"}, 421),
        ("/v1/exports", None, {}, 404),
        ("/v1/users/019a8f3e-6c1f-7b3a-9d52-4f6f0e1c2a7b/../../events", None, {}, 404),
        ("/v1/events", {"user": {"id": "x"}}, {}, 404),
        ("/v1/consents", {"description": "x"}, {}, 404),
        ("/find", {"name": "x"}, {}, 400),
        ("/find", ["x"], {}, 400),
    ],
)
def test_only_reading_with_the_key_is_answered(
    console: Server, path: str, document: Any, headers: dict[str, str], status: int
) -> None:
    assert ask(console, path, document, **headers)[0] == status


def test_no_answer_holds_the_token(console: Server) -> None:
    console.source.ask("GET", "/v1/consents")
    assert console.source._api is not None
    secret = console.source._api.token
    for path in ("/", "/console.js", "/page.css"):
        with urllib.request.urlopen(f"http://127.0.0.1:{console.server_port}{path}", timeout=10) as answer:
            assert secret not in answer.read().decode() + str(answer.headers)
