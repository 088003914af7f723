"""Events: recorded once and never changed."""

import json
from typing import Any

from pmp import addresses, contexts, identifiers, instants, people, values
from pmp.http.erasure_key import with_key
from pmp.http.identifiers import new_identifiers
from pmp.http.messages import Request, Response
from pmp.http.pages import INTEGER, limit, part, position
from pmp.http.problems import Problem, event_removed, gone, invalid, not_found
from pmp.logging import log
from pmp.specification import SCHEMAS

_BY_ID = "SELECT pmp.create_event(:id, :user_id, :choices, :happened_at, :client, :has_fraction, :context)"
_BY_ADDRESS = (
    "SELECT pmp.create_event_by_address(:id, :email, decode(:address_hash, 'hex'), :is_upsert, :choices, :happened_at,"
    " :client, :has_fraction, :context, :identifiers)"
)
_BY_IDENTIFIER = (
    "SELECT pmp.create_event_by_identifier(:id, :kind, :value, decode(:address_hash, 'hex'), :choices, :happened_at,"
    " :client, :has_fraction, :context)"
)
_NAMED_BY = {"id": "id", "email": "address", "phone": "phone number", "external_id": "external id"}
_NEW_EVENT = {"$ref": "#/components/schemas/NewEvent"}


def create_event(request: Request, connection: Any) -> Response:
    """POST /v1/events: one statement without a transaction around it; a repetition finds the first one's event."""
    body = request.body
    request.identifiers = request.identifiers or [body.get("id") or identifiers.new()]
    status, event = record(body, arguments_of(body, ""), request, connection)
    headers = {"Location": f"/v1/events/{event['id']}"} if status == 201 else {}
    return Response(status, event, headers, user=event["user"]["id"])


def record(
    sent: dict[str, Any], arguments: dict[str, Any], request: Request, connection: Any
) -> tuple[int, dict[str, Any]]:
    """Record one event by one statement.

    Args:
        sent: as the client sent it.
        arguments: see ``arguments_of``.
        request: with the event's id.
        connection: to the database.

    Returns:
        The status, and the event as it is shown.

    Raises:
        Problem: it was not recorded.
    """
    arguments |= {
        name: None if arguments[name] is None else json.dumps(arguments[name])
        for name in ("choices", "context", "identifiers")
    }
    statement = _BY_ID if "id" in sent["user"] else _BY_ADDRESS if "email" in sent["user"] else _BY_IDENTIFIER
    ((result,),) = connection.run(statement, id=request.identifiers[0], client=request.client, **arguments)
    if result["outcome"] == "unknown_user" and request.person is not None:
        raise not_found("user with this id")
    return _recorded(result, sent, "")


def create_events(request: Request, connection: Any) -> Response:
    """POST /v1/events:batch: one statement for all events that are valid, each of which is recorded or refused alone.

    The results may be kept for a day (``Idempotency-Key``) without their users, so they hold no personal data.
    """
    events = request.body["events"]
    request.identifiers = request.identifiers or [identifiers.new() for _ in events]
    results: list[dict[str, Any]] = [{}] * len(events)
    valid: dict[int, dict[str, Any]] = {}
    for index, event in enumerate(events):
        at = f"/events/{index}"
        try:
            if errors := SCHEMAS.errors(event, _NEW_EVENT, at):
                raise invalid(errors)
            valid[index] = {"id": event.get("id", request.identifiers[index]), **arguments_of(event, at)}
        except Problem as problem:
            results[index] = _refused(problem, request)
    ((answers,),) = connection.run(
        "SELECT pmp.create_events(:events, :client)", events=json.dumps(list(valid.values())), client=request.client
    )
    for index, answer in zip(valid, answers, strict=True):
        try:
            status, event = _recorded(answer, events[index], f"/events/{index}")
        except Problem as problem:
            results[index] = _refused(problem, request)
        else:
            shown = ("id", "user", "received_at", "overridden")
            results[index] = {"status": status, **{name: event[name] for name in shown if name in event}}
    return Response(200, {"results": results})


def _refused(problem: Problem, request: Request) -> dict[str, Any]:
    return {"status": problem.status, "problem": problem.document(request.request_id)}


def arguments_of(event: dict[str, Any], at: str) -> dict[str, Any]:
    """What ``pmp.create_event`` is called with, but the ids and the client; None where it does not apply.

    Args:
        event: valid by the document.
        at: JSON Pointer to it.

    Raises:
        Problem: 422 for what a schema cannot say; 503 without the key of erasures.
    """
    seen: set[str] = set()
    for index, choice in enumerate(event["consents"]):
        if choice["id"] in seen:
            raise invalid([{"pointer": f"{at}/consents/{index}/id", "detail": "appears more than once in the event"}])
        seen.add(choice["id"])
    choices = [_choice(choice, f"{at}/consents/{index}") for index, choice in enumerate(event["consents"])]
    happened_at, is_upsert = instants.utc_text(event.get("occurred_at")), event.get("upsert", False)
    user = event["user"]
    name = people.asked(user)
    email = name.value if name is not None and name.kind == "email" else None
    if is_upsert and email is None:
        detail = "creates a user by `email` only, beside which other identifiers may be; ids are chosen by the API"
        raise invalid([{"pointer": f"{at}/upsert", "detail": detail}])
    if email is not None and is_upsert:
        name = people.Name("email", email := _address(user["email"], f"{at}/user/email"))
    beside = next((member for member in ("phone", "external_ids") if email is not None and member in user), None)
    if beside and not is_upsert:
        detail = "beside `email` is for a new user only: send `upsert: true`, or name the user by one identifier"
        raise invalid([{"pointer": f"{at}/user/{beside}", "detail": detail}])
    mark = None
    if name is not None and happened_at is not None:
        from pmp import erasures

        text = name.text
        mark = with_key(lambda: erasures.identifier_hash(text)).hex()
    return {
        "user_id": user.get("id"),
        "email": email,
        "kind": None if name is None or email is not None else name.kind,
        "value": None if name is None or email is not None else name.value,
        "identifiers": new_identifiers(user, f"{at}/user") if beside else {},
        "address_hash": mark,
        "is_upsert": is_upsert,
        "choices": choices,
        "happened_at": happened_at,
        "has_fraction": instants.has_fraction(event.get("occurred_at")),
        "context": context_of(event, f"{at}/context"),
    }


def _choice(choice: dict[str, Any], at: str) -> dict[str, Any]:
    """A choice with its value in the form in which it is kept; at: JSON Pointer to it."""
    if "value" not in choice:
        return choice
    try:
        return {**choice, "value": values.read(choice["value"], enabled=choice["enabled"])}
    except ValueError as error:
        raise invalid([{"pointer": f"{at}/value", "detail": str(error)}]) from None


def context_of(event: dict[str, Any], at: str) -> dict[str, Any] | None:
    """The event's context of proof; None without one. Raises Problem for what its schema cannot say."""
    context: dict[str, Any] | None = event.get("context") or None
    if context is None:
        return None
    if errors := contexts.further_errors(context, at):
        raise invalid(errors)
    return context


def _address(text: str, pointer: str) -> str:
    try:
        return addresses.normalize(text)
    except addresses.InvalidAddressError as error:
        raise invalid([{"pointer": pointer, "detail": error.discreet}]) from None


def _recorded(result: dict[str, Any], sent: dict[str, Any], at: str) -> tuple[int, dict[str, Any]]:
    """The status and the event of a result of ``pmp.create_event``.

    Args:
        result: the result.
        sent: the event as the client sent it.
        at: JSON Pointer to it.

    Raises:
        Problem: it was not recorded.
    """
    outcome, index = result["outcome"], result.get("index")
    if outcome == "created":
        return 201, result["event"]
    if outcome == "repeated":
        # If we chose the id, only we can have recorded it: the response to our first attempt was lost.
        return 200 if "id" in sent else 201, result["event"]
    if outcome == "erased":
        raise gone()
    if outcome == "conflict":
        raise Problem(409, "event-exists", "another event has this id; use a new id for a new event")
    if outcome == "removed":
        raise event_removed()
    if outcome == "taken":
        pointer = f"/user{people.member(result['kind'])}"
        raise invalid([{"pointer": at + pointer, "detail": "is taken by another user"}])
    by, what = next((member, what) for member, what in _NAMED_BY.items() if member in sent["user"])
    hint = "; send `upsert: true` to create the user" if by == "email" else ""
    pointer, detail = {
        "unknown_user": (f"/user/{by}", f"no user has this {what}{hint}"),
        "erased_since": (
            "/occurred_at",
            f"is before the erasure of the user with this {what}; omit it if the user makes the choice now",
        ),
        "unknown_consent": (f"/consents/{index}/id", "is not in the catalogue; GET /v1/consents lists it"),
        "unknown_version": (f"/consents/{index}/version", "is not a version of this consent"),
        "version_too_new": (
            f"/consents/{index}/version",
            f"was created at {result.get('created_at')}, after occurred_at; omit version for the one in force then",
        ),
        "retired": (
            f"/consents/{index}/id",
            f"was retired at {result.get('retired_at')} and can only be denied; GET /v1/consents lists those in use",
        ),
        "unknown_value": (
            f"/consents/{index}/value",
            values.refusal(result.get("allowed", ()), multiple=result.get("multiple", False)),
        ),
        "in_future": ("/occurred_at", "is more than five minutes in the future"),
    }[outcome]
    raise invalid([{"pointer": at + pointer, "detail": detail}])


def get_event(request: Request, connection: Any) -> Response:
    """GET /v1/events/{id}, on demand with the consent strings of its context decoded."""
    ((event,),) = connection.run("SELECT pmp.get_event(:id)", id=request.parameters["id"])
    if event is None:
        raise not_found("event with this id")
    if "removed" in event:
        raise Problem(410, "event-removed", "the event has left after its retention; only its id is kept")
    if request.query.get("decode", False):
        from pmp import vendors
        from pmp.signals import answer

        def names_of(version: int) -> answer.Names | None:
            found = vendors.names(connection, version)
            return answer.Names(**found) if found else None

        event["decoded"] = answer.decoded(event.get("context", {}), names_of)
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
