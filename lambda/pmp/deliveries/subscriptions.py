"""The rows of ``subscription``, as the API creates, shows, changes and deletes them."""

from typing import Any, cast

from pmp import identifiers
from pmp.database import Connection
from pmp.deliveries import chain, signing

MOST = 100
"""Subscriptions; a list of all of them is one answer."""

ROTATION = "24 hours"
"""How long the secret before is valid after a rotation, as an interval."""

START = (0, 0)
"""The place before the first event."""

_DOCUMENT = """
jsonb_build_object(
  'id', s.id, 'url', s.url, 'description', s.description, 'consents', s.consents, 'enabled', s.is_enabled,
  'state', CASE
    WHEN s.stopped IS NOT NULL THEN 'stopped' WHEN NOT s.is_enabled THEN 'paused'
    WHEN EXISTS (
      SELECT FROM pmp.delivery_lane AS l WHERE l.subscription_key = s.subscription_key AND l.failures > 0
    ) THEN 'failing' ELSE 'active'
  END,
  'stopped', s.stopped,
  'lanes', (
    SELECT jsonb_object_agg(l.lane, jsonb_build_object(
      'acknowledged_at', pmp.instant(l.acknowledged_at), 'failures', l.failures,
      'failing_since', pmp.instant(l.failing_since), 'last_error', l.last_error,
      'next_attempt_at', CASE WHEN l.failures > 0 AND s.is_enabled THEN pmp.instant(l.next_attempt_at) END
    )) FROM pmp.delivery_lane AS l WHERE l.subscription_key = s.subscription_key
  ),
  'client', s.client, 'created_at', pmp.instant(s.created_at), 'updated_at', pmp.instant(s.updated_at),
  'previous_secret_until', CASE WHEN s.previous_until > now() THEN pmp.instant(s.previous_until) END
)
"""


def create(connection: Connection, request: dict[str, Any], client: str) -> dict[str, Any] | None:
    """Add a subscription, which is told of what comes from now on.

    Args:
        connection: to the database, in a transaction.
        request: ``{"url", "description"?, "consents"?, "enabled"?}``, validated.
        client: id of the requesting OAuth client.

    Returns:
        Its document with the secret; None: there are ``MOST``.
    """
    # Two requests at once would both find one place left.
    connection.run("SELECT pg_advisory_xact_lock(hashtextextended('subscription', 0))")
    ((count,),) = connection.run("SELECT count(*) FROM pmp.subscription WHERE deleted_at IS NULL")
    if count >= MOST:
        return None
    identifier = identifiers.new()
    connection.run(
        "WITH made AS ("
        " INSERT INTO pmp.subscription (id, url, description, consents, client, is_enabled)"
        " VALUES (:id, :url, :description, :consents, :client, :enabled) RETURNING subscription_key"
        ") INSERT INTO pmp.delivery_lane (subscription_key, lane, number, sequence)"
        " SELECT m.subscription_key, l.lane, p.number, p.sequence FROM made AS m"
        " CROSS JOIN unnest(ARRAY['prompt', 'bulk', 'notices']) AS l (lane) CROSS JOIN pmp.current_place() AS p",
        id=identifier,
        url=request["url"],
        description=request.get("description", ""),
        consents=request.get("consents"),
        client=client,
        enabled=request.get("enabled", True),
    )
    chain.start(connection)
    return with_secret(connection, identifier)


def named(connection: Connection, identifier: str) -> dict[str, Any] | None:
    """The subscription with this id, without its secret; None: there is none."""
    rows = connection.run(
        f"SELECT {_DOCUMENT} FROM pmp.subscription AS s WHERE s.id = :id AND s.deleted_at IS NULL",  # noqa: S608
        id=identifier,
    )
    return cast("dict[str, Any]", rows[0][0]) if rows else None


def with_secret(connection: Connection, identifier: str) -> dict[str, Any] | None:
    """As ``named``, with the newest secret as ``secret``."""
    rows = connection.run(
        f"SELECT {_DOCUMENT}, s.secret_number FROM pmp.subscription AS s"  # noqa: S608
        " WHERE s.id = :id AND s.deleted_at IS NULL",
        id=identifier,
    )
    if not rows:
        return None
    ((document, number),) = rows
    return {**document, "secret": signing.shown(signing.secret(document["id"], number))}


def every(connection: Connection) -> list[dict[str, Any]]:
    """All subscriptions, in the order of their creation."""
    rows = connection.run(
        f"SELECT {_DOCUMENT} FROM pmp.subscription AS s WHERE s.deleted_at IS NULL ORDER BY s.subscription_key"  # noqa: S608
    )
    return [row[0] for row in rows]


def change(connection: Connection, identifier: str, request: dict[str, Any], client: str) -> dict[str, Any] | None:
    """Change what the request names; enabling it sends what it has not acknowledged, at once.

    Args:
        connection: to the database, in a transaction.
        identifier: of the subscription.
        request: ``{"url"?, "description"?, "enabled"?}``, validated.
        client: id of the requesting OAuth client.
    """
    connection.run(
        "UPDATE pmp.subscription SET url = coalesce(:url, url), description = coalesce(:description, description),"
        " is_enabled = coalesce(:enabled, is_enabled),"
        " stopped = CASE WHEN CAST(:enabled AS boolean) IS NULL THEN stopped END,"
        " updated_by = :client, updated_at = now()"
        " WHERE id = :id AND deleted_at IS NULL",
        id=identifier,
        client=client,
        **{name: request.get(name) for name in ("url", "description", "enabled")},
    )
    if request.get("enabled"):
        # The lease goes on: an attempt that is under way would otherwise be joined by another.
        connection.run(
            "UPDATE pmp.delivery_lane SET failures = 0, failing_since = NULL, next_attempt_at = now()"
            " WHERE subscription_key = (SELECT subscription_key FROM pmp.subscription WHERE id = :id)",
            id=identifier,
        )
        chain.start(connection)
    return named(connection, identifier)


def delete(connection: Connection, identifier: str, client: str) -> bool:
    """Delete the subscription for a client; whether there was one. Its row stays for the ledger."""
    rows = connection.run(
        "UPDATE pmp.subscription SET is_enabled = false, deleted_by = :client, deleted_at = now()"
        " WHERE id = :id AND deleted_at IS NULL RETURNING id",
        id=identifier,
        client=client,
    )
    return bool(rows)


def rotate(connection: Connection, identifier: str, client: str) -> dict[str, Any] | None:
    """Give the subscription a new secret; messages are signed with the one before as well for ``ROTATION``."""
    connection.run(
        "UPDATE pmp.subscription SET secret_number = secret_number + 1, updated_by = :client, updated_at = now(),"  # noqa: S608
        f" previous_until = now() + interval '{ROTATION}' WHERE id = :id AND deleted_at IS NULL",
        id=identifier,
        client=client,
    )
    return with_secret(connection, identifier)


def replay(
    connection: Connection, identifier: str, place: tuple[int, int] | None, client: str
) -> dict[str, Any] | None:
    """Go on from another place in the feed, back or forth.

    Args:
        connection: to the database, in a transaction.
        identifier: of the subscription.
        place: transaction number and sequence after which to go on; None: the present.
        client: id of the requesting OAuth client.
    """
    number, sequence = place or (None, None)
    connection.run(
        "UPDATE pmp.subscription SET updated_by = :client, updated_at = now() WHERE id = :id AND deleted_at IS NULL",
        id=identifier,
        client=client,
    )
    connection.run(
        "UPDATE pmp.delivery_lane AS l SET"
        " number = coalesce(:number, p.number), sequence = coalesce(:sequence, p.sequence), pass = l.pass + 1,"
        " pending_id = NULL, pending_number = NULL, pending_sequence = NULL, failures = 0, failing_since = NULL,"
        " last_error = NULL, next_attempt_at = now(), lease_owner = NULL, lease_until = NULL"
        " FROM pmp.subscription AS s, pmp.current_place() AS p"
        " WHERE s.id = :id AND s.deleted_at IS NULL AND l.subscription_key = s.subscription_key",
        id=identifier,
        number=number,
        sequence=sequence,
    )
    chain.start(connection)
    return named(connection, identifier)
