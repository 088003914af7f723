"""When ``make bench-growth`` fails."""

import pytest

from checks.bench.growth.__main__ import Measurement, _report, law, storage_report
from checks.bench.growth.operations import OPERATIONS
from checks.bench.growth.storage import Storage

SIZES = [1_500_000, 15_000_000]
GOOD = Storage(bytes_per_event=260, wal_ordered=9_000, wal_random=13_000, wal_later=1_000, frozen=0.99)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [(100, 104, "constant"), (100, 140, "log n"), (100, 150, "n^0.18"), (100, 1_000, "n^1.00"), (0, 1, "constant")],
)
def test_growth_has_a_name(before: float, after: float, expected: str) -> None:
    assert law(SIZES[0], SIZES[1], before, after) == expected


def test_an_operation_that_grows_faster_than_log_n_is_named() -> None:
    usual = {operation.name: Measurement(1, 1, 100) for operation in OPERATIONS}
    name = OPERATIONS[3].name
    assert _report(SIZES, [usual, usual])[1] == []
    assert _report(SIZES, [usual, usual | {name: Measurement(1, 1, 150)}])[1] == [name]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"wal_ordered": 13_600.0}, "an event writes 13,600 bytes of WAL at 15,000,000 events"),
        ({"wal_random": 27_100.0}, "an event writes 27,100 bytes of WAL at 15,000,000 events"),
        ({"frozen": 0.94}, "only 94.0% of the pages are frozen at 15,000,000 events"),
    ],
)
def test_an_event_that_costs_too_much_is_an_error(change: dict[str, float], told: str) -> None:
    assert storage_report(SIZES, [GOOD, GOOD])[1] == []
    [sentence] = storage_report(SIZES, [GOOD, Storage(**(vars(GOOD) | change))])[1]
    assert sentence.startswith(told)
