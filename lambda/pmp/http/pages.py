"""Pages of a list: keyset pagination, one item read ahead to know whether there is a next page."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from pmp.http.messages import Request, Response, cursor

DEFAULT_LIMIT = 50


def limit(request: Request) -> int:
    """How many items the client wants."""
    return int(request.query.get("limit", DEFAULT_LIMIT))


def page(
    request: Request,
    rows: list[dict[str, Any]],
    place: Callable[[dict[str, Any]], tuple[Any, ...]],
    *,
    hidden: str = "",
    **more: Any,
) -> Response:
    """A page of a list.

    Args:
        request: with ``limit``.
        rows: documents, up to ``limit`` + 1 of them, in the list's order.
        place: a row's position in the order, JSON-encodable.
        hidden: a member of the rows that only ``place`` needs.
        more: further members of the document.
    """
    shown = rows[: limit(request)]
    following = cursor(*place(shown[-1])) if len(rows) > len(shown) else None
    headers = {}
    if following:
        query = urlencode({name: _text(value) for name, value in request.query.items()} | {"cursor": following})
        headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    items = [{name: value for name, value in row.items() if name != hidden} for row in shown] if hidden else shown
    return Response(200, {"items": items, "next": following, **more}, headers)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
