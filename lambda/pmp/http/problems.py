"""Error responses: RFC 9457 problem documents."""

from typing import Any

from pmp.identifiers import is_uuid

TITLES = {
    400: "Malformed request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    412: "Precondition failed",
    413: "Body too large",
    415: "Unsupported media type",
    422: "Not valid",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable",
}


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """An error response, raised wherever the error is found."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """Describe the error.

        Args:
            status: the HTTP status.
            code: a constant that names the kind of problem for programs; the end of the document's ``type``.
            detail: this occurrence, for people.
            errors: ``{"pointer" | "parameter" | "header": …, "detail": …}`` for each invalid part.
            headers: to be added to the response.
        """
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.headers = headers or {}

    def document(self, request_id: str) -> dict[str, Any]:
        """The problem document.

        Args:
            request_id: identifies the request in the logs; if it is a UUID, ``instance`` is its URN.
        """
        document: dict[str, Any] = {
            "type": f"urn:pmp:problem:{self.code}",
            "title": TITLES[self.status],
            "status": self.status,
            "detail": self.detail,
            "request_id": request_id,
        }
        if is_uuid(request_id):
            document["instance"] = f"urn:uuid:{request_id.lower()}"
        if self.errors:
            document["errors"] = self.errors
        return document


def invalid(errors: list[dict[str, str]]) -> Problem:
    """422 with the list of errors."""
    first = errors[0]
    where = first.get("pointer", first.get("parameter", first.get("header", "")))
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return Problem(422, "invalid", f"{where or 'the body'}: {first['detail']}{more}", errors=errors)


def not_found(what: str) -> Problem:
    """404 for a resource that does not exist."""
    return Problem(404, "not-found", f"there is no {what}")


def unavailable(detail: str) -> Problem:
    """503 for what a later attempt may get."""
    return Problem(503, "unavailable", detail)


def event_removed() -> Problem:
    """409 for the id of an event that has left the record: whether it was the same event, nobody can tell any more."""
    detail = "an event with this id was recorded, and has left after its retention; use a new id for a new event"
    return Problem(409, "event-removed", detail)


def gone() -> Problem:
    """410 for an erased user."""
    return Problem(410, "user-erased", "the user was erased; only a pseudonymous proof of past choices is kept")
