# mypy: ignore-errors
# Its packages are in a separate virtual environment.
"""The usual alternative with all routes of the mix: two are those of ``bench-api``'s peer, the others like them.

It is copied beside ``peer_app.py`` of ``checks/bench/api/peers``.
"""

import base64
import json
from typing import Annotated

from fastapi import Query
from peer_app import UUID, BaseModel, Database, Field, Model, User, app, handler, text  # noqa: F401 - handler is used


class Check(Model):
    """A question in a request."""

    user: "Reference"
    consent: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,62}$")]


class Reference(Model):
    """A user by id."""

    id: UUID


class Checks(Model):
    """The body of ``POST /v1/check``."""

    checks: Annotated[list[Check], Field(min_length=1, max_length=1000)]


class Result(BaseModel):
    """An answer to a question."""

    allowed: bool
    reason: str


class Results(BaseModel):
    """The answer of ``POST /v1/check``."""

    results: list[Result]


class Page(BaseModel):
    """The answer of ``GET /v1/users``."""

    items: list[User]
    next: str | None


@app.post("/v1/check")
def check(body: Checks, database: Database) -> Results:
    """Answer whether the users may be contacted."""
    checks = json.dumps([one.model_dump(mode="json") for one in body.checks])
    found = database.execute(text("SELECT pmp.check_consents(CAST(:checks AS jsonb))"), {"checks": checks})
    return Results(results=found.scalar_one())


@app.get("/v1/users")
def list_users(
    database: Database,
    email: str | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> Page:
    """Answer with a page of users, or the one with an address."""
    if email is not None:
        found = database.execute(text("SELECT pmp.find_user(:email)"), {"email": email}).scalar_one()
        return Page(items=found, next=None)
    number, key = json.loads(base64.urlsafe_b64decode(cursor + "==")) if cursor else (None, None)
    found = database.execute(
        text("SELECT pmp.list_users(:number, :key, :most)"), {"number": number, "key": key, "most": limit}
    ).scalar_one()
    place = base64.urlsafe_b64encode(json.dumps(found["last"]).encode()).decode() if found["more"] else None
    return Page(items=found["items"], next=place)
