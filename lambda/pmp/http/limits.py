"""``as_of`` and ``known_at``, which have one meaning wherever a request takes them (``db/README.md``, "Two times")."""

from typing import Any

from pmp import instants
from pmp.http.problems import invalid


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
