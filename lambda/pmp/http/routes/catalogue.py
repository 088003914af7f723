"""The catalogue: the consents that users can give, in versions."""

import json
from typing import Any

from pmp.http.conditions import etag, require_match
from pmp.http.messages import Request, Response, encode
from pmp.http.pages import INTEGER, limit, page, position
from pmp.http.problems import Problem, invalid, not_found

_TERMS = (
    "model", "models_by_country", "legal_basis", "translations", "requires_new_consent", "opt_out_signals", "values",
    "multiple",
)  # fmt: skip


def list_consents(request: Request, connection: Any) -> Response:
    """GET /v1/consents: those in use, or the retired ones."""
    (after,) = position(request.query.get("cursor"), "[a-z0-9_]{1,63}")
    ((consents,),) = connection.run(
        "SELECT pmp.list_consents(:after, :most, :retired)",
        after=after,
        most=limit(request) + 1,
        retired=request.query.get("retired", False),
    )
    return page(request, consents, lambda consent: (consent["id"],))


def get_consent(request: Request, connection: Any) -> Response:
    """GET /v1/consents/{id}: the newest version, or the one asked for."""
    ((consent,),) = connection.run(
        "SELECT pmp.get_consent(:id, :version)", id=request.parameters["id"], version=request.query.get("version")
    )
    if consent is None:
        raise not_found("such consent or version")
    return Response(200, consent)


def list_versions(request: Request, connection: Any) -> Response:
    """GET /v1/consents/{id}/versions: from the first to the newest."""
    (after,) = position(request.query.get("cursor"), INTEGER)
    ((versions,),) = connection.run(
        "SELECT pmp.list_versions(:id, :after, :most)",
        id=request.parameters["id"],
        # A cursor is made up by the client.
        after=None if after is None else min(after, 2**31 - 1),
        most=limit(request) + 1,
    )
    if versions is None:
        raise not_found("such consent")
    return page(request, versions, lambda version: (version["version"],))


def retire_consent(request: Request, connection: Any) -> Response:
    """DELETE /v1/consents/{id}: its versions stay, because events refer to them."""
    identifier = request.parameters["id"]
    ((before,),) = connection.run("SELECT pmp.get_consent(:id)", id=identifier)
    if before is None:
        raise not_found("such consent")
    require_match(request, etag(encode(before)))
    ((consent,),) = connection.run("SELECT pmp.retire_consent(:id, :client)", id=identifier, client=request.client)
    return Response(200, consent, {"ETag": etag(encode(consent))})


def put_consent(request: Request, connection: Any) -> Response:
    """PUT /v1/consents/{id}: a new version, unless nothing has changed."""
    identifier, body = request.parameters["id"], request.body
    _check_terms(body)
    ((before,),) = connection.run("SELECT pmp.get_consent(:id)", id=identifier)
    require_match(request, etag(encode(before)) if before else None)
    _check_read_only(body, before or {"id": identifier})
    ((result,),) = connection.run(
        "SELECT pmp.put_consent(:id, :description, :channel, :expires_after_days, :client, :terms)",
        id=identifier,
        description=body["description"],
        channel=body["channel"],
        expires_after_days=body.get("expires_after_days"),
        client=request.client,
        terms=json.dumps({name: body[name] for name in _TERMS if name in body}),
    )
    if result["outcome"] == "too_many":
        detail = (
            f"the catalogue has {result['most']} consents, which is the most it can hold; change one of them instead"
        )
        raise invalid([{"pointer": "", "detail": detail}])
    consent = result["consent"]
    # put_consent serializes the writers of a consent; another one may have come between our two statements.
    expected = (before["version"] if before else 0) + (0 if result["outcome"] == "unchanged" else 1)
    if consent["version"] != expected and {"if-match", "if-none-match"} & request.headers.keys():
        raise Problem(412, "precondition-failed", "the consent has changed; fetch it again")
    headers = {"ETag": etag(encode(consent))}
    if result["outcome"] == "created":
        return Response(201, consent, {**headers, "Location": f"/v1/consents/{identifier}"})
    return Response(200, consent, headers)


def _check_terms(body: dict[str, Any]) -> None:
    """What a schema cannot say of a consent's terms.

    Raises:
        Problem: 422.
    """
    errors = []
    model, basis = body.get("model", "opt_in"), body.get("legal_basis")
    if basis is not None and (basis == "consent") != (model == "opt_in"):
        needed = "must be consent" if model == "opt_in" else "must not be consent"
        why = "consent is an affirmative act (GDPR Art. 4(11)), so it is the basis of opt_in and of no other model"
        errors.append({"pointer": "/legal_basis", "detail": f"{needed} with the model {model}: {why}"})
    elif basis not in {None, "legitimate_interests"} and model == "legitimate_interest":
        errors.append({"pointer": "/legal_basis", "detail": "must be legitimate_interests with this model"})
    tags = set[str]()
    for tag in body.get("translations", {}):
        if tag.lower() in tags:
            detail = "is there in another case; language tags differ by more than case"
            errors.append({"pointer": f"/translations/{tag}", "detail": detail})
        tags.add(tag.lower())
    values = [value["id"] for value in body.get("values") or ()]
    errors += [
        {"pointer": f"/values/{place}/id", "detail": "appears more than once"}
        for place, value in enumerate(values)
        if value in values[:place]
    ]
    if body.get("multiple") and not values:
        errors.append({"pointer": "/multiple", "detail": "is for consents with values; add values"})
    if errors:
        raise invalid(errors)


def _check_read_only(body: dict[str, Any], present: dict[str, Any]) -> None:
    """Members that a client cannot set may be sent back as they were read, so that it can change what it has read."""
    errors = []
    for name in ("id", "version", "created_at", "retired_at"):
        if name in body and body[name] != present.get(name):
            found = f"equal {present[name]}" if name in present else "be left out for a new consent"
            errors.append({"pointer": f"/{name}", "detail": f"is read-only: must {found}"})
    if errors:
        raise invalid(errors)
