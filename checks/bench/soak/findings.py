"""What a soak found."""

from collections import Counter
from dataclasses import dataclass

from checks.bench.load.sides import Result
from checks.bench.soak.samples import Sample
from checks.load.ledger import Audit


@dataclass
class Findings:
    """Of a whole run.

    Attributes:
        rate: requests that arrived a second.
        minutes: what became of them, by minute.
        samples: in the order of their time.
        rows: of each table, before and afterwards.
        audit: of the events.
    """

    rate: float
    minutes: list[Result]
    samples: list[Sample]
    rows: dict[str, tuple[int, int]]
    audit: Audit

    @property
    def errors(self) -> Counter[str]:
        """Of all minutes."""
        return sum((one.errors for one in self.minutes), Counter())
