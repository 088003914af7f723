"""Run MiniStack with what the laptop platform adds to it: ``python -m local.ministack``.

Nothing of the installed package is changed on disk. Six things are added in this process:

* requests are checked by what AWS's authorization sees of them (``local.ministack.authorization``);
* resources keep what MiniStack forgets of them (``local.ministack.gaps``);
* database servers get the passwords in their secrets (``local.ministack.databases``);
* every IAM decision is written as one JSON line ``{"principal", "action", "resource", "decision", "sid"}`` to
  ``PMP_IAM_RECORD``, each distinct one once: the exact permissions that a deployment asks for (``sid``: the statement
  of the principal's own policies that decided; empty when a resource policy did, or nothing allowed it);
* the address of MiniStack's own Cognito keys becomes https, because with TLS on, plain HTTP is not served and every
  token would be answered with 401;
* its state is saved while it runs, not only at a clean end: every minute when something changed, and at once by
  ``POST /_pmp/snapshot`` (204 when it is on disk). A reboot or ``kill -9`` then loses a minute, not the platform.

It listens on 127.0.0.1 alone; MiniStack's own entry point would also take port 443.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack import app as ministack
from ministack.core import iam_evaluator, persistence
from ministack.services import apigateway

from local import instance as instances
from local.ministack import authorization, gaps
from local.ministack.databases import Databases

SNAPSHOT_PATH = "/_pmp/snapshot"
SNAPSHOT_INTERVAL_SECONDS = 60
_GOODBYE_SECONDS = 2

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def record_decisions(path: Path) -> None:
    """Write each distinct IAM decision of this process to ``path`` as a JSON line."""
    stream = path.open("a", buffering=1, encoding="utf-8")
    evaluate, enforce = iam_evaluator.evaluate, iam_evaluator.enforce
    # The first evaluation of a request is that of the principal's own policies; resource policies come after it.
    first: ContextVar[Any] = ContextVar("first", default=None)

    @lru_cache(maxsize=65536)
    def note(principal: str, action: str, resource: str, decision: str, sid: str) -> None:
        line = {"principal": principal, "action": action, "resource": resource, "decision": decision, "sid": sid}
        stream.write(json.dumps(line) + "\n")

    def remembered(context: Any, policies: Any, *limits: Any) -> Any:
        result = evaluate(context, policies, *limits)
        if first.get() is None:
            first.set((context, result))
        return result

    def recorded(*arguments: Any, **named: Any) -> Any:
        token = first.set(None)
        try:
            answer = enforce(*arguments, **named)
            if seen := first.get():
                context, result = seen
                decision = "Allow" if answer is None else str(getattr(answer, "decision", "Deny"))
                note(context.principal_arn, context.action, context.resource_arn, decision, result.matched_sid)
        finally:
            first.reset(token)
        return answer

    iam_evaluator.evaluate, iam_evaluator.enforce = remembered, recorded


def fetch_keys_over_tls() -> None:
    """Make the JWT authorizer fetch MiniStack's own Cognito keys over https."""
    resolve = apigateway._resolve_jwks_url

    async def resolve_over_tls(authorizer: dict[str, Any]) -> str | None:
        address: str | None = await resolve(authorizer)
        own = f"//{apigateway._HOST}:{apigateway._PORT}/"
        return f"https:{address.removeprefix('http:')}" if address and own in address else address

    apigateway._resolve_jwks_url = resolve_over_tls


class Snapshots:
    """MiniStack's ASGI application, with its state saved while it runs."""

    def __init__(self, databases: Databases) -> None:
        self._changed = False
        self._databases = databases

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; remember whether it may have changed something."""
        if scope["type"] == "http" and scope["path"] == SNAPSHOT_PATH and scope["method"] == "POST":
            self.save()
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await ministack.app(scope, receive, send)
            return
        self._changed = True

        async def follow_and_send(message: MutableMapping[str, Any]) -> None:
            # Before the client is answered: it may log in at once.
            if message["type"] == "http.response.start":
                self._databases.follow()
            await send(message)

        await ministack.app(scope, receive, follow_and_send)

    def save(self) -> None:
        """Save the state of every service; on the event loop, so that no request changes it meanwhile."""
        self._changed = False
        persistence.save_all(ministack._build_persistence_save_dict())

    async def keep_saving(self) -> None:
        """Save at intervals when something changed, until cancelled."""
        while True:
            await asyncio.sleep(SNAPSHOT_INTERVAL_SECONDS)
            if self._changed:
                self.save()


async def run(port: int, certificate: str, key: str, databases: Databases) -> None:
    """Serve on 127.0.0.1:``port`` until SIGTERM or SIGINT."""
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile, config.keyfile = certificate, key
    # It counts while an answer is sent, too: an import reads a large object as slowly as it works, and may do so for as
    # long as an invocation lasts.
    config.keep_alive_timeout = 900
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    application = Snapshots(databases)
    saving = asyncio.create_task(application.keep_saving())
    serving = asyncio.create_task(serve(application, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    saving.cancel()
    if serving.done():
        serving.result()
    # Saved before anything else: a client that keeps its TLS connection open can hold up the end for half a minute.
    application.save()
    await asyncio.wait({serving}, timeout=_GOODBYE_SECONDS)


def main() -> None:
    """Read the settings from the environment and run."""
    authorization.install()
    gaps.install()
    try:
        port = int(os.environ["GATEWAY_PORT"])
        certificate, key = os.environ["MINISTACK_SSL_CERT"], os.environ["MINISTACK_SSL_KEY"]
        record_decisions(Path(os.environ["PMP_IAM_RECORD"]))
    except KeyError as error:
        sys.exit(f"error: {error.args[0]} is not set: start MiniStack by 'make up'")
    fetch_keys_over_tls()
    asyncio.run(run(port, certificate, key, Databases(instances.of_process())))
    # Everything is saved; MiniStack's worker threads would have to be waited for.
    os._exit(0)


if __name__ == "__main__":
    main()
