"""A door to each environment's API that needs no name: ``https://localhost:<port>``.

The API answers on its custom domain, a name under ``localhost``. curl and browsers map such names to loopback
(RFC 6761, section 6.3), but the resolvers of most programming languages ask DNS for them. A request that arrives on a
door's port goes on as one to the custom domain. Two things change on the way back: the OpenAPI document names the door
as its server, and there is no ``Strict-Transport-Security``, which browsers would apply to every port of ``localhost``.
Every ``Location`` and link of the API is a path.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ministack.services import ssm

from local.ministack.requests import Application, Receive, Scope, Send

_DOCUMENT_PATH = "/v1/openapi.json"


def api_url(environment: str) -> str | None:
    """Return the base URL that the service layer of an environment recorded; None if it is not deployed."""
    wanted = f"/pmp/{environment}/service/api_url"
    return next((str(one["Value"]) for (_, _, name), one in ssm._parameters.all_items() if name == wanted), None)


class Doors:
    """An ASGI application that leads the requests on some ports to APIs, and all others to ``application``.

    Args:
        application: MiniStack.
        environments: environments by the port of their door.
        find_api: returns the base URL of an environment's API, or None if it is not deployed.
    """

    def __init__(
        self, application: Application, environments: Mapping[int, str], find_api: Callable[[str], str | None] = api_url
    ) -> None:
        self._application = application
        self._environments = environments
        self._find_api = find_api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        port = scope["server"][1] if scope["type"] == "http" else 0
        environment = self._environments.get(port)
        if environment is None:
            await self._application(scope, receive, send)
        elif url := self._find_api(environment):
            await self._lead(url, f"https://localhost:{port}", scope, receive, send)
        else:
            await _say_not_deployed(environment, send)

    async def _lead(self, url: str, door: str, scope: Scope, receive: Receive, send: Send) -> None:
        has_addresses = scope["path"] == _DOCUMENT_PATH
        # The document can only be changed if it is not compressed.
        replaced = {b"host"} | ({b"accept-encoding"} if has_addresses else set())
        headers = [pair for pair in scope["headers"] if pair[0].lower() not in replaced]
        host = urlsplit(url).netloc
        inner = {**scope, "headers": [*headers, (b"host", host.encode())]}

        async def send_without_pin(message: Any) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if pair[0].lower() != b"strict-transport-security"]
                message = {**message, "headers": kept}
            await send(message)

        if has_addresses:
            await self._application(inner, receive, _replacing(url.encode(), door.encode(), send_without_pin))
        else:
            await self._application(inner, receive, send_without_pin)


def _replacing(old: bytes, new: bytes, send: Send) -> Send:
    """Return a function that sends a response with another text in its body, as one piece."""
    start: dict[str, Any] = {}
    body = b""

    async def change_and_send(message: Any) -> None:
        nonlocal body
        if message["type"] == "http.response.start":
            start.update(message)
            return
        body += message.get("body", b"")
        if message.get("more_body"):
            return
        changed = body.replace(old, new)
        # After HEAD there is a length without a body; it would be wrong, and it may be left out.
        kept = [pair for pair in start["headers"] if pair[0].lower() != b"content-length"]
        length = [(b"content-length", str(len(changed)).encode())] if body else []
        await send({**start, "headers": [*kept, *length]})
        await send({**message, "body": changed})

    return change_and_send


async def _say_not_deployed(environment: str, send: Send) -> None:
    problem = {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": f"environment {environment} is not deployed: 'make up' deploys local, 'make pipeline' the others",
    }
    body = json.dumps(problem).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
