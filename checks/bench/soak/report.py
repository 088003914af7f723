"""What is flat, what grows with the rows, and the tables and the plot of a soak."""

import os
import platform
import statistics
import textwrap
from collections.abc import Callable, Collection
from dataclasses import dataclass

from checks.bench.load.sides import CONNECTIONS
from checks.bench.soak.findings import Findings
from checks.bench.soak.samples import TABLES, Sample
from ops.settings import ROOT

REPORT = ROOT / "docs" / "bench"
MIB = 1 << 20
FLAT = 1.05
"""The last quarter may exceed the second by this factor; the first is for caches that fill."""

MOST_BYTES_TIMES = 1.25
"""New rows may take so many times the bytes of those that were there: a record built at once is packed, and pages of
indexes that fill at random places are not."""


@dataclass(frozen=True)
class Series:
    """Something that must stay flat, or below ``most``."""

    name: str
    unit: str
    value: Callable[[Sample], float]
    most: float | None = None

    def limit(self, second: float) -> float:
        """Return what the last quarter may be, by the second one."""
        return FLAT * second if self.most is None else self.most


def _mean(values: Collection[float]) -> float:
    return sum(values) / max(1, len(values))


SERIES = (
    Series("memory of an environment, mean", "MiB", lambda one: one.environments[0]),
    Series("memory of the largest environment", "MiB", lambda one: one.environments[1]),
    Series("memory of a backend, mean", "MiB", lambda one: _mean(one.backends.values())),
    Series("memory of the pooler", "MiB", lambda one: one.pooler),
    # The pooler opens one more whenever all are at work, and closes none that is used within ten minutes.
    Series("connections to PostgreSQL", "", lambda one: one.connections, CONNECTIONS),
)


def growth(samples: list[Sample], series: Series) -> tuple[float, float]:
    """Return the means of the second and of the last quarter of the samples."""
    quarter = max(1, len(samples) // 4)
    second, last = samples[quarter : 2 * quarter] or samples, samples[-quarter:]
    return statistics.mean(map(series.value, second)), statistics.mean(map(series.value, last))


@dataclass(frozen=True)
class Size:
    """Of a table or its indexes: bytes and rows, before and afterwards."""

    name: str
    rows: tuple[int, int]
    bytes: tuple[int, int]

    @property
    def before(self) -> float:
        """Bytes of a row, before."""
        return self.bytes[0] / max(1, self.rows[0])

    @property
    def after(self) -> float:
        """Bytes of a row, afterwards."""
        return self.bytes[1] / max(1, self.rows[1])


def sizes(found: Findings) -> list[Size]:
    """Return the sizes of all tables and their indexes."""
    first, last = found.samples[0], found.samples[-1]
    return [
        Size(name, found.rows[table], (before, after))
        for table in TABLES
        for name, before, after in (
            (table, first.heap[table], last.heap[table]),
            (f"indexes of {table}", first.indexes[table], last.indexes[table]),
        )
    ]


def missed(found: Findings) -> list[str]:
    """Return what grew without a reason, and what else must not be."""
    failures = found.audit.failures()
    if found.errors:
        failures.append(f"{found.errors.total()} errors: {dict(found.errors)}")
    for series in SERIES:
        second, last = growth(found.samples, series)
        if last > series.limit(second):
            failures.append(f"{series.name} grew from {second:.2f} to {last:.2f} {series.unit}")
    failures += [
        f"{one.name}: {one.after:.0f} bytes a row, {one.before:.0f} before"
        for one in sizes(found)
        if one.after > MOST_BYTES_TIMES * one.before
    ]
    return failures


def tables(found: Findings) -> str:
    """Return the figures as Markdown."""
    flat, sized = [], []
    for series in SERIES:
        second, last = growth(found.samples, series)
        shown = (f"{number:.2f} {series.unit}".strip() for number in (second, last, series.limit(second)))
        flat.append(f"| {series.name} | {' | '.join(shown)} |")
    for one in sizes(found):
        shown = (f"{number / MIB:,.1f}" for number in one.bytes)
        rows = f"{one.rows[0]:,} | {one.rows[1] - one.rows[0]:,}"
        sized.append(f"| {one.name} | {rows} | {' | '.join(shown)} | {one.before:.0f} | {one.after:.0f} |")
    p99 = [one.p99 for one in found.minutes]
    dead = [one.dead for one in found.samples]
    nothing = "\n"
    return f"""\
| | second quarter of the time | last quarter | at most |
|---|--:|--:|--:|
{nothing.join(flat)}

| | rows before | new rows | MiB before | MiB afterwards | bytes a row before | afterwards |
|---|--:|--:|--:|--:|--:|--:|
{nothing.join(sized)}

Tables and indexes grow with the rows that requests add; the bytes of a row may grow by a quarter, since the record was
built at once and packed. Dead rows: {dead[0]:,} at first, {max(dead):,} at most, {dead[-1]:,} in the end.

- {sum(one.answered for one in found.minutes):,} requests were answered, {found.errors.total()} were errors.
- p99 by minute: {min(p99):.1f} to {max(p99):.1f} ms, {p99[-1]:.1f} ms in the last one.
- {found.audit.acknowledged:,} events were acknowledged, and {found.audit.readable:,} of them are readable. In
  {found.audit.differing:,} choices of {found.audit.users:,} users, the projection differs from a replay."""


def write(found: Findings, server: str) -> None:
    """Write docs/bench/soak.md and soak.svg."""
    lasted = found.samples[-1].second / 60
    text = f"""\
`make soak` on {os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL {server}: {found.rate:,.0f} \
requests of [the mix](load.md) a second, half of what PMP carried there at that hour, for {lasted:.0f} minutes. Memory \
is what no file backs, without shared memory; of backends, those that the pooler kept from the first quarter on. \
Housekeeping ran every five minutes.
"""
    document = (
        f"# Soak\n\n{textwrap.fill(text, 120)}\n\n![memory, connections and sizes](soak.svg)\n\n{tables(found)}\n"
    )
    (REPORT / "soak.md").write_text(document)
    (REPORT / "soak.svg").write_text(plot(found))


_COLORS = ("#1f6f8b", "#c46b3b", "#8a8a8a")
_LEFT, _WIDTH, _HEIGHT = 70, 640, 90


def plot(found: Findings) -> str:
    """Return an SVG with a panel for each group of curves over the minutes."""
    samples = found.samples
    minutes = [one.second / 60 for one in samples]
    ends = [float(number + 1) for number in range(len(found.minutes))]
    panels: list[tuple[str, list[tuple[str, list[float], list[float]]]]] = [
        ("Memory of the function's environments, MiB", [
            ("mean", minutes, [one.environments[0] for one in samples]),
            ("largest", minutes, [one.environments[1] for one in samples]),
        ]),
        ("Memory of backends and of the pooler, MiB", [
            ("backend, mean", minutes, [_mean(one.backends.values()) for one in samples]),
            ("pooler", minutes, [one.pooler for one in samples]),
        ]),
        ("Connections of the pooler to PostgreSQL", [("", minutes, [float(one.connections) for one in samples])]),
        ("Tables with their indexes, MiB", [
            (table, minutes, [(one.heap[table] + one.indexes[table]) / MIB for one in samples]) for table in TABLES
        ]),
        ("p99 of a minute, ms", [("", ends, [one.p99 for one in found.minutes])]),
    ]  # fmt: skip
    longest, y, parts = max(minutes[-1], 0.1), 24, list[str]()
    for title, curves in panels:
        parts.append(f'<text x="20" y="{y}" font-size="14" font-weight="bold">{title}</text>')
        top, bottom = y + 14, y + 14 + _HEIGHT
        largest = 1.15 * max(max(values) for _, _, values in curves)
        parts += [
            f'<line x1="{_LEFT}" x2="{_LEFT + _WIDTH}" y1="{bottom}" y2="{bottom}" stroke="#000"/>',
            f'<text x="{_LEFT - 6}" y="{bottom + 4}" text-anchor="end">0</text>',
            f'<text x="{_LEFT - 6}" y="{top + 8}" text-anchor="end">{largest:,.0f}</text>',
            f'<text x="{_LEFT + _WIDTH}" y="{bottom + 15}" text-anchor="end">{longest:.0f} min</text>',
        ]
        for place, (name, times, values) in enumerate(curves):
            points = " ".join(
                f"{_LEFT + _WIDTH * min(1, at / longest):.1f},{bottom - _HEIGHT * value / largest:.1f}"
                for at, value in zip(times, values, strict=True)
            )
            parts.append(f'<polyline points="{points}" fill="none" stroke="{_COLORS[place]}" stroke-width="1.6"/>')
            if name:
                x = 390 + 125 * place
                parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{_COLORS[place]}"/>')
                parts.append(f'<text x="{x + 17}" y="{y}">{name}</text>')
        y = bottom + 38
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{y - 10}" font-family="sans-serif"'
        f' font-size="12"><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )
