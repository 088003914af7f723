"""What a schedule tidies up."""

from typing import Any

from pmp import database
from pmp.logging import log

_BATCH = 5000


def run(context: Any) -> None:
    """Delete expired idempotency keys in small transactions, then let imports tidy up theirs.

    Args:
        context: Lambda's; nothing new is begun when less than ten seconds remain.
    """
    deleted = 0
    while context.get_remaining_time_in_millis() > 10_000:
        with database.transaction() as connection:
            connection.run(
                "DELETE FROM pmp.idempotency_key WHERE (client, key) IN ("
                "SELECT client, key FROM pmp.idempotency_key WHERE expires_at <= now() ORDER BY expires_at LIMIT :most)",
                most=_BATCH,
            )
            count = int(connection.row_count)
        deleted += count
        if count < _BATCH:
            break
    log("idempotency keys expired", deleted=deleted)
    from pmp import imports

    imports.housekeeping(context)
