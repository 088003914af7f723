"""Pages of a list: keyset pagination, with one item read ahead to know whether there is a next page."""

import base64
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from pmp.http.messages import LARGEST_ANSWER_BYTES, Request, Response, encode, fits, weight
from pmp.http.problems import Problem, invalid

DEFAULT_LIMIT = 50
INTEGER = ""
_LEAST_ROOM_BYTES = 32 * 1024
"""Of an answer, for everything but its items."""


def cursor(*position: Any) -> str:
    """A position in a list, opaque to the client."""
    return base64.urlsafe_b64encode(encode(position)).rstrip(b"=").decode()


def position(text: str | None, *kinds: str) -> tuple[Any, ...]:
    """The position that a cursor stands for; without a cursor, None for each kind.

    Args:
        text: from the client, who may have made it up.
        kinds: for each member of the position, ``INTEGER`` or the pattern of a string.

    Raises:
        Problem: 422 if it is not a cursor of such a list.
    """
    if text is None:
        return (None,) * len(kinds)
    try:
        values = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if isinstance(values, list) and len(values) == len(kinds) and all(map(_is_of, values, kinds)):
            return tuple(values)
    except (ValueError, TypeError, RecursionError):
        pass
    raise foreign()


def foreign() -> Problem:
    """422 for a cursor that this list did not give."""
    return invalid([{"parameter": "cursor", "detail": "is not a `next` value of this list"}])


def _is_of(value: Any, kind: str) -> bool:
    if kind == INTEGER:
        return type(value) is int and 0 <= value < 2**62
    return isinstance(value, str) and re.fullmatch(kind, value) is not None


def limit(request: Request) -> int:
    """The maximum number of items that the client asks for."""
    return int(request.query.get("limit", DEFAULT_LIMIT))


def page(
    request: Request,
    rows: list[dict[str, Any]],
    place: Callable[[dict[str, Any]], tuple[Any, ...]],
    *,
    hidden: str = "",
    **more: Any,
) -> Response:
    """A page of a list, with fewer items than asked for if they do not fit into one answer.

    Args:
        request: with ``limit``.
        rows: up to ``limit`` + 1 documents, in the list's order.
        place: gives a row's position in the order, JSON-encodable.
        hidden: a member of the rows that only ``place`` needs.
        more: further members of the response's document.
    """

    def of(most: int) -> Response:
        shown = rows[:most]
        following = cursor(*place(shown[-1])) if len(rows) > len(shown) else None
        headers = {}
        if following:
            query = urlencode({name: _text(value) for name, value in request.query.items()} | {"cursor": following})
            headers["Link"] = f'<{request.path}?{query}>; rel="next"'
        items = [{name: value for name, value in row.items() if name != hidden} for row in shown] if hidden else shown
        return Response(200, {"items": items, "next": following, **more}, headers, compress=True)

    response = of(limit(request))
    response.content = encode(response.document)
    return response if fits(response.content) else of(_count_fitting(rows))


def _count_fitting(rows: list[dict[str, Any]]) -> int:
    """How many of the items fit into one answer; at least one."""
    room, count = LARGEST_ANSWER_BYTES - _LEAST_ROOM_BYTES, 0
    for row in rows:
        room -= weight(encode(row)) + 1
        if room < 0:
            break
        count += 1
    return max(1, count)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
