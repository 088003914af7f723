"""Users: register, read, change, erase and export them. The database builds the documents (``db/README.md``)."""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

from pmp import addresses, identifiers, instants, logging, people
from pmp.configuration import configuration
from pmp.http.conditions import changed, etag, require_match
from pmp.http.erasure_key import with_key
from pmp.http.identifiers import new_identifiers
from pmp.http.limits import limits
from pmp.http.messages import Request, Response, encode, fits
from pmp.http.pages import DEFAULT_LIMIT, INTEGER, cursor, fitting, limit, page, part, position
from pmp.http.problems import Problem, gone, invalid, not_found, unavailable

_EXPORT_PAGE = 1000
"""Events that an export reads at once."""


def _present(document: Any) -> Any:
    """The document; 404 if there never was such a user, 410 if the user was erased."""
    if document is None:
        raise not_found("user with this id")
    if "erased" in document:
        raise gone()
    return document


def _new_address(text: str) -> str:
    """An address as it is stored; 422 if it is not valid."""
    try:
        return addresses.normalize(text)
    except ValueError as error:
        raise invalid([{"pointer": "/email", "detail": str(error)}]) from None


def _taken(kind: str) -> Problem:
    return invalid([{"pointer": people.member(kind), "detail": "is taken by another user"}])


def create_user(request: Request, connection: Any) -> Response:
    """POST /v1/users."""
    ((user,),) = connection.run(
        "SELECT pmp.create_user(:address, :client, :identifiers)",
        address=_new_address(request.body["email"]),
        client=request.client,
        identifiers=json.dumps(new_identifiers(request.body, "")),
    )
    if "taken" in user:
        raise _taken(user["taken"])
    headers = {"ETag": etag(encode(user)), "Location": f"/v1/users/{user['id']}"}
    return Response(201, user, headers, user=user["id"])


def get_user(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}: the user's present state, or the state as of an instant, or as it was known at an instant."""
    ((user,),) = connection.run(
        "SELECT pmp.get_user(:id, :as_of, :known_at)", id=request.parameters["id"], **limits(request.query)
    )
    return Response(200, _present(user))


def change_user(request: Request, connection: Any) -> Response:
    """PATCH /v1/users/{id}: other identifiers; hashes of the former ones are kept for the erasure."""
    from pmp import erasures

    identifier = request.parameters["id"]
    address = _new_address(request.body["email"]) if "email" in request.body else None
    asked = new_identifiers(request.body, "")
    if request.body:
        with_key(erasures.key)  # before the user is locked
    ((found,),) = connection.run("SELECT pmp.lock_user(:id)", id=identifier)
    user = _present(found)
    require_match(request, etag(encode(user)))
    before = people.named(user)
    if "external_ids" in request.body and request.body["external_ids"] is None:
        asked |= dict.fromkeys(kind for kind in before if kind != "phone")
    changes = {kind: value for kind, value in asked.items() if value != before.get(kind)}
    count = sum(value is not None and kind != "phone" for kind, value in (before | changes).items())
    adds = any(value is not None and kind not in before for kind, value in changes.items())
    if adds and count > people.MOST_EXTERNAL_IDS:
        raise invalid([{"pointer": "/external_ids", "detail": f"would be more than {people.MOST_EXTERNAL_IDS} ids"}])
    address = user["email"] if address is None else address
    if changes or address != user["email"]:
        former = [people.Name(kind, before[kind]) for kind in changes if kind in before]
        if addresses.fold(address) != addresses.fold(user["email"]):
            former.append(people.Name("email", user["email"]))
        ((user,),) = connection.run(
            "SELECT pmp.change_user(:id, :address, :changes, CAST(:marks AS bytea[]), :client)",
            id=identifier,
            address=address,
            changes=json.dumps(changes),
            marks=[erasures.identifier_hash(name.text) for name in former],
            client=request.client,
        )
        if "taken" in user:
            raise _taken(user["taken"])
    return Response(200, user, {"ETag": etag(encode(user))})


def merge_users(request: Request, connection: Any) -> Response:
    """POST /v1/users/{id}/merge: everything of another user belongs to this one from now on, for good."""
    identifier, other = request.parameters["id"].lower(), request.body["from"].lower()
    if identifier == other:
        raise invalid([{"pointer": "/from", "detail": "is the user in the path; name another one"}])
    ((user,),) = connection.run(
        "SELECT pmp.merge_users(:id, :other, :client)", id=identifier, other=other, client=request.client
    )
    match user:
        case {"unknown": "other"}:
            raise invalid([{"pointer": "/from", "detail": "no user has this id"}])
        case {"erased": "other"}:
            raise invalid([{"pointer": "/from", "detail": "is the id of a user who was erased"}])
        case {"unknown": _}:
            user = None
    return Response(200, _present(user))


def _expires_before(query: dict[str, Any]) -> str | None:
    """The instant before which the listed grants expire; None: however long they count."""
    if "expires_before" not in query:
        return None
    detail = None
    if query.get("enabled") is not True:
        detail = "lists grants: give consent and enabled=true, too"
    elif others := sorted({"as_of", "known_at", "email"} & query.keys()):
        detail = f"is about the present grants of all users: leave out {' and '.join(others)}"
    if detail is None:
        try:
            return instants.utc_text(query["expires_before"])
        except ValueError as error:
            detail = str(error)
    raise invalid([{"parameter": "expires_before", "detail": detail}])


def list_users(request: Request, connection: Any) -> Response:
    """GET /v1/users: all users, the one with an address, or those who made a choice."""
    query, moments = request.query, limits(request.query)
    if ("consent" in query) != ("enabled" in query):
        lacking = "enabled" if "consent" in query else "consent"
        raise invalid([{"parameter": lacking, "detail": "is required: consent and enabled must be given together"}])
    if "consent" in query and connection.run("SELECT pmp.get_consent(:id)", id=query["consent"]) == [[None]]:
        raise invalid([{"parameter": "consent", "detail": "is not in the catalogue; GET /v1/consents lists it"}])
    expires_before = _expires_before(query)
    if "email" in query:
        position(query.get("cursor"))
        ((users,),) = connection.run(
            "SELECT pmp.find_user(:address, :consent, :enabled, :as_of, :known_at)",
            address=addresses.lookup_form(query["email"]),
            consent=query.get("consent"),
            enabled=query.get("enabled"),
            **moments,
        )
        return part(request, {"items": users, "last": (), "more": False}, resumes=False)
    if "consent" in query:
        (key,) = position(query.get("cursor"), INTEGER)
        ((users,),) = connection.run(
            "SELECT pmp.list_users_by_choice(:key, :most, :consent, :enabled, :as_of, :known_at, :expires_before)",
            key=key,
            most=limit(request),
            consent=query["consent"],
            enabled=query["enabled"],
            expires_before=expires_before,
            **moments,
        )
        return part(request, users, resumes=False)
    number, key = position(query.get("cursor"), INTEGER, INTEGER)
    ((users,),) = connection.run(
        "SELECT pmp.list_users(:number, :key, :most, :as_of, :known_at)",
        number=number,
        key=key,
        most=limit(request),
        **moments,
    )
    return part(request, users, resumes=True)


def erase_user(request: Request, connection: Any) -> Response:
    """DELETE /v1/users/{id}: recorded in the journal before it is done; both or neither, unless we are killed between.

    Then the journal has an erasure that was asked for and not done; the client, who got no answer, repeats it.
    """
    from pmp import erasures

    asked = request.parameters["id"].lower()
    with_key(erasures.key)  # before the user is locked
    conditions = bool({"if-match", "if-none-match"} & request.headers.keys())
    if conditions:
        before = _history(asked, connection)
        ((user,),) = connection.run("SELECT pmp.get_user(:id)", id=asked)
        require_match(request, etag(encode(_present(user))))
    ((found,),) = connection.run("SELECT pmp.prepare_erasure(:id)", id=asked)
    person = _present(found)
    # The user's row is locked, so no event is added now; one may have been added before that.
    if conditions and _history(asked, connection) != before:
        raise changed()
    users, erased_at = person["user_ids"], person["erased_at"]
    marks = [*map(erasures.identifier_hash, person["identifiers"]), *map(bytes.fromhex, person["former_hashes"])]
    try:
        erasures.record(users, erased_at, marks)
    except erasures.UnrecordedError as error:
        logging.log("erasure not recorded", level="error", error=error)
        raise unavailable("the journal of erasures is unavailable, so nothing was erased; try again") from error
    files_are_gone = erasures.remove_files(users)
    connection.run(
        "SELECT pmp.erase_user(:id, :client, CAST(:marks AS bytea[]), CAST(:erased_at AS timestamptz))",
        id=users[0],
        client=request.client,
        marks=marks,
        erased_at=erased_at,
    )
    left = erasures.remains(connection, erased_at, files_are_gone=files_are_gone)
    return Response(200, {"id": users[0], "erased_at": erased_at, "remains": left})


def lookup_user(request: Request, connection: Any) -> Response:
    """POST /v1/users/lookup: who has an identifier, and the proof of those who had it."""
    from pmp import erasures

    body = request.body
    after_key, microseconds, sequence = position(body.get("cursor"), INTEGER, INTEGER, INTEGER)
    most = body.get("limit", DEFAULT_LIMIT)
    name = cast("people.Name", people.asked(body))
    ((found,),) = connection.run(
        "SELECT pmp.lookup_user(:kind, :value, :mark, :after,"
        " timestamptz 'epoch' + :moment * interval '1 microsecond', :sequence, :most)",
        kind=name.kind,
        value=name.value,
        mark=with_key(lambda: erasures.identifier_hash(name.text)),
        after=after_key,
        moment=microseconds,
        sequence=sequence,
        most=most + 1,
    )
    rows = found["items"]

    def of(count: int) -> Response:
        following = cursor(*rows[count - 1]["place"]) if len(rows) > count else None
        items = [{name: value for name, value in row.items() if name != "place"} for row in rows[:count]]
        document = {"user": found["user"], "erased": found["erased"], "items": items, "next": following}
        return Response(200, document, compress=True)

    return fitting(rows, of, most)


def _history(identifier: str, connection: Any) -> Any:
    return connection.run(
        "SELECT count(*), max(sequence) FROM pmp.event "
        "WHERE subject_key = ANY (pmp.subject_keys((pmp.find_subject(:id)).subject_key))",
        id=identifier,
    )


def list_consents(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}/consents: the choices of ``get_user`` with their grounds."""
    ((choices,),) = connection.run(
        "SELECT pmp.describe_choices(:id, :as_of, :known_at)", id=request.parameters["id"], **limits(request.query)
    )
    return Response(200, {"items": _present(choices)}, compress=True)


def list_events(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}/events: the user's events, by occurred_at or by receipt if that is earlier."""
    after = position(request.query.get("cursor"), INTEGER, INTEGER)
    events = _events(connection, request.parameters["id"], after, limit(request) + 1, **limits(request.query))
    return page(request, events, _place, hidden="sequence")


def _events(
    connection: Any,
    user: str,
    after: tuple[int, int] | tuple[None, None],
    most: int,
    *,
    as_of: str | None = None,
    known_at: str | None = None,
) -> list[dict[str, Any]]:
    """Up to ``most`` of the user's events, after a place in their order; each has its place (``sequence``)."""
    ((events,),) = connection.run(
        "SELECT pmp.list_user_events(:id, timestamptz 'epoch' + :moment * interval '1 microsecond', :sequence, :most,"
        " :as_of, :known_at)",
        id=user,
        moment=after[0],
        sequence=after[1],
        most=most,
        as_of=as_of,
        known_at=known_at,
    )
    return cast("list[dict[str, Any]]", _present(events))


def _place(event: dict[str, Any]) -> tuple[int, int]:
    moment = min(instants.read(event[name])[0] for name in ("occurred_at", "received_at"))
    # Not timestamp() * 10**6: a float has not enough digits.
    return int(moment.replace(microsecond=0).timestamp()) * 1_000_000 + moment.microsecond, event["sequence"]


def export_user(request: Request, connection: Any) -> Response:
    """GET /v1/users/{id}/export: all data that is kept about the user; if that is much, in a file (docs/adr/0105)."""
    chunks = _export(connection, request.parameters["id"])
    answer = b""
    for chunk in chunks:
        answer += chunk
        if not fits(answer):
            break
    else:
        return Response(200, content=answer, compress=True)
    from pmp import objects

    user = request.parameters["id"].lower()
    bucket, key = configuration().imports_bucket, f"{objects.PERSON_PREFIX}{user}/{identifiers.new()}.json"
    objects.write(bucket, key, "application/json", chain([answer], chunks))
    return Response(302, headers={"Location": objects.download_url(bucket, key)})


def _export(connection: Any, user: str) -> Iterator[bytes]:
    """The export's JSON in pieces, read page by page: a statement for all events could run into its timeout."""
    ((document,),) = connection.run("SELECT pmp.export_user(:id)", id=user)
    yield encode(_present(document))[:-1] + b',"events":['
    after: tuple[int, int] | tuple[None, None] = (None, None)
    while events := _events(connection, user, after, _EXPORT_PAGE):
        separator = b"," if after[0] is not None else b""
        after = _place(events[-1])
        for event in events:
            del event["sequence"]
        yield separator + encode(events)[1:-1]
    yield b"]}"
