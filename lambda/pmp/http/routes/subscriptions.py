"""Subscriptions: receivers of changes, and the ledger of what they were told."""

from typing import Any

from pmp.http.conditions import etag, require_match
from pmp.http.erasure_key import with_key
from pmp.http.messages import Request, Response, encode
from pmp.http.pages import INTEGER, cursor, fitting, limit, position
from pmp.http.problems import Problem, invalid, not_found


def _present(document: dict[str, Any] | None) -> dict[str, Any]:
    if document is None:
        raise not_found("subscription with this id")
    return document


def _require_target(body: dict[str, Any]) -> None:
    from pmp.deliveries import targets

    if "url" not in body:
        return
    try:
        targets.parse(body["url"])
    except targets.RefusedError as error:
        raise invalid([{"pointer": "/url", "detail": str(error)}]) from None


def list_subscriptions(request: Request, connection: Any) -> Response:  # noqa: ARG001 - a route's arguments
    """GET /v1/subscriptions."""
    from pmp.deliveries import subscriptions

    return Response(200, {"items": subscriptions.every(connection), "next": None})


def create_subscription(request: Request, connection: Any) -> Response:
    """POST /v1/subscriptions: the answer has the secret."""
    from pmp.deliveries import subscriptions

    _require_target(request.body)
    unknown = set(request.body.get("consents") or []) - {row[0] for row in connection.run("SELECT id FROM pmp.consent")}
    if unknown:
        detail = f"{min(unknown)} is not in the catalogue; GET /v1/consents lists it"
        raise invalid([{"pointer": "/consents", "detail": detail}])
    document = with_key(lambda: subscriptions.create(connection, request.body, request.client))
    if document is None:
        detail = f"there are {subscriptions.MOST} subscriptions, which is the most; delete one"
        raise Problem(409, "too-many", detail)
    return Response(201, document, {"Location": f"/v1/subscriptions/{document['id']}"})


def get_subscription(request: Request, connection: Any) -> Response:
    """GET /v1/subscriptions/{id}."""
    from pmp.deliveries import subscriptions

    return Response(200, _present(subscriptions.named(connection, request.parameters["id"])))


def change_subscription(request: Request, connection: Any) -> Response:
    """PATCH /v1/subscriptions/{id}."""
    from pmp.deliveries import subscriptions

    _require_target(request.body)
    before = _present(subscriptions.named(connection, request.parameters["id"]))
    require_match(request, etag(encode(before)))
    document = _present(subscriptions.change(connection, request.parameters["id"], request.body, request.client))
    return Response(200, document, {"ETag": etag(encode(document))})


def delete_subscription(request: Request, connection: Any) -> Response:
    """DELETE /v1/subscriptions/{id}."""
    from pmp.deliveries import subscriptions

    before = _present(subscriptions.named(connection, request.parameters["id"]))
    require_match(request, etag(encode(before)))
    subscriptions.delete(connection, request.parameters["id"], request.client)
    return Response(204)


def rotate_subscription(request: Request, connection: Any) -> Response:
    """POST /v1/subscriptions/{id}/rotate: the answer has the new secret."""
    from pmp.deliveries import subscriptions

    identifier = request.parameters["id"]
    document = _present(with_key(lambda: subscriptions.rotate(connection, identifier, request.client)))
    return Response(200, document)


def replay_subscription(request: Request, connection: Any) -> Response:
    """POST /v1/subscriptions/{id}/replay."""
    from pmp.deliveries import subscriptions

    start = request.body["from"]
    place: tuple[int, int] | None = None
    if start == "beginning":
        place = subscriptions.START
    elif start != "now":
        try:
            place = position(start, INTEGER, INTEGER)
        except Problem:
            detail = "is neither beginning nor now nor a `resume` value of GET /v1/events"
            raise invalid([{"pointer": "/from", "detail": detail}]) from None
    return Response(200, _present(subscriptions.replay(connection, request.parameters["id"], place, request.client)))


def list_user_deliveries(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}/deliveries: also of an erased user, because the erasure was told too."""
    moment, sequence = position(request.query.get("cursor"), INTEGER, INTEGER)
    most = limit(request)
    ((found,),) = connection.run(
        "SELECT pmp.list_deliveries(:id, timestamptz 'epoch' + :moment * interval '1 microsecond', :sequence, :most)",
        id=request.parameters["id"],
        moment=moment,
        sequence=sequence,
        most=most + 1,
    )
    if found is None:
        raise not_found("user with this id")
    rows = found["items"]

    def of(count: int) -> Response:
        following = cursor(*rows[count - 1]["place"]) if len(rows) > count else None
        items = [{name: value for name, value in row.items() if name != "place"} for row in rows[:count]]
        return Response(200, {"items": items, "erasure": found["erasure"], "next": following}, compress=True)

    return fitting(rows, of, most)
