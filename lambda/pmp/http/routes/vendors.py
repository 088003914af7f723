"""Vendors of the IAB's Global Vendor List, from our copy."""

from typing import Any

from pmp import vendors
from pmp.http.messages import INTEGER, Request, Response, conditional, position
from pmp.http.pages import limit, page
from pmp.http.problems import Problem, not_found


def _edition(connection: Any) -> tuple[dict[str, Any], int]:
    """The copy's edition and age. Where there is no copy yet, the first reader fetches it; nobody else waits."""
    found = vendors.edition(connection)
    if found is None and vendors.refresh(connection):
        found = vendors.edition(connection)
    if found is None:
        detail = "the vendor list could not be fetched yet"
        raise Problem(503, "no-vendor-list", detail, headers={"Retry-After": "30"})
    return found


def _answer(request: Request, response: Response, age: int) -> Response:
    response.compress = True
    response.headers["Cache-Control"] = "private, max-age=60"
    response = conditional(request, response)
    # After the entity tag: the document does not change with its age.
    response.headers["Age"] = str(age)
    return response


def list_vendors(request: Request, connection: Any) -> Response:
    """GET /v1/vendors: all, or those that declare a purpose."""
    edition, age = _edition(connection)
    (after,) = position(request.query.get("cursor"), INTEGER)
    purpose = request.query.get("purpose")
    rows = connection.run(
        "SELECT document FROM pmp.vendor WHERE id > :after AND purposes @> (:purposes)::integer[] "
        "ORDER BY id LIMIT :most",
        after=min(after or 0, 2**31 - 1),
        purposes=[] if purpose is None else [purpose],
        most=limit(request) + 1,
    )
    documents = [row[0] for row in rows]
    return _answer(request, page(request, documents, lambda vendor: (vendor["id"],), list=edition), age)


def get_vendor(request: Request, connection: Any) -> Response:
    """GET /v1/vendors/{id}."""
    edition, age = _edition(connection)
    rows = connection.run("SELECT document FROM pmp.vendor WHERE id = :id", id=request.parameters["id"])
    if not rows:
        raise not_found("vendor with this id in the list")
    return _answer(request, Response(200, {**rows[0][0], "list": edition}), age)
