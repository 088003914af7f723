"""Whose data an answer discloses. The request's line in the log names them: it is the audit record (docs/adr/0411)."""

import json
from collections.abc import Callable
from typing import Any

from pmp.http.messages import Request, Response

TAIL = 12
"""Hexadecimal digits of a user's id in the record, its last ones: 48 random bits (RFC 9562, versions 4 and 7), and a
third of its length."""

IN_PATH = {"listUserEvents", "listUserConsents", "listUserDeliveries", "exportUser"}
"""``operationId`` where the path names the user."""

IN_TOKEN = {"getMe", "listMyEvents", "createMyEvent", "confirmMyConsents", "exportMe"}
"""``operationId`` where the user's own token does."""


def _of(users: list[dict[str, Any]]) -> list[str]:
    """The ids of users, and of those who were merged into them."""
    merged = [one["id"] for user in users if "merged" in user for one in user["merged"]]
    return [user["id"] for user in users] + merged


def _of_one(user: dict[str, Any]) -> list[str]:
    return _of([user]) if "merged" in user else [user["id"]]


IN_ANSWER: dict[str, Callable[[Any], list[str]]] = {
    "listUsers": lambda answer: _of(answer["items"]),
    "createUser": _of_one,
    "getUser": _of_one,
    "changeUser": _of_one,
    "mergeUsers": _of_one,
    "lookupUser": lambda answer: _of([user for user in (answer["user"], *answer["erased"]) if user]),
    "listEvents": lambda answer: [event["user"]["id"] for event in answer["items"]],
    "createEvent": lambda answer: [answer["user"]["id"]],
    "createEvents": lambda answer: [result["user"]["id"] for result in answer["results"] if "user" in result],
    "getEvent": lambda answer: [answer["user"]["id"]],
    "recordSignal": lambda answer: [answer["user"]["id"]],
}
"""By ``operationId``: the ids of the users in the answer's document."""

IN_RESPONSE = {"checkConsents"}
"""``operationId`` whose route tells (``Response.about``): the answer does not name the users."""

FILES = {"getExport": "export", "getImportRejects": "rejects", "getImportPreview": "preview"}
"""By ``operationId``: the file of many users' data that the answer leads to, or shows the beginning of."""


def note(request: Request, response: Response) -> None:
    """Keep for the request's line in the log whose data a successful answer discloses."""
    operation = request.operation
    if named := IN_ANSWER.get(operation):
        # A repeated answer has only its bytes.
        document = response.document
        users = named(json.loads(response.content or b"null") if document is None else document)
    elif operation in IN_PATH:
        users = [request.parameters["id"].lower()]
    elif operation in IN_RESPONSE:
        users = list(response.about)
    elif operation in IN_TOKEN and request.person is not None:
        users = [request.person.user]
    else:
        # An export has no file yet, or no longer.
        kind = FILES.get(operation)
        if kind and (response.document is None or response.document.get("download", True) is not None):
            request.discloses = {"discloses_file": f"{kind} {request.parameters['id'].lower()}"}
        return
    if len(users) == 1:
        request.discloses = {"discloses": users[0][-TAIL:]}
    elif users:
        request.discloses = {"discloses": " ".join(dict.fromkeys([user[-TAIL:] for user in users]))}
