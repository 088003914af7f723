# mypy: ignore-errors
# Its packages are in a separate virtual environment.
"""The same two routes with FastAPI, Mangum, SQLAlchemy and psycopg, as their manuals show them.

It calls the same SQL functions, but omits the function's other work: the token for the proxy (which would need boto3),
the check of scopes, entity tags, limits and structured logs.
"""

import os
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import Depends, FastAPI, HTTPException, Response
from mangum import Mangum
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, create_engine, text

ENGINE = create_engine(
    f"postgresql+psycopg://pmp_app@{os.environ['PMP_DATABASE_HOST']}:{os.environ['PMP_DATABASE_PORT']}/pmp",
    connect_args={
        "sslmode": "verify-full",
        "sslrootcert": os.environ["SSL_CERT_FILE"],
        "prepare_threshold": None,  # a transaction pooler is in front
    },
    pool_size=1,
    max_overflow=0,
)
app = FastAPI()


class Model(BaseModel):
    """Base of request bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Choice(Model):
    """A choice in a request."""

    id: Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,62}$")]
    enabled: bool
    version: int | None = None


class UserReference(Model):
    """A user by id."""

    id: UUID


class NewEvent(Model):
    """The body of ``POST /v1/events``."""

    id: UUID | None = None
    user: UserReference
    consents: Annotated[list[Choice], Field(min_length=1, max_length=100)]
    occurred_at: datetime | None = None


class CurrentChoice(BaseModel):
    """A user's current choice for one consent."""

    id: str
    enabled: bool


class User(BaseModel):
    """The answer of ``GET /v1/users/{user_id}``."""

    id: UUID
    email: str
    consents: list[CurrentChoice]


class RecordedChoice(CurrentChoice):
    """A choice in a recorded event, with the consent's version."""

    version: int


class Event(BaseModel):
    """The answer of ``POST /v1/events``."""

    id: UUID
    user: UserReference
    consents: list[RecordedChoice]
    occurred_at: datetime
    received_at: datetime
    source: str


def connection() -> Any:
    """Yield a connection in a transaction."""
    with ENGINE.begin() as opened:
        yield opened


Database = Annotated[Connection, Depends(connection)]


@app.get("/v1/users/{user_id}")
def get_user(user_id: UUID, database: Database) -> User:
    """Answer with a user and the current choices."""
    user = database.execute(text("SELECT pmp.get_user(:id)"), {"id": user_id}).scalar_one()
    if user is None:
        raise HTTPException(404)
    return User(**user)


@app.post("/v1/events", status_code=201)
def create_event(event: NewEvent, response: Response, database: Database) -> Event:
    """Record an event."""
    import json

    result = database.execute(
        text("SELECT pmp.create_event(:id, :user, CAST(:choices AS jsonb), :occurred_at, 'peer')"),
        {
            "id": event.id or uuid4(),
            "user": event.user.id,
            "choices": json.dumps([choice.model_dump(exclude_none=True) for choice in event.consents]),
            "occurred_at": event.occurred_at,
        },
    ).scalar_one()
    if "event" not in result:
        raise HTTPException(422, result["outcome"])
    return Event(**result["event"])


handler = Mangum(app, lifespan="off")
