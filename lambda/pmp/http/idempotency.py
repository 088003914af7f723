"""``Idempotency-Key``: the same request again gets the same answer, and is done once.

The key's row is written in the transaction of the work itself, under a lock of that transaction: there is no state in
which the work is done and the key not known, or the other way around, whenever the function is killed.
"""

from collections.abc import Callable
from typing import Any

from pmp.http.messages import Request, Response, encode
from pmp.http.problems import Problem
from pmp.http.router import fingerprint


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
    ((known,),) = connection.run(
        "SELECT pmp.idempotency_begin(:client, :key, :mark)", client=request.client, key=key, mark=mark
    )
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
    if known["state"] == "in_flight":
        detail = "the first request with this Idempotency-Key is under way; try again"
        raise Problem(409, "in-flight", detail, headers={"Retry-After": "1"})
    if known["state"] == "mismatch":
        detail = "was used for another request; use a new key for a new request"
        error = {"header": "Idempotency-Key", "detail": detail}
        raise Problem(422, "key-reused", f"Idempotency-Key: {detail}", errors=[error])
    headers = {**known["headers"], "Idempotency-Replayed": "true"}
    return Response(known["status"], headers=headers, content=known["body"].encode())
