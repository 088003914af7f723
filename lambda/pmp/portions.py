"""How much work one statement gets: as much as the database does in a second or two.

The role's statement_timeout ends a statement before the socket times out (db/roles.sql): RDS Proxy does not pass on a
CancelRequest, so nothing else would keep a statement from running on while it is started again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from pmp.database import DatabaseError, error_code

_AIM_SECONDS = 2.0
_MOST_GROWTH = 2.0
_QUERY_CANCELED = "57014"


class TooSlowError(Exception):
    """The database took longer over a portion than a statement may."""


@contextmanager
def told() -> Iterator[None]:
    """Raise TooSlowError for a statement that ran into its time limit.

    Raises:
        TooSlowError: the server ended it, or did not answer in time; if it was committed, nobody knows.
    """
    try:
        yield
    except DatabaseError as error:
        if error_code(error) == _QUERY_CANCELED:
            raise TooSlowError("a statement ran into the database's time limit") from error
        raise


class Portion:
    """A size that adapts to the time that portions take.

    Attributes:
        size: of the next portion, in a unit of the caller's.

    Args:
        first: the first size.
        largest: the largest one.
    """

    def __init__(self, first: int, largest: int) -> None:
        self.size, self._largest = min(first, largest), largest
        self._too_slow = 2 * largest
        """The smallest portion that took too long."""

    def fits(self, size: int) -> bool:
        """Whether a portion that is already there is worth a try."""
        return size <= min(2 * self.size, self._too_slow * 3 // 4)

    def adapt(self, size: int, seconds: float) -> None:
        """After a portion of some size took some seconds."""
        aimed = size * _AIM_SECONDS / max(seconds, 0.001)
        # A small portion, such as the last one of a file, says little about large ones.
        least = 1 if seconds > _AIM_SECONDS else self.size
        most = min(self._largest, self._too_slow * 3 // 4)
        self.size = max(1, min(most, max(least, round(min(aimed, self.size * _MOST_GROWTH)))))

    def halve(self, size: int) -> None:
        """After a portion of some size took too long; until the end of the invocation, none is as large."""
        self._too_slow = min(self._too_slow, size)
        self.size = max(1, min(self.size, size) // 2)
