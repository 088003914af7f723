"""What users do themselves, with a token that an API client has made for them (``pmp.person_tokens``)."""

import json
from typing import Any

from pmp import identifiers
from pmp.http.messages import Request, Response
from pmp.http.problems import Problem, gone, invalid, not_found
from pmp.http.routes import events, users
from pmp.person_tokens import Person


def _person(request: Request) -> Person:
    assert request.person is not None  # noqa: S101 - the document says that these operations need one
    return request.person


def _require_all_consents(person: Person) -> None:
    """Refuse a token that is limited to some consents for what is about all of them."""
    if person.consents:
        detail = f"the token is limited to the consents {', '.join(person.consents)}; this needs one for all of them"
        raise Problem(403, "token-limited", detail)


def _as_user(request: Request) -> Request:
    """The request as one about the user whom the token is about."""
    person = _person(request)
    _require_all_consents(person)
    request.parameters["id"] = person.user
    return request


def get_me(request: Request, connection: Any) -> Response:
    """GET /v1/me: the user, with all consents that they can grant or deny."""
    person = _person(request)
    consents = json.dumps(person.consents) if person.consents else None
    ((document,),) = connection.run(
        "SELECT pmp.get_me(:id, CASE WHEN CAST(:consents AS jsonb) IS NOT NULL"
        " THEN ARRAY(SELECT jsonb_array_elements_text(:consents)) END)",
        id=person.user,
        consents=consents,
    )
    if document is None:
        raise not_found("user with this id")
    if "erased" in document:
        raise gone()
    return Response(200, document)


def create_event(request: Request, connection: Any) -> Response:
    """POST /v1/me/events: the user's own choices, which count now; as ``POST /v1/events``."""
    person = _person(request)
    for index, choice in enumerate(request.body["consents"]):
        if person.consents and choice["id"] not in person.consents:
            detail = f"is not one of the consents that the token is limited to: {', '.join(person.consents)}"
            raise invalid([{"pointer": f"/consents/{index}/id", "detail": detail}])
    event = {**request.body, "user": {"id": person.user}}
    arguments = events.arguments_of(event, "") | {"context": {"actor": "user", "purpose": person.purpose}}
    request.identifiers = request.identifiers or [identifiers.new()]
    status, document = events.record(event, arguments, request, connection)
    return Response(status, document)


def confirm(request: Request, connection: Any) -> Response:
    """POST /v1/me/confirm: the grants that the user was asked to confirm become an event."""
    person = _person(request)
    ((found,),) = connection.run("SELECT pmp.confirm(:id, :user)", id=person.confirmation, user=person.user)
    outcome = found.pop("outcome")
    if outcome == "unknown_user":
        raise not_found("user with this id")
    if outcome == "erased":
        raise gone()
    if outcome == "ended":
        detail = "newer requests to confirm have taken the place of this one; ask for the newest one, or for another"
        raise Problem(410, "confirmation-ended", detail)
    return Response(200, found)


def list_events(request: Request, connection: Any) -> Response:
    """GET /v1/me/events: as ``GET /v1/users/{id}/events``."""
    return users.list_events(_as_user(request), connection)


def export_me(request: Request, connection: Any) -> Response:
    """GET /v1/me/export: as ``GET /v1/users/{id}/export``."""
    return users.export_user(_as_user(request), connection)


def erase_me(request: Request, connection: Any) -> Response:
    """DELETE /v1/me: as ``DELETE /v1/users/{id}``."""
    return users.erase_user(_as_user(request), connection)
