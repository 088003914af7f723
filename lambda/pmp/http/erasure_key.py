"""Keys in Secrets Manager, for requests: while it does not give one, what needs that is unavailable."""

from collections.abc import Callable
from typing import TypeVar

from pmp import logging
from pmp.http.problems import unavailable

R = TypeVar("R")


def with_key(work: Callable[[], R], key: str = "erasures") -> R:
    """Call what needs the key of ``key``.

    Raises:
        Problem: 503 if Secrets Manager does not give it.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return work()
    except (BotoCoreError, ClientError) as error:
        logging.log("key unavailable", level="error", key=key, error=error)
        raise unavailable(f"the key of {key} is unavailable, so nothing was done; try again") from error
