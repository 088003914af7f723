"""Users: register, read, erase and export them. The database builds the documents (``db/README.md``)."""

from typing import Any

from pmp import addresses, identifiers, instants
from pmp.database import DatabaseError, error_code
from pmp.http.conditions import changed, etag, require_match
from pmp.http.messages import Request, Response, encode
from pmp.http.pages import INTEGER, foreign, limit, page, position
from pmp.http.problems import gone, invalid, not_found

_UNIQUE_VIOLATION = "23505"


def _present(document: Any) -> Any:
    """The document; 404 if there never was such a user, 410 if the user was erased."""
    if document is None:
        raise not_found("user with this id")
    if "erased" in document:
        raise gone()
    return document


def create_user(request: Request, connection: Any) -> Response:
    """POST /v1/users."""
    try:
        address = addresses.normalize(request.body["email"])
    except ValueError as error:
        raise invalid([{"pointer": "/email", "detail": str(error)}]) from None
    try:
        ((user,),) = connection.run("SELECT pmp.create_user(:address, :client)", address=address, client=request.client)
    except DatabaseError as error:
        if error_code(error) != _UNIQUE_VIOLATION:
            raise
        raise invalid([{"pointer": "/email", "detail": "is taken by another user"}]) from None
    return Response(201, user, {"ETag": etag(encode(user)), "Location": f"/v1/users/{user['id']}"})


def get_user(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}: the user's present state, or the state as of an instant."""
    as_of = instants.utc_text(request.query.get("as_of"))
    ((user,),) = connection.run("SELECT pmp.get_user(:id, :as_of)", id=request.parameters["id"], as_of=as_of)
    return Response(200, _present(user))


def list_users(request: Request, connection: Any) -> Response:
    """GET /v1/users: all users, the one with an address, or those who made a choice."""
    query = request.query
    if ("consent" in query) != ("enabled" in query):
        lacking = "enabled" if "consent" in query else "consent"
        raise invalid([{"parameter": lacking, "detail": "is required: consent and enabled must be given together"}])
    (after,) = position(query.get("cursor"), identifiers.UUID)
    if after is not None and connection.run("SELECT pmp.get_user(:id)", id=after) == [[None]]:
        raise foreign()
    if "consent" in query and connection.run("SELECT pmp.get_consent(:id)", id=query["consent"]) == [[None]]:
        raise invalid([{"parameter": "consent", "detail": "is not in the catalogue; GET /v1/consents lists it"}])
    ((users,),) = connection.run(
        "SELECT pmp.list_users(:after, :most, :address, :consent, :enabled)",
        after=after,
        most=limit(request) + 1,
        address=addresses.lookup_form(query["email"]) if "email" in query else None,
        consent=query.get("consent"),
        enabled=query.get("enabled"),
    )
    return page(request, users, lambda user: (user["id"],))


def erase_user(request: Request, connection: Any) -> Response:
    """DELETE /v1/users/{id}."""
    identifier = request.parameters["id"]
    conditions = bool({"if-match", "if-none-match"} & request.headers.keys())
    if conditions:
        before = _history(identifier, connection)
        ((user,),) = connection.run("SELECT pmp.get_user(:id)", id=identifier)
        require_match(request, etag(encode(_present(user))))
    ((done,),) = connection.run("SELECT pmp.erase_user(:id, :client)", id=identifier, client=request.client)
    _present(None if done is None else {} if done else {"erased": True})
    # The erasure has locked the user's row, so no event is added now; one may have been added before that.
    if conditions and _history(identifier, connection) != before:
        raise changed()
    return Response(204)


def _history(identifier: str, connection: Any) -> Any:
    return connection.run(
        "SELECT count(*), max(sequence) FROM pmp.event "
        "WHERE subject_key = (SELECT subject_key FROM pmp.subject WHERE id = :id)",
        id=identifier,
    )


def list_events(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}/events: the user's events, by occurred_at or by receipt if that is earlier."""
    microseconds, sequence = position(request.query.get("cursor"), INTEGER, INTEGER)
    ((events,),) = connection.run(
        "SELECT pmp.list_user_events(:id, timestamptz 'epoch' + :moment * interval '1 microsecond', :sequence, :most)",
        id=request.parameters["id"],
        moment=microseconds,
        sequence=sequence,
        most=limit(request) + 1,
    )
    return page(request, _present(events), _place, hidden="sequence")


def _place(event: dict[str, Any]) -> tuple[int, int]:
    moment = min(instants.read(event[name])[0] for name in ("occurred_at", "received_at"))
    # Not timestamp() * 10**6: a float has not enough digits.
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond, event["sequence"]


def export_user(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}/export: all data that is kept about the user."""
    ((export,),) = connection.run("SELECT pmp.export_user(:id)", id=request.parameters["id"])
    return Response(200, _present(export), compress=True)
