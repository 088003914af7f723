"""Stored mappings, beside the ones that ship with PMP: created, shown, listed, and found for an object by its key."""

import json
from typing import Any, cast

from pmp.database import Connection
from pmp.imports.ready import READY

MOST = 200
"""Stored mappings; a list of all of them is one answer."""

_DOCUMENT = """
document || jsonb_build_object(
  'id', id, 'is_ready', false, 'created_at', pmp.instant(created_at), 'updated_at', pmp.instant(updated_at)
)
"""


def named(connection: Connection, identifier: str) -> dict[str, Any] | None:
    """The mapping with this id: the stored one, else the ready one; None if there is neither."""
    rows = connection.run(f"SELECT {_DOCUMENT} FROM pmp.import_mapping WHERE id = :id", id=identifier)  # noqa: S608
    if rows:
        return cast("dict[str, Any]", rows[0][0])
    return _ready(identifier) if identifier in READY else None


def every(connection: Connection) -> list[dict[str, Any]]:
    """All mappings, by id."""
    rows = connection.run(f"SELECT {_DOCUMENT} FROM pmp.import_mapping")  # noqa: S608
    found = {identifier: _ready(identifier) for identifier in READY} | {row[0]["id"]: row[0] for row in rows}
    return [found[identifier] for identifier in sorted(found)]


def conflicts(connection: Connection, identifier: str, document: dict[str, Any]) -> list[dict[str, str]]:
    """Why a mapping cannot be stored beside the others: ``[{"pointer", "detail"}]``."""
    others = connection.run(
        "SELECT id, document ->> 'prefix' FROM pmp.import_mapping WHERE id <> :id ORDER BY id", id=identifier
    )
    errors = []
    if len(others) >= MOST:
        errors.append({"pointer": "", "detail": f"there are {MOST} mappings, which is the most; replace one of them"})
    prefix = document.get("prefix")
    if owner := next((other for other, taken in others if prefix and taken == prefix), None):
        errors.append({"pointer": "/prefix", "detail": f"is the prefix of the mapping {owner}"})
    return errors


def put(connection: Connection, identifier: str, document: dict[str, Any], client: str) -> dict[str, Any]:
    """Store a mapping, or replace it. Imports that exist keep the one that they began with.

    Args:
        connection: to the database.
        identifier: its id; the id of a ready mapping replaces that one.
        document: validated.
        client: id of the requesting OAuth client.
    """
    ((stored,),) = connection.run(
        "INSERT INTO pmp.import_mapping AS m (id, document, client) VALUES (:id, CAST(:document AS jsonb), :client)"  # noqa: S608
        " ON CONFLICT (id) DO UPDATE SET document = excluded.document, client = excluded.client, updated_at = now()"
        f" RETURNING {_DOCUMENT}",
        id=identifier,
        document=json.dumps(document),
        client=client,
    )
    return cast("dict[str, Any]", stored)


def for_key(connection: Connection, key: str) -> dict[str, Any] | None:
    """The mapping of an object that was put into the bucket without a request; None: the file is in PMP's own form.

    It is the one with the longest ``prefix`` of the key, else the one named after the first folder:
    ``imports/<mapping>/…``.
    """
    rows = connection.run(
        f"SELECT {_DOCUMENT} FROM pmp.import_mapping"  # noqa: S608
        " WHERE starts_with(:key, document ->> 'prefix') ORDER BY length(document ->> 'prefix') DESC LIMIT 1",
        key=key,
    )
    if rows:
        return cast("dict[str, Any]", rows[0][0])
    folders = key.split("/")
    return named(connection, folders[1]) if len(folders) > 2 else None


def _ready(identifier: str) -> dict[str, Any]:
    return {**READY[identifier], "id": identifier, "is_ready": True}
