"""Opt-out signals: recorded as events where they change something."""

import json
from typing import Any

from pmp import contexts, identifiers, people
from pmp.http.messages import Request, Response
from pmp.http.problems import event_removed, gone, invalid
from pmp.signals import gpp
from pmp.signals.precedence import DENIED_STATES, GPC

_SIGNALS = ("gpc", "gpp_string", "tc_string")


def record_signal(request: Request, connection: Any) -> Response:
    """POST /v1/signals: one statement; an event only if the signal denies what was not denied before."""
    body, user = request.body, request.body["user"]
    name = people.asked(user)
    context = _context(body)
    signals = [GPC] if _is_sent(context) else []
    request.identifiers = request.identifiers or [identifiers.new()]
    ((result,),) = connection.run(
        "SELECT pmp.record_signal(:id, :user_id, :kind, :value, :signals, :states, :context, :client)",
        id=request.identifiers[0],
        user_id=user.get("id"),
        kind=name and name.kind,
        value=name and name.value,
        signals=signals,
        states=DENIED_STATES,
        context=json.dumps(context),
        client=request.client,
    )
    if result["outcome"] == "erased":
        raise gone()
    if result["outcome"] == "removed":
        raise event_removed()
    if result["outcome"] == "unknown_user":
        raise invalid([{"pointer": f"/user/{next(iter(user))}", "detail": "no user has this; create the user first"}])
    event = result.get("event")
    answer = {"user": {"id": result["user_id"]}, "consents": result["consents"], "event": event}
    if event is None:
        return Response(200, answer, user=result["user_id"])
    return Response(201, answer, {"Location": f"/v1/events/{event['id']}"}, user=result["user_id"])


def _context(body: dict[str, Any]) -> dict[str, Any]:
    """The event's context: the signals, and what else was sent as context.

    Raises:
        Problem: 422 for no signal at all, a signal in the context, or a string that cannot be decoded.
    """
    if "gpc" not in body and "gpp_string" not in body:
        raise invalid([{"pointer": "/gpc", "detail": "is missing; send gpc or gpp_string"}])
    context: dict[str, Any] = body.get("context", {})
    if misplaced := [name for name in (*_SIGNALS, "despite_signal") if name in context]:
        detail = "does not belong in the context of a signal; send signals beside user"
        raise invalid([{"pointer": f"/context/{name}", "detail": detail} for name in misplaced])
    sent = {name: body[name] for name in _SIGNALS if name in body}
    if errors := contexts.further_errors(sent, "") or contexts.further_errors(context | sent, "/context"):
        raise invalid(errors)
    return context | sent


def _is_sent(context: dict[str, Any]) -> bool:
    """Whether the browser sent Global Privacy Control, by itself or within a section of the GPP string."""
    if context.get("gpc", False):
        return True
    sections = gpp.decode(context["gpp_string"]) if "gpp_string" in context else ()
    return any(isinstance(section.content, gpp.UsSection) and section.content.gpc for section in sections)
