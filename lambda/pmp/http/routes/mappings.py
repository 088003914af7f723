"""Mappings of imports: how records of other systems become events."""

from typing import Any

from pmp.http.conditions import etag, require_match
from pmp.http.messages import Request, Response, encode
from pmp.http.problems import invalid, not_found

_READ_ONLY = {"id", "is_ready", "created_at", "updated_at"}


def list_mappings(request: Request, connection: Any) -> Response:  # noqa: ARG001 - a route's arguments
    """GET /v1/mappings."""
    from pmp.imports import mappings

    return Response(200, {"items": mappings.every(connection), "next": None})


def get_mapping(request: Request, connection: Any) -> Response:
    """GET /v1/mappings/{id}."""
    from pmp.imports import mappings

    document = mappings.named(connection, request.parameters["id"])
    if document is None:
        raise not_found("mapping with this id")
    return Response(200, document)


def put_mapping(request: Request, connection: Any) -> Response:
    """PUT /v1/mappings/{id}."""
    from pmp.imports import mapping, mappings

    identifier = request.parameters["id"]
    before = mappings.named(connection, identifier)
    require_match(request, etag(encode(before)) if before else None)
    document = {name: value for name, value in request.body.items() if name not in _READ_ONLY}
    catalogue = {row[0] for row in connection.run("SELECT id FROM pmp.consent")}
    errors = mapping.faults(document, catalogue) + mappings.conflicts(connection, identifier, document)
    if errors:
        raise invalid(errors)
    stored = mappings.put(connection, identifier, document, request.client)
    headers = {"ETag": etag(encode(stored))}
    if before is None or before["is_ready"]:
        return Response(201, stored, {**headers, "Location": f"/v1/mappings/{identifier}"})
    return Response(200, stored, headers)
