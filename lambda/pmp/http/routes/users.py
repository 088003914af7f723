"""Users: registered, read, erased, exported."""

from typing import Any

from pmp import email, identifiers
from pmp.http.messages import INTEGER, Request, Response, conditional, encode, etag, position, require_match
from pmp.http.pages import limit, page
from pmp.http.problems import Problem, gone, invalid, not_found
from pmp.http.routes.events import EVENT_COLUMNS, event_document

_USER = "SELECT id::text, email, erased_at IS NOT NULL, consents FROM pmp.user_record"


def _choice(choice: dict[str, Any]) -> dict[str, Any]:
    if choice["expired"]:
        return {"id": choice["id"], "enabled": False, "reason": "expired"}
    return {"id": choice["id"], "enabled": choice["enabled"]}


def _document(identifier: str, address: str, consents: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": identifier, "email": address, "consents": [_choice(choice) for choice in consents]}


def _found(rows: list[Any]) -> dict[str, Any]:
    if not rows:
        raise not_found("user with this id")
    identifier, address, is_erased, consents = rows[0]
    if is_erased:
        raise gone()
    return _document(identifier, address, consents)


def create_user(request: Request, connection: Any) -> Response:
    """POST /v1/users."""
    address = email.normalized(request.body["email"], "/email")
    ((outcome, identifier, kept),) = connection.run(
        "SELECT outcome, id::text, email FROM pmp.create_user(:id, :address, :client)",
        id=identifiers.new(),
        address=address,
        client=request.client,
    )
    if outcome == "taken":
        raise invalid([{"pointer": "/email", "detail": "is taken by another user"}])
    document = _document(identifier, kept, [])
    headers = {"ETag": etag(encode(document)), "Location": f"/v1/users/{identifier}"}
    return Response(201, document, headers, subject=identifier)


def get_user(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}: now, or as of an instant."""
    identifier = request.parameters["id"]
    if "as_of" in request.query:
        rows = connection.run(
            "SELECT id::text, email, erased_at IS NOT NULL, consents FROM pmp.user_as_of(:id, :at)",
            id=identifier,
            at=request.query["as_of"],
        )
    else:
        rows = connection.run(f"{_USER} WHERE id = :id", id=identifier)
    return conditional(request, Response(200, _found(rows)))


def list_users(request: Request, connection: Any) -> Response:
    """GET /v1/users: all, the one of an address, or those of one choice."""
    consent, enabled = request.query.get("consent"), request.query.get("enabled")
    if (consent is None) != (enabled is None):
        raise invalid(
            [{"parameter": "consent" if consent is None else "enabled", "detail": "is missing: they go together"}]
        )
    if consent is not None and "email" in request.query:
        raise invalid([{"parameter": "email", "detail": "cannot be combined with consent"}])
    (after,) = position(request.query.get("cursor"), INTEGER)
    columns = "SELECT u.id::text, u.email, u.consents, u.subject_key FROM"
    arguments: dict[str, Any] = {"after": after or 0, "most": limit(request) + 1}
    if "email" in request.query:
        where = "pmp.user_record AS u WHERE u.email_key = pmp.fold_email(:email) AND u.subject_key > :after"
        arguments["email"] = email.sought(request.query["email"])
    elif consent is not None:
        # By the index (consent_key, enabled, subject_key); an expired choice is neither given nor denied.
        where = """pmp.current_choice AS c
            JOIN pmp.consent_version AS v USING (version_key)
            JOIN pmp.user_record AS u USING (subject_key)
            WHERE c.consent_key = (SELECT k.consent_key FROM pmp.consent AS k WHERE k.id = :consent)
              AND c.enabled = :enabled AND c.subject_key > :after AND u.erased_at IS NULL
              AND coalesce(pmp.expiry(c.occurred_at, v.expires_after_days) > now(), true)"""
        arguments |= {"consent": consent, "enabled": enabled}
    else:
        where = "pmp.user_record AS u WHERE u.erased_at IS NULL AND u.subject_key > :after"
    rows = connection.run(f"{columns} {where} ORDER BY subject_key LIMIT :most", **arguments)
    return page(request, rows, lambda row: _document(row[0], row[1], row[2]), lambda row: (row[3],))


def erase_user(request: Request, connection: Any) -> Response:
    """DELETE /v1/users/{id}."""
    identifier = request.parameters["id"]
    conditions = "if-match" in request.headers
    if conditions:
        before = _history(identifier, connection)
        require_match(request, etag(encode(_found(connection.run(f"{_USER} WHERE id = :id", id=identifier)))))
    ((outcome,),) = connection.run("SELECT pmp.erase_user(:id, :client)", id=identifier, client=request.client)
    if outcome == "unknown_user":
        raise not_found("user with this id")
    if outcome == "erased_user":
        raise gone()
    # The erasure holds the person's row, so nobody adds events now; somebody may have until it did.
    if conditions and _history(identifier, connection) != before:
        raise Problem(412, "precondition-failed", "If-Match does not hold: it was changed; read it again")
    return Response(204)


def _history(identifier: str, connection: Any) -> Any:
    return connection.run(
        "SELECT count(*), max(sequence) FROM pmp.event WHERE subject_key = "
        "(SELECT subject_key FROM pmp.subject WHERE id = :id)",
        id=identifier,
    )


def _subject_key(identifier: str, connection: Any) -> int:
    rows = connection.run("SELECT subject_key, erased_at IS NOT NULL FROM pmp.subject WHERE id = :id", id=identifier)
    if not rows:
        raise not_found("user with this id")
    ((key, is_erased),) = rows
    if is_erased:
        raise gone()
    return int(key)


def list_events(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}/events: in the order in which they count."""
    microseconds, sequence = position(request.query.get("cursor"), INTEGER, INTEGER)
    rows = connection.run(
        f"SELECT {EVENT_COLUMNS}, (extract(epoch FROM occurred_at) * 1000000)::bigint, sequence FROM pmp.event_record "
        "WHERE subject_key = :subject "
        "AND (occurred_at, sequence) > (timestamptz 'epoch' + :moment * interval '1 microsecond', :sequence) "
        "ORDER BY occurred_at, sequence LIMIT :most",
        subject=_subject_key(request.parameters["id"], connection),
        moment=microseconds or 0,
        sequence=sequence or 0,
        most=limit(request) + 1,
    )
    return page(request, rows, event_document, lambda row: (row[-2], row[-1]))


def export_user(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}/export: all that is kept about a person."""
    identifier = request.parameters["id"]
    rows = connection.run(
        "SELECT id::text, email, erased_at IS NOT NULL, consents, pmp.instant(created_at), pmp.instant(now()), "
        "ARRAY(SELECT json_build_array(id, user_id, consents, pmp.instant(occurred_at), pmp.instant(received_at), source) "
        "FROM pmp.event_record AS e WHERE e.subject_key = u.subject_key ORDER BY e.occurred_at, e.sequence) "
        "FROM pmp.user_record AS u WHERE id = :id",
        id=identifier,
    )
    user = _found([row[:4] for row in rows])
    _, _, _, _, created_at, exported_at, events = rows[0]
    document = {
        "user": user,
        "created_at": created_at,
        "exported_at": exported_at,
        "events": [event_document(event) for event in events],
    }
    return Response(200, document, compress=True)
