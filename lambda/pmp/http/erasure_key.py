"""The key of erasures, for requests: while Secrets Manager does not give it, what needs it is unavailable."""

from collections.abc import Callable
from typing import TypeVar

from pmp import logging
from pmp.http.problems import unavailable

R = TypeVar("R")


def with_key(work: Callable[[], R]) -> R:
    """Call what needs the key.

    Raises:
        Problem: 503 if Secrets Manager does not give it.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return work()
    except (BotoCoreError, ClientError) as error:
        logging.log("key of erasures unavailable", level="error", error=error)
        raise unavailable("the key of erasures is unavailable, so nothing was done; try again") from error
