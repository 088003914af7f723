"""Imports and exports as the client sees them; ``pmp.imports`` and ``pmp.exports`` do the work."""

from typing import Any
from urllib.parse import urlencode

from pmp import identifiers, instants, objects
from pmp.http.conditions import etag, require_match
from pmp.http.limits import limits
from pmp.http.messages import Request, Response, encode
from pmp.http.pages import INTEGER, cursor, foreign, limit, position
from pmp.http.problems import Problem, invalid, not_found

_OF_UPLOADS = {"format", "compression", "sha256", "size", "content_type"}
"""What a request for objects that are in the bucket already may not say."""


def create_import(request: Request, connection: Any) -> Response:
    """POST /v1/imports."""
    from pmp import imports

    of_objects = {"prefix", "keys"} & request.body.keys()
    if of_objects and (others := (_OF_UPLOADS | of_objects) & request.body.keys() - {min(of_objects)}):
        detail = f"does not go together with {min(of_objects)}: the objects are there already"
        raise invalid([{"pointer": f"/{name}", "detail": detail} for name in sorted(others)])
    if of_objects and request.body.get("dry_run"):
        detail = "is for one upload: an import deletes its objects at its end; try a copy of one of them"
        raise invalid([{"pointer": "/dry_run", "detail": detail}])
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
    create = imports.create_of_objects if of_objects else imports.create
    try:
        document = create(connection, request.body | {"occurred_at": declared}, request.client, mapping)
    except imports.ChoiceError as error:
        raise invalid(error.errors) from None
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


def get_import_preview(request: Request, connection: Any) -> Response:
    """GET /v1/imports/{id}/preview."""
    from pmp import imports

    document = imports.preview(connection, request.parameters["id"])
    if document is None:
        raise not_found("preview: the import is not a dry run, or ended more than a day ago")
    return Response(200, document)


def get_import_rejects(request: Request, connection: Any) -> Response:
    """GET /v1/imports/{id}/rejects."""
    from pmp import imports

    address = imports.rejects_url(connection, request.parameters["id"])
    if address is None:
        raise not_found(
            "file of rejected lines: the import has not ended, or rejected no line; of several objects, each part has "
            "its own file: GET /v1/imports?parent={id} lists them"
        )
    return Response(302, headers={"Location": address})


def create_export(request: Request, connection: Any) -> Response:
    """POST /v1/exports."""
    from pmp import exports

    consent = request.body.get("consent")
    of_events = request.body.get("contents") == "events"
    if consent is not None and request.body.get("contents", "users") != "users":
        raise invalid([{"pointer": "/consent", "detail": "filters users; leave it out, or ask for contents users"}])
    if "since" in request.body and not of_events:
        raise invalid([{"pointer": "/since", "detail": "is a place among events; ask for contents events"}])
    if consent is not None and connection.run("SELECT pmp.get_consent(:id)", id=consent) == [[None]]:
        raise invalid([{"pointer": "/consent", "detail": "is not in the catalogue; GET /v1/consents lists it"}])
    try:
        after = position(request.body.get("since"), INTEGER, INTEGER)
    except Problem:
        detail = "must be the `resume` of an export or of GET /v1/events"
        raise invalid([{"pointer": "/since", "detail": detail}]) from None
    document = exports.create(
        connection,
        request.body | limits(request.body, where="pointer"),
        request.client,
        (after[0] or 0, after[1] or 0),
    )
    return Response(201, _shown(document), {"Location": f"/v1/exports/{document['id']}"})


def list_exports(request: Request, connection: Any) -> Response:
    """GET /v1/exports."""
    from pmp import exports

    after = position(request.query.get("cursor"), identifiers.UUID)[0]
    if after is not None and exports.get(connection, after) is None:
        raise foreign()
    documents, following = exports.list_jobs(connection, after, limit(request))
    opaque = cursor(following) if following else None
    headers = {"Link": f'<{request.path}?cursor={opaque}&limit={limit(request)}>; rel="next"'} if opaque else {}
    return Response(200, {"items": [_shown(one) for one in documents], "next": opaque}, headers)


def delete_export(request: Request, connection: Any) -> Response:
    """DELETE /v1/exports/{id}."""
    from pmp import exports

    before = exports.get(connection, request.parameters["id"], lock=True)
    if before is None:
        raise not_found("export with this id")
    require_match(request, etag(encode(_shown(before))))
    return Response(200, _shown(exports.delete(connection, request.parameters["id"], request.client) or before))


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    """An export with its place in the feed as a cursor."""
    return document | {"resume": cursor(*document["resume"]) if document["resume"] else None}


def get_export(request: Request, connection: Any) -> Response:
    """GET /v1/exports/{id}."""
    from pmp import exports

    document = exports.get(connection, request.parameters["id"])
    if document is None:
        raise not_found("export with this id")
    return Response(200, _shown(document))
