"""The catalogue: what a person can agree to, in versions."""

from typing import Any

from pmp.http.messages import Request, Response, conditional, encode, etag, position, require_match
from pmp.http.pages import limit, page
from pmp.http.problems import Problem, not_found

_COLUMNS = "id, version, description, channel, expires_after_days, pmp.instant(created_at)"


def _document(row: Any) -> dict[str, Any]:
    identifier, version, description, channel, expires_after_days, created_at = row
    return {
        "id": identifier,
        "version": version,
        "description": description,
        "channel": channel,
        "expires_after_days": expires_after_days,
        "created_at": created_at,
    }


def list_consents(request: Request, connection: Any) -> Response:
    """GET /v1/consents."""
    (after,) = position(request.query.get("cursor"), "[a-z0-9_]{1,63}")
    rows = connection.run(
        f"SELECT {_COLUMNS} FROM pmp.catalogue WHERE id > :after ORDER BY id LIMIT :most",
        after=after or "",
        most=limit(request) + 1,
    )
    return page(request, rows, _document, lambda row: (row[0],))


def _current(identifier: str, connection: Any) -> dict[str, Any] | None:
    rows = connection.run(f"SELECT {_COLUMNS} FROM pmp.catalogue WHERE id = :id", id=identifier)
    return _document(rows[0]) if rows else None


def get_consent(request: Request, connection: Any) -> Response:
    """GET /v1/consents/{id}: the present version, or the one asked for."""
    identifier = request.parameters["id"]
    if "version" in request.query:
        rows = connection.run(
            "SELECT c.id, v.version, v.description, v.channel, v.expires_after_days, pmp.instant(v.created_at) "
            "FROM pmp.consent AS c JOIN pmp.consent_version AS v USING (consent_key) "
            "WHERE c.id = :id AND v.version = :version",
            id=identifier,
            version=request.query["version"],
        )
        document = _document(rows[0]) if rows else None
    else:
        document = _current(identifier, connection)
    if document is None:
        raise not_found("such consent, or version of it")
    return conditional(request, Response(200, document))


def put_consent(request: Request, connection: Any) -> Response:
    """PUT /v1/consents/{id}: a new version, unless nothing differs."""
    identifier = request.parameters["id"]
    before = _current(identifier, connection)
    require_match(request, etag(encode(before)) if before else None)
    fields = {name: request.body.get(name) for name in ("description", "channel", "expires_after_days")}
    ((outcome, version, created_at),) = connection.run(
        "SELECT outcome, version, pmp.instant(created_at) "
        "FROM pmp.put_consent(:id, :description, :channel, :expires_after_days, :client)",
        id=identifier,
        client=request.client,
        **fields,
    )
    # The writers of one consent take turns inside put_consent; another's turn may have come between the two statements.
    expected = (before["version"] if before else 0) + (0 if outcome == "unchanged" else 1)
    if version != expected and {"if-match", "if-none-match"} & request.headers.keys():
        raise Problem(412, "precondition-failed", "the consent was changed in the meantime; read it again")
    document = {"id": identifier, "version": version, **fields, "created_at": created_at}
    headers = {"ETag": etag(encode(document))}
    if outcome == "created":
        headers["Location"] = f"/v1/consents/{identifier}"
    return Response(201 if outcome == "created" else 200, document, headers)
