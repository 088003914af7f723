"""How long a migration waits for a lock, and how often.

Whoever waits for an exclusive lock on a table makes every later request on that table wait as well. So a migration
waits briefly, gives way, and asks again later, a little longer each time.
"""

import time
from collections.abc import Callable, Iterator

SHORTEST_SECONDS = 0.1
LONGEST_SECONDS = 0.8
"""No request waits longer than this for a migration. A batch of an import takes about half a second, and holds the
tables of users and events that long."""

PAUSE = 200
"""Times the wait before it: one request in 200 meets a migration that waits, so the 99th percentile does not."""

PATIENCE_SECONDS = 300
"""Of all pauses together, after which a migration fails: somebody has to find out who holds the lock."""


def lock_waits(sleep: Callable[[float], object] = time.sleep) -> Iterator[float]:
    """Yield the seconds that each attempt may wait for a lock, and pause between two attempts.

    Args:
        sleep: pauses for so many seconds.
    """
    wait, paused = SHORTEST_SECONDS, 0.0
    while True:
        yield wait
        pause = PAUSE * wait
        paused += pause
        if paused > PATIENCE_SECONDS:
            return
        sleep(pause)
        wait = min(2 * wait, LONGEST_SECONDS)
