"""``as_of`` and ``known_at``, which have one meaning wherever a request takes them (``db/README.md``, "Two times")."""

from typing import Any

from pmp import instants
from pmp.http.messages import Request
from pmp.http.problems import Problem, invalid


def limits(values: dict[str, Any], *, where: str = "parameter") -> dict[str, str | None]:
    """The two instants as arguments of a statement; None where the client named none.

    Args:
        values: the query, or the body.
        where: "parameter" for a query, "pointer" for a body.

    Raises:
        Problem: 422 for an instant in the future.
    """
    found: dict[str, str | None] = {}
    errors: list[dict[str, str]] = []
    for name in ("as_of", "known_at"):
        try:
            found[name] = instants.past_text(values.get(name))
        except ValueError as error:
            errors.append({where: name if where == "parameter" else f"/{name}", "detail": str(error)})
    if errors:
        raise invalid(errors)
    return found


def before_edge(request: Request, name: str, edge: str) -> Problem:
    """422 for a state from before the retention's edge.

    Args:
        request: with the limit in its query or body.
        name: of the limit that is too early; the other one where the client sent only that.
        edge: instant from which on states are complete.
    """
    sent, where, prefix = (
        (request.query, "parameter", "") if request.method != "POST" else (request.body, "pointer", "/")
    )
    if name not in sent:
        name = "known_at"
    detail = (
        f"is before {edge}: events from before this instant leave after their retention; ask for it, or for a later one"
    )
    return invalid([{where: prefix + name, "detail": detail}])
