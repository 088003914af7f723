"""Imports and exports as the client sees them; ``pmp.imports`` and ``pmp.exports`` do the work."""

from typing import Any
from urllib.parse import urlencode

from pmp import identifiers, instants, objects
from pmp.http.conditions import etag, require_match
from pmp.http.limits import limits
from pmp.http.messages import Request, Response, encode
from pmp.http.pages import cursor, foreign, limit, position
from pmp.http.problems import invalid, not_found


def create_import(request: Request, connection: Any) -> Response:
    """POST /v1/imports."""
    from pmp import imports

    try:
        declared = instants.past_text(request.body.get("occurred_at"))
    except ValueError as error:
        raise invalid([{"pointer": "/occurred_at", "detail": str(error)}]) from None
    if request.body.get("size", 0) > objects.LARGEST_PUT_BYTES:
        detail = (
            f"is more than S3 takes in one request ({objects.LARGEST_PUT_BYTES} bytes); compress the file with gzip, "
            "send it as several imports, or write it to the bucket's folder imports/ with AWS credentials: `aws s3 cp` "
            "uploads in parts"
        )
        raise invalid([{"pointer": "/size", "detail": detail}])
    mapping = None
    if (identifier := request.body.get("mapping")) is not None:
        mapping = imports.mapping_named(connection, identifier)
        if mapping is None:
            raise invalid([{"pointer": "/mapping", "detail": "does not exist; GET /v1/mappings lists them"}])
    document = imports.create(connection, request.body | {"occurred_at": declared}, request.client, mapping)
    return Response(201, document, {"Location": f"/v1/imports/{document['id']}"})


def list_imports(request: Request, connection: Any) -> Response:
    """GET /v1/imports."""
    from pmp import imports

    after = position(request.query.get("cursor"), identifiers.UUID)[0]
    if after is not None and imports.get(connection, after) is None:
        raise foreign()
    filters = {name: request.query[name] for name in imports.FILTERS if name in request.query}
    for name in ("created_since", "created_before"):
        if name in filters:
            try:
                filters[name] = instants.read(filters[name])[1]
            except ValueError as error:
                raise invalid([{"parameter": name, "detail": str(error)}]) from None
    documents, following = imports.list_jobs(connection, after, limit(request), filters)
    opaque = cursor(following) if following else None
    headers = {}
    if opaque:
        following_page = urlencode(filters | {"cursor": opaque, "limit": limit(request)})
        headers["Link"] = f'<{request.path}?{following_page}>; rel="next"'
    return Response(200, {"items": documents, "next": opaque}, headers)


def get_import(request: Request, connection: Any) -> Response:
    """GET /v1/imports/{id}."""
    from pmp import imports

    document = imports.get(connection, request.parameters["id"])
    if document is None:
        raise not_found("import with this id")
    return Response(200, document)


def cancel_import(request: Request, connection: Any) -> Response:
    """DELETE /v1/imports/{id}."""
    from pmp import imports

    before = imports.get(connection, request.parameters["id"], lock=True)
    if before is None:
        raise not_found("import with this id")
    require_match(request, etag(encode(before)))
    return Response(200, imports.cancel(connection, request.parameters["id"], request.client))


def get_import_rejects(request: Request, connection: Any) -> Response:
    """GET /v1/imports/{id}/rejects."""
    from pmp import imports

    address = imports.rejects_url(connection, request.parameters["id"])
    if address is None:
        raise not_found("file of rejected lines: the import has not ended, or rejected no line")
    return Response(302, headers={"Location": address})


def create_export(request: Request, connection: Any) -> Response:
    """POST /v1/exports."""
    from pmp import exports

    consent = request.body.get("consent")
    if consent is not None and connection.run("SELECT pmp.get_consent(:id)", id=consent) == [[None]]:
        raise invalid([{"pointer": "/consent", "detail": "is not in the catalogue; GET /v1/consents lists it"}])
    document = exports.create(connection, request.body | limits(request.body, where="pointer"), request.client)
    return Response(201, document, {"Location": f"/v1/exports/{document['id']}"})


def get_export(request: Request, connection: Any) -> Response:
    """GET /v1/exports/{id}."""
    from pmp import exports

    document = exports.get(connection, request.parameters["id"])
    if document is None:
        raise not_found("export with this id")
    return Response(200, document)
