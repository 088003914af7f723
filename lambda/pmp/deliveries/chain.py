"""The chain: while there are enabled subscriptions, one message at a time is in the queue, and sends its successor.

Looking for changes once a second costs a write nothing, neither a statement nor a message (docs/adr/0313). A message
that comes twice is not the next link any more; a chain that broke is begun again by a schedule.
"""

import json
from functools import lru_cache
from typing import Any

from pmp import identifiers
from pmp.configuration import configuration
from pmp.database import Connection
from pmp.logging import log

PAUSE_SECONDS = 1
"""Between the end of a link, which found nothing left, and the next."""

LINK_SECONDS = 60
"""After the last sign of a link, the chain counts as broken. Longer than a link works
(dispatcher.WORK_SECONDS), and than a message waits in the queue while the function is cold."""


@lru_cache(maxsize=1)
def _queue() -> Any:
    import boto3

    return boto3.client("sqs")


def start(connection: Connection) -> None:
    """Begin a chain if none is alive. In a transaction, the message is sent when it is committed.

    The caller's work does not depend on it: the schedule comes every minute.
    """
    owner = identifiers.new()
    rows = connection.run(
        "UPDATE pmp.delivery_chain SET owner = :owner, link = 0,"
        " until = clock_timestamp() + :seconds * interval '1 second' WHERE until < clock_timestamp() RETURNING link",
        owner=owner,
        seconds=LINK_SECONDS,
    )
    if rows:
        connection.after_commit(lambda: _send(owner, 0, 0))


def take(connection: Connection, owner: str, link: int) -> bool:
    """Whether this message is the chain's next link, which it then is for the caller alone."""
    return bool(
        connection.run(
            "UPDATE pmp.delivery_chain SET link = link + 1,"
            " until = clock_timestamp() + :seconds * interval '1 second'"
            " WHERE owner = :owner AND link = :link RETURNING link",
            owner=owner,
            link=link,
            seconds=LINK_SECONDS,
        )
    )


def hand_on(connection: Connection, owner: str, link: int, *, pause: int) -> None:
    """Send the link after this one, if the chain is still ours.

    Args:
        connection: to the database.
        owner: of the chain.
        link: the one that ends.
        pause: seconds until the next.
    """
    rows = connection.run(
        "UPDATE pmp.delivery_chain SET until = clock_timestamp() + :seconds * interval '1 second'"
        " WHERE owner = :owner AND link = :next RETURNING link",
        owner=owner,
        next=link + 1,
        seconds=LINK_SECONDS,
    )
    if rows:
        _send(owner, link + 1, pause)


def end(connection: Connection, owner: str) -> None:
    """End the chain: there is nobody to tell. Whoever subscribes begins another at once."""
    connection.run("UPDATE pmp.delivery_chain SET until = '-infinity' WHERE owner = :owner", owner=owner)


def _send(owner: str, link: int, pause: int) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        _queue().send_message(
            QueueUrl=configuration().deliveries_queue_url,
            MessageBody=json.dumps({"task": "deliver", "chain": owner, "link": link}),
            DelaySeconds=pause,
        )
    except (BotoCoreError, ClientError) as error:
        log("deliveries wait for the schedule", level="warning", error=error)
