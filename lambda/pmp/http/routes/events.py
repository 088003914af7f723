"""Events: recorded once and never changed."""

import json
from typing import Any

from pmp import identifiers, instants
from pmp.http.messages import Request, Response
from pmp.http.pages import INTEGER, limit, part, position
from pmp.http.problems import Problem, gone, invalid, not_found
from pmp.logging import log


def create_event(request: Request, connection: Any) -> Response:
    """POST /v1/events: one statement without a transaction around it; a repetition finds the first one's event."""
    body = request.body
    request.identifier = request.identifier or body.get("id") or identifiers.new()
    choices = body["consents"]
    seen: set[str] = set()
    for index, choice in enumerate(choices):
        if choice["id"] in seen:
            raise invalid([{"pointer": f"/consents/{index}/id", "detail": "appears more than once in the event"}])
        seen.add(choice["id"])
    ((result,),) = connection.run(
        "SELECT pmp.create_event(:id, :user, :choices, :occurred_at, :client, :has_fraction)",
        id=request.identifier,
        user=body["user"]["id"],
        choices=json.dumps(choices),
        occurred_at=instants.utc_text(body.get("occurred_at")),
        client=request.client,
        has_fraction=instants.has_fraction(body.get("occurred_at")),
    )
    # If we chose the id, only we can have recorded it: the response to our first attempt was lost.
    if result["outcome"] == "created" or (result["outcome"] == "repeated" and "id" not in body):
        headers = {"Location": f"/v1/events/{result['event']['id']}"}
        return Response(201, result["event"], headers, user=body["user"]["id"])
    if result["outcome"] == "repeated":
        return Response(200, result["event"], user=body["user"]["id"])
    raise _refusal(result)


def _refusal(result: dict[str, Any]) -> Problem:
    outcome, index = result["outcome"], result.get("index")
    if outcome == "erased":
        return gone()
    if outcome == "conflict":
        return Problem(409, "event-exists", "another event has this id; use a new id for a new event")
    pointer, detail = {
        "unknown_user": ("/user/id", "no user has this id"),
        "unknown_consent": (f"/consents/{index}/id", "is not in the catalogue; GET /v1/consents lists it"),
        "unknown_version": (f"/consents/{index}/version", "is not a version of this consent"),
        "version_too_new": (
            f"/consents/{index}/version",
            f"was created at {result.get('created_at')}, after occurred_at; omit version for the one in force then",
        ),
        "in_future": ("/occurred_at", "is more than five minutes in the future"),
    }[outcome]
    return invalid([{"pointer": pointer, "detail": detail}])


def get_event(request: Request, connection: Any) -> Response:
    """GET /v1/events/{id}."""
    ((event,),) = connection.run("SELECT pmp.get_event(:id)", id=request.parameters["id"])
    if event is None:
        raise not_found("event with this id")
    return Response(200, event)


def list_events(request: Request, connection: Any) -> Response:
    """GET /v1/events: all events, none before everything that could still be committed ahead of it."""
    number, sequence = position(request.query.get("cursor"), INTEGER, INTEGER)
    ((events,),) = connection.run(
        "SELECT pmp.list_events(:number, :sequence, :most)", number=number, sequence=sequence, most=limit(request)
    )
    if not events["more"]:
        log("feed read", lag_seconds=round(events["lag_seconds"], 3))
    return part(request, events, resumes=True)
