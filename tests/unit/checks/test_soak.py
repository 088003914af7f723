"""What a soak takes for growth of memory."""

import json
from pathlib import Path

import pytest

from checks.bench.soak import report, samples

BACKENDS = next(one for one in report.SERIES if one.name == "memory of a backend, mean")


def written(file: Path, backends: list[dict[str, float]]) -> list[samples.Sample]:
    """Read back samples that differ in their backends only."""
    rest = {"environments": [1, 1], "pooler": 1, "heap": {}, "indexes": {}, "dead": 0}
    lines = [rest | {"second": n, "backends": one, "connections": len(one)} for n, one in enumerate(backends)]
    file.write_text("\n".join(map(json.dumps, lines)))
    return samples.read(file)


@pytest.mark.parametrize(
    ("backends", "grows"),
    [
        ([{"1": 9.0, "2": 8.0}] * 4 + [{"1": 9.0}] * 4, False),
        ([{"1": 9.0, "2": 8.0}] * 4 + [{"1": 9.9, "2": 8.8}] * 4, True),
    ],
    ids=["small one is closed", "all grow"],
)
def test_memory_of_backends(tmp_path: Path, backends: list[dict[str, float]], grows: bool) -> None:
    second, last = report.growth(written(tmp_path / "samples", backends), BACKENDS)
    assert (last > BACKENDS.limit(second)) is grows
