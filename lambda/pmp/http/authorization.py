"""Who sends a request, whether its token allows the operation, and whether it has requests left in this minute."""

import os
import time
from typing import Any

from pmp.http.document import Operation
from pmp.http.problems import Problem

_WINDOW_SECONDS = 60
_MOST_CLIENTS = 1000
_used: dict[str, tuple[int, int]] = {}
"""By client: the number of its latest window, and the requests in it."""


def admit(operation: Operation, event: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Admit a request to an operation.

    Returns:
        The OAuth client's id, and the response's headers about its quota; both empty for a public operation.

    Raises:
        Problem: 401 without a valid token, 403 without a scope of the operation, 429 if the quota is used up.
    """
    if not operation.scopes:
        return "", {}
    client = _authorize(operation.scopes, event)
    return client, _count(client)


def _authorize(scopes: tuple[str, ...], event: dict[str, Any]) -> str:
    """The client's id. The gateway has verified the token; that it did so, and the scope, are checked again here."""
    authorizer = event["requestContext"].get("authorizer") or {}
    claims = (authorizer.get("jwt") or {}).get("claims") or {}
    challenge = f'Bearer scope="{" ".join(scopes)}"'
    client = claims.get("client_id") or claims.get("sub")
    if not client:
        detail = "an access token is required; send it as Authorization: Bearer <token>"
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})
    try:
        expired = float(claims.get("exp", 0)) <= time.time()
    except (TypeError, ValueError):
        expired = True
    if expired:
        challenge += ', error="invalid_token"'
        raise Problem(401, "token-expired", "the access token has expired", headers={"WWW-Authenticate": challenge})
    if not set(scopes) & _granted(claims):
        challenge += ', error="insufficient_scope"'
        detail = f"the access token lacks the scope {' or '.join(scopes)}"
        raise Problem(403, "scope-missing", detail, headers={"WWW-Authenticate": challenge})
    return str(client)


def _granted(claims: dict[str, Any]) -> set[str]:
    """The token's scopes, from ``scope`` or ``scp``: the gateway reads both.

    Cognito sends ``scope``, Entra ``scp``, Okta ``scp`` as a list. A list arrives as a list or as the text ``[a b]``.
    """
    granted: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name) or ""
        words = value if isinstance(value, list) else str(value).removeprefix("[").removesuffix("]").split()
        granted.update(map(str, words))
    return granted


def _count(client: str) -> dict[str, str]:
    """Count the request against the client's quota of this minute, in this instance of the function.

    The gateway throttles all instances together, but does not say how much is left. An instance can say it for itself
    without asking the database. Headers: draft-ietf-httpapi-ratelimit-headers.
    """
    quota = int(os.environ.get("PMP_RATE_LIMIT_PER_MINUTE", "6000"))
    now = int(time.time())
    window, used = _used.get(client, (0, 0))
    if window != now // _WINDOW_SECONDS:
        if len(_used) > _MOST_CLIENTS:
            _used.clear()
        window, used = now // _WINDOW_SECONDS, 0
    _used[client] = (window, used + 1)
    left = _WINDOW_SECONDS - now % _WINDOW_SECONDS
    headers = {
        "RateLimit-Policy": f'"client";q={quota};w={_WINDOW_SECONDS}',
        "RateLimit": f'"client";r={max(0, quota - used - 1)};t={left}',
    }
    if used >= quota:
        detail = f"the quota of {quota} requests per minute is used up; it is reset in {left} s"
        raise Problem(429, "quota-used-up", detail, headers={**headers, "Retry-After": str(left)})
    return headers
