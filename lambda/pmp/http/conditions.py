"""Entity tags and the conditions on them: ``If-Match`` and ``If-None-Match`` (RFC 9110, section 13.1)."""

import hashlib

from pmp.http.messages import Request, Response
from pmp.http.problems import Problem


def etag(content: bytes, *, weak: bool = False) -> str:
    """An entity tag of these bytes; weak if they may also be sent compressed."""
    return f'{"W/" if weak else ""}"{hashlib.sha256(content).hexdigest()[:32]}"'


def _tags(header: str) -> list[str]:
    return [tag.strip() for tag in header.split(",")]


def not_modified(request: Request, tag: str) -> bool:
    """Whether the client's copy is current (RFC 9110, section 13.1.2: weak comparison)."""
    header = request.headers.get("if-none-match")
    return header is not None and (
        header.strip() == "*" or tag.removeprefix("W/") in [known.removeprefix("W/") for known in _tags(header)]
    )


def _matches_strongly(header: str, tag: str) -> bool:
    """Whether ``If-Match`` holds (RFC 9110, section 13.1.1: strong comparison, so a weak tag never matches)."""
    return header.strip() == "*" or (not tag.startswith("W/") and tag in _tags(header))


def changed() -> Problem:
    """412 for a request whose ``If-Match`` names another state."""
    return Problem(412, "precondition-failed", "If-Match failed: the resource has changed; fetch it again")


def require_match(request: Request, tag: str | None) -> None:
    """Check ``If-Match`` and ``If-None-Match`` of a write.

    Args:
        request: the write.
        tag: entity tag of the present state; None if the resource does not exist.

    Raises:
        Problem: 412.
    """
    match, none_match = request.headers.get("if-match"), request.headers.get("if-none-match")
    if match is not None and (tag is None or not _matches_strongly(match, tag)):
        raise changed()
    if none_match is not None and tag is not None and not_modified(request, tag):
        raise Problem(412, "precondition-failed", "If-None-Match failed: the resource already exists")


def require_no_condition(request: Request) -> None:
    """Check the preconditions of a POST: its target exists, but has no entity tag.

    Raises:
        Problem: 412 for ``If-Match`` with tags, none of which can match, and for ``If-None-Match: *``.
    """
    match, none_match = (request.headers.get(name, "").strip() for name in ("if-match", "if-none-match"))
    if match not in {"", "*"} or none_match == "*":
        detail = "a POST has no ETag to compare; send it without If-Match and If-None-Match"
        raise Problem(412, "precondition-failed", detail)


def conditional(request: Request, response: Response) -> Response:
    """The response with its ETag, or 304 if the client's copy is current.

    Raises:
        Problem: 412 if ``If-Match`` fails.
    """
    content = response.body() or b""
    # Weak if it may be compressed: a strong one would have to differ between the codings.
    tag = etag(content, weak=response.compress)
    response.headers["ETag"] = tag
    match = request.headers.get("if-match")
    if match is not None and not _matches_strongly(match, tag):
        raise changed()
    if not_modified(request, tag):
        kept = {name: value for name, value in response.headers.items() if name in {"ETag", "Age", "Cache-Control"}}
        return Response(304, headers=kept)
    response.content = content
    return response
