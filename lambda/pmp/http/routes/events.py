"""Events: recorded once, read for ever."""

from typing import Any

from pmp import identifiers
from pmp.http.messages import UUID, Request, Response, conditional, position
from pmp.http.pages import limit, page
from pmp.http.problems import Problem, gone, invalid, not_found

EVENT_COLUMNS = "id::text, user_id::text, consents, pmp.instant(occurred_at), pmp.instant(received_at), source"
"""Of ``pmp.event_record``, as ``event_document`` takes them."""


def event_document(row: Any) -> dict[str, Any]:
    """An event as the client sees it, from ``EVENT_COLUMNS``; what follows them in the row is ignored."""
    identifier, user, consents, occurred_at, received_at, source = row[:6]
    return {
        "id": identifier,
        "user": {"id": user},
        "consents": consents,
        "occurred_at": occurred_at,
        "received_at": received_at,
        "source": source,
    }


def create_event(request: Request, connection: Any) -> Response:
    """POST /v1/events."""
    body = request.body
    choices = body["consents"]
    seen: set[str] = set()
    for index, choice in enumerate(choices):
        if choice["id"] in seen:
            raise invalid([{"pointer": f"/consents/{index}/id", "detail": "stands twice in one event"}])
        seen.add(choice["id"])
    ((outcome, place, identifier, occurred_at, received_at, source, consents),) = connection.run(
        "SELECT outcome, position, id::text, pmp.instant(occurred_at), pmp.instant(received_at), source, consents "
        "FROM pmp.record_event(:id, :user, :occurred_at, :consents, :choices, :versions, :client)",
        id=body.get("id") or identifiers.new(),
        user=body["user"]["id"],
        occurred_at=body.get("occurred_at"),
        consents=[choice["id"] for choice in choices],
        choices=[choice["enabled"] for choice in choices],
        versions=[choice.get("version") for choice in choices],
        client=request.client,
    )
    if outcome not in {"created", "repeated"}:
        raise _refusal(outcome, place)
    user = str(body["user"]["id"]).lower()
    document = event_document((identifier, user, consents, occurred_at, received_at, source))
    created = outcome == "created"
    headers = {"Location": f"/v1/events/{identifier}"} if created else {}
    return Response(201 if created else 200, document, headers, subject=user)


def _refusal(outcome: str, place: int | None) -> Problem:
    if outcome == "erased_user":
        return gone()
    if outcome == "conflict":
        return Problem(409, "event-exists", "another event has this id; use a new id for a new event")
    pointer, detail = {
        "unknown_user": ("/user/id", "is no user's"),
        "unknown_consent": (f"/consents/{place}/id", "is not in the catalogue; GET /v1/consents lists it"),
        "unknown_version": (f"/consents/{place}/version", "is no version of this consent"),
        "in_future": ("/occurred_at", "is more than five minutes ahead"),
    }[outcome]
    return invalid([{"pointer": pointer, "detail": detail}])


def get_event(request: Request, connection: Any) -> Response:
    """GET /v1/events/{id}."""
    rows = connection.run(f"SELECT {EVENT_COLUMNS} FROM pmp.event_record WHERE id = :id", id=request.parameters["id"])
    if not rows:
        raise not_found("event with this id")
    return conditional(request, Response(200, event_document(rows[0])))


def list_events(request: Request, connection: Any) -> Response:
    """GET /v1/events: all, by id, for whoever copies them; ids that we make grow with time."""
    (after,) = position(request.query.get("cursor"), UUID)
    rows = connection.run(
        f"SELECT {EVENT_COLUMNS} FROM pmp.event_record WHERE id > :after ORDER BY event_record.id LIMIT :most",
        after=after or "00000000-0000-0000-0000-000000000000",
        most=limit(request) + 1,
    )
    return page(request, rows, event_document, lambda row: (row[0],))
