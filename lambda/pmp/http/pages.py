"""Pages of a list: keyset pagination."""

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
        return _response(request, shown, cursor(*place(shown[-1])) if len(rows) > len(shown) else None, hidden, more)

    return fitting(rows, of, limit(request))


def part(request: Request, rows: dict[str, Any], *, resumes: bool) -> Response:
    """A page that the database has cut; it may be short or empty although more follow.

    Args:
        request: with its query.
        rows: ``{"items": each with its "place", "last": place after which the next page begins, "more": whether that
            would have items now}``.
        resumes: whether what is added later comes after ``last``; the response then has ``resume`` for followers.
    """
    items = rows["items"]

    def of(most: int) -> Response:
        is_cut = len(items) > most
        last = cursor(*(items[most - 1]["place"] if is_cut else rows["last"]))
        following = last if is_cut or rows["more"] else None
        return _response(request, items[:most], following, "place", {"resume": last if resumes else None})

    return fitting(items, of, len(items))


def _response(
    request: Request, items: list[dict[str, Any]], following: str | None, hidden: str, more: dict[str, Any]
) -> Response:
    headers = {}
    if following:
        query = urlencode({name: _text(value) for name, value in request.query.items()} | {"cursor": following})
        headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    shown = [{name: value for name, value in item.items() if name != hidden} for item in items] if hidden else items
    return Response(200, {"items": shown, "next": following, **more}, headers, compress=True)


def fitting(rows: list[dict[str, Any]], of: Callable[[int], Response], most: int) -> Response:
    """The response with ``most`` of the rows, or with as many as fit into one answer.

    Args:
        rows: JSON-encodable.
        of: makes the response with so many of them.
        most: how many the client asks for.
    """
    response = of(most)
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
