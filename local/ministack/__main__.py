"""Run MiniStack with the laptop platform's additions: ``python -m local.ministack``.

The installed package is not changed on disk. This process adds ten things:

* requests are authorized with the resources and condition keys that AWS uses (``local.ministack.authorization``);
* resources keep settings that MiniStack forgets (``local.ministack.gaps``, ``local.ministack.clusters``);
* what belongs to one of several accounts is reached from outside of it as on AWS (``local.ministack.accounts``);
* creations that the provider would wait for are answered as done (``local.ministack.waits``);
* database servers get the passwords in their secrets (``local.ministack.databases``);
* every distinct IAM decision is written once to ``PMP_IAM_RECORD``, as a JSON line ``{"principal", "action",
  "resource", "decision", "sid"}``: the exact permissions that a deployment requests (``sid``: the statement of the
  principal's own policies that decided; empty if a resource policy decided, or nothing allowed the request);
* every distinct signed request is written once to ``PMP_REQUEST_RECORD`` (``local.ministack.requests``), so that what
  AWS would refuse can be told afterwards;
* each environment's API answers on a port of its own, without a name (``local.ministack.doors``);
* the address of MiniStack's own Cognito keys becomes https, because with TLS on, plain HTTP is not served and every
  token would be answered with 401;
* MiniStack's state is saved while it runs, not only when it shuts down cleanly: every minute if something changed, and
  immediately on ``POST /_pmp/snapshot`` (204 once it is on disk). A reboot or ``kill -9`` then loses at most a minute.

It listens on loopback alone; MiniStack's own entry point would also take port 443.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterable, MutableMapping
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
from local.instance import Instance
from local.ministack import accounts, authorization, clusters, gaps, waits
from local.ministack.databases import Databases
from local.ministack.doors import Doors
from local.ministack.requests import Receive, Record, Scope, Send

SNAPSHOT_PATH = "/_pmp/snapshot"
SNAPSHOT_INTERVAL_SECONDS = 60
_GOODBYE_SECONDS = 2


def record_decisions(path: Path) -> None:
    """Write each distinct IAM decision of this process to ``path`` as a JSON line."""
    stream = path.open("a", buffering=1, encoding="utf-8")
    evaluate, enforce = iam_evaluator.evaluate, iam_evaluator.enforce
    # MiniStack first evaluates the principal's own policies, then resource policies.
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
    """MiniStack's ASGI application, which saves its state while it runs."""

    def __init__(self, databases: Databases) -> None:
        self._changed = False
        self._databases = databases

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, and note whether it may have changed something."""
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


def addresses(port: int, doors: Iterable[int]) -> list[str]:
    """Return where to listen. A door is ``localhost``, which some clients take for ::1 alone where there is IPv6."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return [f"127.0.0.1:{port}", *(f"{host}:{door}" for door in doors for host in ("127.0.0.1", "[::1]"))]
    return [f"127.0.0.1:{one}" for one in (port, *doors)]


async def run(port: int, certificate: str, key: str, instance: Instance, requests: Path) -> None:
    """Serve on loopback until SIGTERM or SIGINT, and record the requests in a file."""
    config = Config()
    config.bind = addresses(port, instance.doors)
    config.certfile, config.keyfile = certificate, key
    # This timeout also applies while a response is sent: an import reads a large object only as fast as it processes
    # it, for up to the whole duration of an invocation.
    config.keep_alive_timeout = 900
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    application = Snapshots(Databases(instance))
    record = Record(requests, Doors(application, instance.doors))
    saving = asyncio.create_task(application.keep_saving())
    serving = asyncio.create_task(serve(record, config, shutdown_trigger=stop.wait))  # type: ignore[arg-type]
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    saving.cancel()
    if serving.done():
        serving.result()
    # Save first: a client that keeps its TLS connection open can delay the shutdown by half a minute.
    application.save()
    await asyncio.wait({serving}, timeout=_GOODBYE_SECONDS)
    record.close()
    # Everything is saved. A normal exit would wait for MiniStack's worker threads, and again for clients' connections.
    os._exit(0)


def main() -> None:
    """Read the settings from the environment and run."""
    authorization.install()
    gaps.install()
    clusters.install()
    accounts.install()
    waits.install()
    try:
        port = int(os.environ["GATEWAY_PORT"])
        certificate, key = os.environ["MINISTACK_SSL_CERT"], os.environ["MINISTACK_SSL_KEY"]
        record_decisions(Path(os.environ["PMP_IAM_RECORD"]))
        requests = Path(os.environ["PMP_REQUEST_RECORD"])
    except KeyError as error:
        sys.exit(f"error: {error.args[0]} is not set: start MiniStack with 'make up'")
    fetch_keys_over_tls()
    asyncio.run(run(port, certificate, key, instances.of_process(), requests))


if __name__ == "__main__":
    main()
