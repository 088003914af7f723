"""What the generator leaves out: safe repetition and paging."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
from httpx_retries import Retry, RetryTransport

from .client import AuthenticatedClient

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")


class ApiError(Exception):
    """The API answered with an error.

    Attributes:
        problem: the problem document (RFC 9457), or the gateway's short document.
    """

    def __init__(self, problem: Any) -> None:
        """Keep the document."""
        super().__init__(getattr(problem, "detail", None) or getattr(problem, "message", None) or "no answer")
        self.problem = problem


def connect(url: str, token: str, *, attempts: int = 5) -> AuthenticatedClient:
    """Return a client that repeats what a later attempt may get.

    Every POST gets an ``Idempotency-Key``, unless it has one, so that a repeated request is performed once.

    Args:
        url: base URL of the API.
        token: an access token.
        attempts: at most so many requests for one call. Connections that break and answers 429, 502, 503 and 504 are
            repeated, after the time in ``Retry-After``, else after 0.5 seconds, doubled each time.
    """
    retry = Retry(total=attempts - 1, backoff_factor=0.5, allowed_methods=_METHODS)
    return AuthenticatedClient(
        base_url=url,
        token=token,
        raise_on_unexpected_status=True,
        httpx_args={"transport": RetryTransport(retry=retry), "event_hooks": {"request": [_add_key]}},
    )


def _add_key(request: httpx.Request) -> None:
    if request.method == "POST":
        request.headers.setdefault("Idempotency-Key", str(uuid.uuid4()))


def every(operation: Callable[..., Any], *arguments: Any, **filters: Any) -> Iterator[Any]:
    """Yield the items of all pages of a list.

    Args:
        operation: the ``sync`` function of a list, such as ``list_events.sync``.
        arguments: what the list needs by position, such as a user's id.
        filters: ``client``, and what the list takes by name.

    Raises:
        ApiError: the API answered with an error.
    """
    while True:
        page = operation(*arguments, **filters)
        if not hasattr(page, "items"):
            raise ApiError(page)
        yield from page.items
        if not page.next_:
            return
        filters["cursor"] = page.next_
