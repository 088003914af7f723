"""POST /v1/tokens: a token with which one user can do one thing, without an account at the API client."""

import json
import time
from typing import Any

from pmp import identifiers, instants, person_tokens
from pmp.configuration import configuration
from pmp.http.authorization import require_scope
from pmp.http.erasure_key import with_key
from pmp.http.messages import Request, Response
from pmp.http.problems import gone, invalid
from pmp.http.routes.events import context_of

_LONGEST_LINE = 998
"""Characters of a line of a mail, without its end (RFC 5322, section 2.1.1). A URL cannot be broken over two lines."""
_MOST_CONFIRMATIONS = 10
"""Of one user, whom anybody can make a client ask: the newest count."""


def create_token(request: Request, connection: Any) -> Response:
    """POST /v1/tokens: one statement; a repetition stores the same confirmation."""
    body, purpose = request.body, request.body["purpose"]
    require_scope(request, "pmp/admin" if purpose == "erase" else "pmp/write")
    context = _check(body)
    request.identifiers = request.identifiers or [identifiers.new()]
    consents = body.get("consents", [])
    person = person_tokens.Person(
        user=body["user"]["id"].lower(),
        purpose=purpose,
        client=request.client,
        expires_at=int(time.time()) + body.get("expires_in", person_tokens.PURPOSES[purpose].default),
        consents=() if purpose == "confirm" else tuple(consents),
        confirmation=request.identifiers[0] if purpose == "confirm" else None,
    )
    token = with_key(lambda: person_tokens.make(person), "users' own tokens")
    answer = {"token": token, "purpose": purpose, "expires_at": instants.of_epoch(person.expires_at)}
    if purpose == "unsubscribe":
        answer["headers"] = _mail_headers(token)
    _store(person, consents, context, connection)
    return Response(201, answer)


def _check(body: dict[str, Any]) -> dict[str, Any] | None:
    """Check what a schema cannot say; the context of a confirmation.

    Raises:
        Problem: 422.
    """
    purpose, consents = body["purpose"], body.get("consents")
    bounds = person_tokens.PURPOSES[purpose]
    expires_in = body.get("expires_in", bounds.default)
    if not bounds.shortest <= expires_in <= bounds.longest:
        detail = f"must be from {bounds.shortest} to {bounds.longest} seconds for the purpose {purpose}"
        raise invalid([{"pointer": "/expires_in", "detail": detail}])
    if consents is None and purpose in {"confirm", "unsubscribe"}:
        raise invalid([{"pointer": "/consents", "detail": f"is missing; a token to {purpose} names consents"}])
    if consents is not None and purpose == "erase":
        raise invalid([{"pointer": "/consents", "detail": "does not belong to the purpose erase"}])
    for index, consent in enumerate(consents or ()):
        if consent in (consents or ())[:index]:
            raise invalid([{"pointer": f"/consents/{index}", "detail": "appears more than once"}])
    if "context" in body and purpose != "confirm":
        raise invalid([{"pointer": "/context", "detail": "belongs to the purpose confirm only"}])
    return context_of(body, "/context")


def _mail_headers(token: str) -> dict[str, str]:
    """The headers of a mail with one-click unsubscription (RFC 8058, section 3.1).

    Raises:
        Problem: 422 if a header would be longer than a line of a mail can be.
    """
    url = f"<{configuration().api_url}/v1/unsubscribe/{token}>"
    if len("List-Unsubscribe: ") + len(url) > _LONGEST_LINE:
        detail = "make the URL longer than a line of a mail can be; name fewer consents"
        raise invalid([{"pointer": "/consents", "detail": detail}])
    return {"List-Unsubscribe": url, "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}


def _store(person: person_tokens.Person, consents: list[str], context: dict[str, Any] | None, connection: Any) -> None:
    """Check that the user and the consents exist; keep what the user is asked to confirm."""
    if person.confirmation is None:
        ((found,),) = connection.run(
            "SELECT pmp.examine_token(:user, ARRAY(SELECT jsonb_array_elements_text(:consents)))",
            user=person.user,
            consents=json.dumps(consents),
        )
    else:
        ((found,),) = connection.run(
            "SELECT pmp.ask_confirmation(:id, :user, ARRAY(SELECT jsonb_array_elements_text(:consents)), :expires_at,"
            " :client, :context, :most)",
            id=person.confirmation,
            user=person.user,
            consents=json.dumps(consents),
            expires_at=instants.of_epoch(person.expires_at),
            client=person.client,
            context=json.dumps(context) if context else None,
            most=_MOST_CONFIRMATIONS,
        )
    if found["outcome"] == "erased":
        raise gone()
    if found["outcome"] == "unknown_user":
        raise invalid([{"pointer": "/user/id", "detail": "no user has this id"}])
    if found["outcome"] == "unknown_consent":
        detail = "is not in the catalogue; GET /v1/consents lists it"
        raise invalid([{"pointer": f"/consents/{found['index']}", "detail": detail}])
