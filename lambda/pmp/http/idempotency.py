"""``Idempotency-Key``: a repeated request gets the first response again, and is performed once.

The key's row is written in the transaction of the work, under a lock of that transaction. So whenever the function is
killed, either both the work and the key are there or neither is.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, cast

from pmp.http.messages import Request, Response, encode
from pmp.http.problems import Problem, gone, not_found

_IN_FLIGHT = {"state": "in_flight"}
_LOST_CONNECTION_SECONDS = 2.0
_MADE_AGAIN = {"createImport", "createSubscription", "rotateSubscription"}
"""Operations whose document is made again instead of kept: it has a secret, such as a signed URL."""


def fingerprint(request: Request) -> bytes:
    """SHA-256 over what makes two requests with one key the same: operation, path, query and body."""
    parts = [request.operation.encode(), request.path.encode("utf-8", "replace"), request.raw_query.encode()]
    return sha256(b"\0".join([*parts, request.raw_body])).digest()


def _begin(request: Request, connection: Any, key: str, mark: bytes) -> dict[str, Any] | None:
    ((known,),) = connection.run(
        "SELECT pmp.idempotency_begin(:client, :key, :mark)", client=request.client, key=key, mark=mark
    )
    return cast("dict[str, Any] | None", known)


def once(route: Callable[..., Response], request: Request, connection: Any, key: str) -> Response:
    """Perform the request, unless it was performed before.

    Args:
        route: the operation.
        request: the client's.
        connection: inside a transaction.
        key: the request's ``Idempotency-Key``.

    Returns:
        The response, or the kept response of the first request with this key.

    Raises:
        Problem: 409 while the first request is being processed, 410 if its user was erased since, 422 if the key was
            used for another request.
    """
    mark = fingerprint(request)
    known = _begin(request, connection, key, mark)
    # The connection that our first attempt lost holds the key until the server notices the loss.
    end = time.monotonic() + (_LOST_CONNECTION_SECONDS if request.attempts > 1 else 0)
    while known == _IN_FLIGHT and time.monotonic() < end:
        time.sleep(0.05)
        known = _begin(request, connection, key, mark)
    if known is None:
        response = route(request, connection)
        connection.run(
            "SELECT pmp.idempotency_finish(:client, :key, :mark, :status, :headers, :body, :user)",
            client=request.client,
            key=key,
            mark=mark,
            status=response.status,
            headers=encode(response.headers).decode(),
            body="" if request.operation in _MADE_AGAIN else (response.body() or b"").decode(),
            user=response.user,
        )
        return response
    if known == _IN_FLIGHT:
        detail = "the first request with this Idempotency-Key is still being processed; try again"
        raise Problem(409, "in-flight", detail, headers={"Retry-After": "1"})
    if known["state"] == "mismatch":
        detail = "was already used for another request; use a new key for each new request"
        error = {"header": "Idempotency-Key", "detail": detail}
        raise Problem(422, "key-reused", f"Idempotency-Key: {detail}", errors=[error])
    if known["state"] == "erased":
        raise gone()
    headers = {**known["headers"], "Idempotency-Replayed": "true"}
    if request.operation in _MADE_AGAIN:
        return Response(known["status"], _made_again(request, connection, headers.get("Location")), headers)
    return Response(known["status"], headers=headers, content=known["body"].encode())


def _made_again(request: Request, connection: Any, location: str | None) -> dict[str, Any]:
    identifier = request.parameters["id"] if location is None else location.rpartition("/")[2]
    if request.operation == "createImport":
        from pmp import imports

        return imports.announced(connection, identifier)
    from pmp.deliveries import subscriptions

    document = subscriptions.with_secret(connection, identifier)
    if document is None:
        raise not_found("subscription any more that the first request with this Idempotency-Key was for")
    return document
