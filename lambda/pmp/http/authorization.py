"""Who sends a request, and whether its token allows the operation."""

import time
from typing import Any

from pmp.http.document import Operation
from pmp.http.problems import Problem


def admit(operation: Operation, event: dict[str, Any]) -> str:
    """Admit a request to an operation.

    The gateway has verified the token. That it did so, and the scope, are checked again here.

    Returns:
        The OAuth client's id; empty for a public operation.

    Raises:
        Problem: 401 without a valid token, 403 without a scope of the operation.
    """
    scopes = operation.scopes
    if not scopes:
        return ""
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
