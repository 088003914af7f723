"""Who sends a request, and whether the token allows the operation: an API client's, or a user's own."""

import time
from typing import Any

from pmp.http.document import Operation
from pmp.http.messages import Request
from pmp.http.problems import Problem


def admit(operation: Operation, request: Request, event: dict[str, Any]) -> None:
    """Admit a request to an operation; sets its ``client``, and its ``scopes`` or its ``person``.

    The gateway has verified the access token. That it did so, and the scope, are checked again here. It knows nothing
    of users' own tokens.

    Raises:
        Problem: 401 without a valid token, 403 without a scope or the purpose of the operation, 503 if the key of
            users' own tokens cannot be read.
    """
    if operation.purposes:
        _admit_person(operation, request)
    elif operation.scopes:
        _admit_client(operation, request, event)


def _admit_client(operation: Operation, request: Request, event: dict[str, Any]) -> None:
    authorizer = event["requestContext"].get("authorizer") or {}
    claims = (authorizer.get("jwt") or {}).get("claims") or {}
    challenge = f'Bearer scope="{" ".join(operation.scopes)}"'
    client = claims.get("client_id") or claims.get("sub")
    if not client:
        detail = "an access token is required; send it as Authorization: Bearer <token>"
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})
    try:
        expired = float(claims.get("exp", 0)) <= time.time()
    except (TypeError, ValueError):
        expired = True
    if expired:
        raise token_expired(challenge)
    request.client, request.scopes = str(client), _granted(claims)
    require_scope(request, *operation.scopes)


def require_scope(request: Request, *scopes: str) -> None:
    """Check that the access token has one of the scopes.

    Raises:
        Problem: 403.
    """
    if not request.scopes & set(scopes):
        challenge = f'Bearer scope="{" ".join(scopes)}", error="insufficient_scope"'
        detail = f"the access token lacks the scope {' or '.join(scopes)}"
        raise Problem(403, "scope-missing", detail, headers={"WWW-Authenticate": challenge})


def token_expired(challenge: str) -> Problem:
    """401 for a token that was valid once."""
    challenge += ', error="invalid_token"'
    return Problem(401, "token-expired", "the access token has expired", headers={"WWW-Authenticate": challenge})


def _admit_person(operation: Operation, request: Request) -> None:
    from pmp import person_tokens
    from pmp.http.erasure_key import with_key

    challenge = f'Bearer scope="{" ".join(operation.purposes)}"'
    scheme, _, text = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not text:
        detail = "a token that an API client made for this user is required; send it as Authorization: Bearer <token>"
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge})
    try:
        person = with_key(lambda: person_tokens.read(text.strip()), "users' own tokens")
    except person_tokens.ExpiredTokenError:
        raise token_expired(challenge) from None
    except person_tokens.InvalidTokenError as error:
        detail = f"the token {error}; it must be one that POST /v1/tokens has answered"
        challenge += ', error="invalid_token"'
        raise Problem(401, "unauthorized", detail, headers={"WWW-Authenticate": challenge}) from None
    if person.purpose not in operation.purposes:
        challenge += ', error="insufficient_scope"'
        detail = f"the token is for the purpose {person.purpose}; this needs {' or '.join(operation.purposes)}"
        raise Problem(403, "purpose-missing", detail, headers={"WWW-Authenticate": challenge})
    request.person, request.client = person, person.client


def _granted(claims: dict[str, Any]) -> frozenset[str]:
    """The token's scopes, from ``scope`` or ``scp``: the gateway reads both.

    Cognito sends ``scope``, Entra ``scp``, Okta ``scp`` as a list. A list arrives as a list or as the text ``[a b]``.
    """
    granted: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name) or ""
        words = value if isinstance(value, list) else str(value).removeprefix("[").removesuffix("]").split()
        granted.update(map(str, words))
    return frozenset(granted)
