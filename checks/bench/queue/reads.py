"""Reads at a fixed rate, and what they meet."""

import statistics
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

PER_SECOND = 20


@dataclass
class Reads:
    """What the reads of a span met.

    Attributes:
        seconds: from the instant at which a read was due to its answer.
        refused: how many were not answered with 200, by reason.
    """

    seconds: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        """Return a percentile of the seconds, for a share from 0 to 1."""
        return sorted(self.seconds)[min(int(share * len(self.seconds)), len(self.seconds) - 1)]

    def columns(self) -> tuple[str, ...]:
        """Return reads, refused ones, and p50, p99 and longest in milliseconds, as text."""
        times = (statistics.median(self.seconds), self.percentile(0.99), max(self.seconds))
        return f"{len(self.seconds):,}", str(self.refused.total()), *(f"{1000 * value:,.0f}" for value in times)

    def summary(self) -> str:
        """Return one line for people."""
        reads, refused, middle, late, longest = self.columns()
        reasons = f" ({', '.join(f'{count}: {reason}' for reason, count in self.refused.items())})"
        return (
            f"{reads} reads, {refused} refused{reasons if self.refused else ''}, "
            f"p50 {middle} ms, p99 {late} ms, longest {longest} ms"
        )


def read_until(ask: Callable[[], str], is_over: Callable[[], bool]) -> Reads:
    """Call ``ask`` at a fixed rate until ``is_over``, whether or not the earlier calls have returned.

    Args:
        ask: reads, and returns why it was refused; an empty text if it was not.
        is_over: looked at before each read.
    """
    reads = Reads()

    def read(due: float) -> None:
        reason = ask()
        reads.seconds.append(time.monotonic() - due)
        if reason:
            reads.refused[reason] += 1

    with ThreadPoolExecutor(max_workers=64) as pool:
        due = time.monotonic()
        while not is_over():
            pool.submit(read, due)
            due += 1 / PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))
    return reads
