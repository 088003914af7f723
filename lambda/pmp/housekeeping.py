"""What a schedule tidies up."""

from typing import Any

from pmp import database
from pmp.logging import log


def run(context: Any) -> None:
    """Delete expired idempotency keys, then let imports and exports tidy up theirs.

    Args:
        context: Lambda's.
    """
    with database.transaction() as connection:
        ((removed,),) = connection.run("SELECT pmp.housekeeping()")
    log("housekeeping", **removed)
    from pmp import exports, imports

    imports.housekeeping(context)
    exports.housekeeping(context)
