"""The doors of the laptop's APIs: which request goes where, and what they change in it."""

import asyncio
import json
from typing import Any

import pytest

from local.instance import Instance
from local.ministack import __main__ as launcher
from local.ministack.doors import Doors
from local.ministack.requests import Receive, Scope, Send

URL = "https://api.local.pmp.localhost:24500"
DOCUMENT = json.dumps({"servers": [{"url": URL}], "paths": {"/v1/users": {}}}).encode()


class Application:
    """Stands in for MiniStack: remembers the scope, and answers with a document in two parts."""

    def __init__(self, body: bytes = DOCUMENT) -> None:
        self.scope: Scope = {}
        self.body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert (await receive())["type"] == "http.request"
        self.scope = scope
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(DOCUMENT)).encode())]
        headers.append((b"Strict-Transport-Security", b"max-age=31536000"))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body[:20], "more_body": True})
        await send({"type": "http.response.body", "body": self.body[20:]})


def _ask(application: Application, port: int, path: str) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    doors = Doors(application, {24503: "local", 24504: "dev"}, {"local": URL}.get)
    scope: Scope = {
        "type": "http",
        "path": path,
        "server": ("127.0.0.1", port),
        "headers": [(b"Host", b"localhost:24503"), (b"accept-encoding", b"gzip"), (b"x-other", b"1")],
    }
    asyncio.run(doors(scope, receive, send))
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], dict(sent[0]["headers"]), body


def test_a_door_leads_to_the_custom_domain() -> None:
    application = Application()
    status, answered, body = _ask(application, 24503, "/v1/users")
    assert (status, body) == (200, DOCUMENT)
    assert b"Strict-Transport-Security" not in answered, "it would hold for every port of localhost"
    headers = application.scope["headers"]
    assert [value for name, value in headers if name.lower() == b"host"] == [b"api.local.pmp.localhost:24500"]
    assert (b"accept-encoding", b"gzip") in headers
    assert (b"x-other", b"1") in headers


def test_the_document_names_the_door_as_its_server() -> None:
    application = Application()
    _, headers, body = _ask(application, 24503, "/v1/openapi.json")
    assert json.loads(body)["servers"] == [{"url": "https://localhost:24503"}]
    assert int(headers[b"content-length"]) == len(body)
    assert b"accept-encoding" not in dict(application.scope["headers"])


def test_a_headers_only_answer_names_no_wrong_length() -> None:
    _, headers, body = _ask(Application(b""), 24503, "/v1/openapi.json")
    assert body == b""
    assert b"content-length" not in headers


def test_another_port_is_none_of_its_business() -> None:
    application = Application()
    _, _, body = _ask(application, 24500, "/v1/openapi.json")
    assert body == DOCUMENT
    assert (b"Host", b"localhost:24503") in application.scope["headers"]


def test_an_environment_that_is_not_deployed_is_said_so() -> None:
    application = Application()
    status, headers, body = _ask(application, 24504, "/v1/users")
    assert status == 503
    assert headers[b"content-type"] == b"application/problem+json"
    assert "environment dev is not deployed: 'make up' deploys local" in json.loads(body)["detail"]
    assert application.scope == {}


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_door_listens_on_every_address_of_localhost(host: str) -> None:
    addresses = launcher.addresses(24500, Instance("local", 24500).doors)
    if host == "[::1]" and not any(one.startswith("[") for one in addresses):
        pytest.skip("this machine has no IPv6 loopback")
    assert f"{host}:24503" in addresses
    assert "[::1]:24500" not in addresses
