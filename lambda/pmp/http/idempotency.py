"""``Idempotency-Key``: the same request again gets the same answer, and is done once.

The key's row is written in the transaction of the work itself, under a lock of that transaction: there is no state in
which the work is done and the key not known, or the other way around, whenever the function is killed.
"""

import time
from collections.abc import Callable
from typing import Any, cast

from pmp.http.messages import Request, Response, encode
from pmp.http.problems import Problem
from pmp.http.router import fingerprint

_IN_FLIGHT = {"state": "in_flight"}
_LOST_CONNECTION_SECONDS = 2.0


def _begin(request: Request, connection: Any, key: str, mark: bytes) -> dict[str, Any] | None:
    ((known,),) = connection.run(
        "SELECT pmp.idempotency_begin(:client, :key, :mark)", client=request.client, key=key, mark=mark
    )
    return cast("dict[str, Any] | None", known)


def once(route: Callable[..., Response], request: Request, connection: Any, key: str) -> Response:
    """Do it, unless it was done.

    Args:
        route: the operation.
        request: with the key in its headers.
        connection: inside a transaction.
        key: the client's.

    Raises:
        Problem: 409 while the first request is under way, 422 if the key was used for another request.
    """
    mark = fingerprint(request)
    known = _begin(request, connection, key, mark)
    # The connection that our first attempt lost holds the key until the server notices.
    end = time.monotonic() + (_LOST_CONNECTION_SECONDS if request.attempts > 1 else 0)
    while known == _IN_FLIGHT and time.monotonic() < end:
        time.sleep(0.05)
        known = _begin(request, connection, key, mark)
    if known is None:
        response = route(request, connection)
        connection.run(
            "SELECT pmp.idempotency_finish(:client, :key, :mark, :status, :headers, :body)",
            client=request.client,
            key=key,
            mark=mark,
            status=response.status,
            headers=encode(response.headers).decode(),
            body=(response.body() or b"").decode(),
        )
        return response
    if known == _IN_FLIGHT:
        detail = "the first request with this Idempotency-Key is under way; try again"
        raise Problem(409, "in-flight", detail, headers={"Retry-After": "1"})
    if known["state"] == "mismatch":
        detail = "was used for another request; use a new key for a new request"
        error = {"header": "Idempotency-Key", "detail": detail}
        raise Problem(422, "key-reused", f"Idempotency-Key: {detail}", errors=[error])
    headers = {**known["headers"], "Idempotency-Replayed": "true"}
    return Response(known["status"], headers=headers, content=known["body"].encode())
