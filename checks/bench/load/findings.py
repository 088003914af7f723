"""What a run of the load benchmark found."""

from collections import Counter
from dataclasses import dataclass

from checks.bench.load.sides import Result
from checks.load.ledger import Audit


@dataclass(frozen=True)
class Beside:
    """Requests beside a neighbour, and beside the control.

    Attributes:
        name: of the neighbour.
        with_it: the requests beside it.
        control: the requests beside as much processor time without the database.
        busy: processors that the neighbour kept busy.
        errors: of the neighbour's own requests.
        told: what the neighbour did.
    """

    name: str
    with_it: Result
    control: Result
    busy: float
    errors: Counter[str]
    told: str


@dataclass
class Findings:
    """Of a whole run."""

    events: int
    environments: int
    saturated: dict[str, Result]
    offered: dict[float, Result]
    """PMP, by the share of its saturation."""
    others: dict[str, Result]
    """The other sides at 70% of PMP's saturation, or of their own if that is less."""
    apart: dict[str, Result]
    """PMP and pgbench at the same rate, while PostgreSQL has a processor of its own."""
    alone: Result
    neighbours: list[Beside]
    audit: Audit
