"""Vendors of the IAB Global Vendor List, from PMP's copy."""

from typing import Any

from pmp import vendors
from pmp.http.messages import Request, Response
from pmp.http.pages import INTEGER, limit, page, position
from pmp.http.problems import Problem, not_found


def _edition(connection: Any) -> tuple[dict[str, Any], int]:
    """Edition and age of the copy. If there is none yet, the first reader fetches it; other readers do not wait."""
    found = vendors.edition(connection)
    if found is None and vendors.refresh(connection):
        found = vendors.edition(connection)
    if found is None:
        detail = "the vendor list has not been fetched yet"
        raise Problem(503, "no-vendor-list", detail, headers={"Retry-After": "30"})
    return found


def _aged(response: Response, age: int) -> Response:
    response.compress = True
    response.headers |= {"Cache-Control": "private, max-age=60", "Age": str(age)}
    return response


def list_vendors(request: Request, connection: Any) -> Response:
    """GET /v1/vendors: all vendors, or those that declare a purpose."""
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
    return _aged(page(request, documents, lambda vendor: (vendor["id"],), list=edition), age)


def get_vendor(request: Request, connection: Any) -> Response:
    """GET /v1/vendors/{id}."""
    edition, age = _edition(connection)
    rows = connection.run("SELECT document FROM pmp.vendor WHERE id = :id", id=request.parameters["id"])
    if not rows:
        raise not_found("vendor with this id in the list")
    return _aged(Response(200, {**rows[0][0], "list": edition}), age)
