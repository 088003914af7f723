"""Scheduled clean-up."""

from typing import Any

from pmp import exports, imports
from pmp.database import Connection
from pmp.logging import log


def run(connection: Connection, context: Any) -> None:
    """Delete expired idempotency keys, then clean up imports and exports.

    Args:
        connection: to the database.
        context: Lambda's context object.
    """
    with connection.transaction():
        ((removed,),) = connection.run("SELECT pmp.housekeeping()")
    log("housekeeping", **removed)
    imports.housekeeping(connection, context)
    exports.housekeeping(connection, context)
