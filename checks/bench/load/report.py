"""The load benchmark's goals, tables and picture."""

import os
import platform
import textwrap

from checks.bench.load.findings import Beside, Findings
from checks.bench.load.neighbours import OBJECTS
from checks.bench.load.sides import CONNECTIONS, Result
from checks.load.mix import WEIGHTS
from checks.load.traffic import percentile
from ops.settings import ROOT

REPORT = ROOT / "docs" / "bench"
CALM_SHARE = 0.7
APART_SHARE = 0.5
"""Of saturation, while everything but PostgreSQL shares the other processors."""
MOST_FUNCTION_MS = 1.1
MOST_SERVER_TIMES = 1.1
MOST_TIMES_SLOWER = 3
LONGEST_MS = 1000

PMP, PGBENCH = "PMP", "pgbench, same SQL"


def missed(found: Findings) -> list[str]:
    """Return the goals that were missed, a sentence each."""
    calm = found.offered[CALM_SHARE]
    failures = found.audit.failures()
    if calm.errors:
        failures.append(f"{calm.errors.total()} errors at {CALM_SHARE:.0%} of saturation: {dict(calm.errors)}")
    if _of(calm.function_ms) > MOST_FUNCTION_MS:
        failures.append(f"a request takes {calm.function_ms:.2f} ms of the function's CPU, at most {MOST_FUNCTION_MS}")
    if (times := server_times(found.apart)) > MOST_SERVER_TIMES:
        failures.append(f"a request takes {times:.2f} times pgbench's CPU of PostgreSQL, at most {MOST_SERVER_TIMES}")
    for one in found.neighbours:
        if ratio(one) > MOST_TIMES_SLOWER:
            failures.append(f"beside {one.name}, p99 is {ratio(one):.1f} times the control's")
        if one.with_it.p99 > LONGEST_MS:
            failures.append(f"beside {one.name}, p99 is {one.with_it.p99:,.0f} ms")
        if errors := one.with_it.errors + one.errors:
            failures.append(f"beside {one.name}: errors {dict(errors)}")
    return failures


def ratio(one: Beside) -> float:
    """The 99th percentile beside a neighbour, as a multiple of the control's."""
    return one.with_it.p99 / one.control.p99


def server_times(results: dict[str, Result]) -> float:
    """PostgreSQL's CPU of a request of PMP, as a multiple of pgbench's at the same rate."""
    return _of(results[PMP].server_ms) / _of(results[PGBENCH].server_ms)


def _of(value: float | None) -> float:
    assert value is not None
    return value


def _columns(result: Result) -> str:
    cpu = (f"{value:.2f}" if value is not None else "" for value in (result.function_ms, result.server_ms))
    times = " | ".join(f"{value:,.1f}" for value in (result.p50, result.p99))
    return f"{result.throughput:,.0f} | {times} | {result.errors.total()} | {' | '.join(cpu)}"


_HEAD = "req/s | p50 ms | p99 ms | errors | function, CPU ms | PostgreSQL, CPU ms"


def tables(found: Findings) -> str:
    """Return the figures as Markdown."""
    best, calm = found.saturated[PGBENCH].throughput, found.offered[CALM_SHARE]
    rows = {
        "saturated": [
            f"{_title(name)} | {_columns(result)} | {result.throughput / best:.2f}"
            for name, result in found.saturated.items()
        ],
        "offered": [
            *(f"**PMP**, {share:.0%} of its saturation | {_columns(one)}" for share, one in found.offered.items()),
            *(f"{name}, {CALM_SHARE:.0%} of PMP's or its own | {_columns(one)}" for name, one in found.others.items()),
        ],
        "kinds": [f"{kind} | {weight}% | {_kind(found, kind)}" for kind, weight in WEIGHTS.items()],
        "beside": [
            f"alone | {_times(found.alone)} | | | ",
            *(
                f"{one.name} | {_times(one.with_it)} | {one.busy:.2f} | {one.control.p99:,.1f} | {ratio(one):.2f}"
                for one in found.neighbours
            ),
        ],
    }
    table = {name: "\n".join(f"| {row} |" for row in some) for name, some in rows.items()}
    told = "\n".join(f"- {one.name}: {one.told}." for one in found.neighbours if one.told)
    audit = found.audit
    return f"""\
## {CONNECTIONS} requests always open

| | {_HEAD} | of pgbench |
|---|--:|--:|--:|--:|--:|--:|--:|
{table["saturated"]}

## Requests arrive at a given rate

| | {_HEAD} |
|---|--:|--:|--:|--:|--:|--:|
{table["offered"]}

At {CALM_SHARE:.0%} there may be no errors, and a request takes {_of(calm.function_ms):.2f} ms of the function's CPU
(goal ≤ {MOST_FUNCTION_MS}). It takes {server_times({PMP: calm, PGBENCH: found.others[PGBENCH]}):.2f} times the CPU of
PostgreSQL that it takes from pgbench at the same rate. That is more than the statements cost, because the function's
processes push PostgreSQL's code and data out of the caches of the processors that they share, which pgbench hardly
does. On AWS, PostgreSQL has a machine of its own. So the goal counts where it has one of the two processors for itself:
**{server_times(found.apart):.2f} times (goal ≤ {MOST_SERVER_TIMES})**, {_of(found.apart[PMP].server_ms):.3f} ms and
{_of(found.apart[PGBENCH].server_ms):.3f} ms at {found.apart[PMP].throughput:,.0f} requests a second.

The generator sent a request {_late(found):.1f} ms after it was due, or less, in 99% of the cases, which counts as
latency. By kind, at {CALM_SHARE:.0%}:

| | share | p50 ms | p99 ms |
|---|--:|--:|--:|
{table["kinds"]}

## {found.alone.throughput:,.0f} requests a second beside neighbours

| | p50 ms | p99 ms | longest ms | errors | processors | p99 of the control | ratio, goal ≤ {MOST_TIMES_SLOWER} |
|---|--:|--:|--:|--:|--:|--:|--:|
{table["beside"]}

{told}

## The record afterwards

- {audit.acknowledged:,} events were acknowledged, and {audit.readable:,} of them are readable.
- {audit.refused:,} were not, of which {audit.recorded:,} were recorded all the same: a client may send them again.
- {audit.strange:,} events are there that nobody sent.
- {audit.users:,} users got events. In {audit.differing:,} of their choices, the projection differs from a replay."""


def _title(name: str) -> str:
    return f"**{name}**" if name == PMP else name


def _times(result: Result) -> str:
    return f"{result.p50:,.1f} | {result.p99:,.1f} | {result.longest:,.0f} | {result.errors.total()}"


def _late(found: Findings) -> float:
    """The 99th percentile of the generator's own lateness in ms."""
    outcome = found.offered[CALM_SHARE].outcome
    assert outcome is not None
    return 1000 * percentile(outcome.lateness, 0.99)


def _kind(found: Findings, kind: str) -> str:
    outcome = found.offered[CALM_SHARE].outcome
    assert outcome is not None
    return " | ".join(f"{1000 * outcome.percentile(share, kind):,.1f}" for share in (0.5, 0.99))


def write(found: Findings, server: str) -> None:
    """Write docs/bench/load.md and load.svg."""
    text = f"""\
`make bench-load` on {os.cpu_count()} cores, Python {platform.python_version()}, PostgreSQL {server} with fsync on, \
{found.events:,} events of {found.events // 5:,} users by a power law. Generator, function, pooler and database share \
the cores.

PMP is {found.environments} processes of the function's own code, each with a connection to PgBouncer, which has \
{CONNECTIONS} to PostgreSQL. They are forks of one process that has imported the function, so they share the code in \
memory and nothing else. pgbench sends the function's own statements through the same PgBouncer. The peer is as \
many processes of FastAPI, Mangum, SQLAlchemy and psycopg with a connection to PostgreSQL each; it calls the same SQL \
functions, and is spared scopes, entity tags and logs. Nobody has a gateway.

The mix: {", ".join(f"{weight}% {kind}" for kind, weight in WEIGHTS.items())}. Latency counts from the instant at \
which a request was due, whether or not the generator or anybody else was late (no coordinated omission). An arrival \
that finds no idle process is an error.

The control of a neighbour is the same stream of requests beside processes that burn as much processor time as the \
neighbour took, and leave the database alone. The {OBJECTS} imports wait in a queue, and are claimed and merged as on \
AWS.
"""
    filled = "\n\n".join(textwrap.fill(one, 120) for one in text.split("\n\n"))
    load = f"Load after the run: {os.getloadavg()[0]:.1f}."
    picture = "![latency by rate, and beside neighbours](load.svg)"
    (REPORT / "load.md").write_text(f"# Load\n\n{filled}\n\n{picture}\n\n{tables(found)}\n\n{load}\n")
    (REPORT / "load.svg").write_text(plot(found))


_OURS, _OTHER, _THIRD = "#1f6f8b", "#c46b3b", "#8a8a8a"


def plot(found: Findings) -> str:
    """Return an SVG with bars of throughput, of p99 by rate, and of p99 beside neighbours and their controls."""
    parts, y = [], 20

    def head(text: str, *legend: tuple[str, str]) -> None:
        nonlocal y
        parts.append(f'<text x="20" y="{y + 4}" font-size="15" font-weight="bold">{text}</text>')
        x = 500
        for color, name in legend:
            parts.append(f'<rect x="{x}" y="{y - 7}" width="12" height="12" fill="{color}"/>')
            parts.append(f'<text x="{x + 18}" y="{y + 3}">{name}</text>')
            x += 130
        y += 20

    def bars(title: str, values: list[tuple[str, float]], largest: float, unit: str = "") -> None:
        nonlocal y
        parts.append(f'<text x="330" y="{y + 11}" text-anchor="end">{title}</text>')
        for color, value in values:
            width = max(1.0, 330 * value / largest)
            parts.append(f'<rect x="340" y="{y}" width="{width:.1f}" height="14" fill="{color}"/>')
            parts.append(f'<text x="{346 + width:.1f}" y="{y + 11}">{value:,.0f}{unit}</text>')
            y += 17
        y += 6

    head("Answers a second, 40 requests always open")
    fastest = max(one.throughput for one in found.saturated.values())
    for name, color in zip(found.saturated, (_OURS, _THIRD, _OTHER), strict=False):
        bars(name, [(color, found.saturated[name].throughput)], fastest)
    y += 14
    head("p99 in ms, at a given rate", (_OURS, "PMP"), (_OTHER, "others"))
    rates = [
        (f"{share:.0%} of saturation, {one.throughput:,.0f}/s", _OURS, one)
        for share, one in found.offered.items()
        if share < 1
    ]
    rates += [(f"{name}, {one.throughput:,.0f}/s", _OTHER, one) for name, one in found.others.items()]
    slowest = max(one.p99 for _, _, one in rates)
    for name, color, one in rates:
        bars(name, [(color, one.p99)], slowest)
    y += 14
    head("p99 in ms, beside neighbours", (_OURS, "neighbour"), (_THIRD, "control"))
    slowest = max(max(each.with_it.p99, each.control.p99) for each in found.neighbours)
    bars("alone", [(_OURS, found.alone.p99)], slowest)
    for each in found.neighbours:
        bars(each.name, [(_OURS, each.with_it.p99), (_THIRD, each.control.p99)], slowest)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{y + 4}" font-family="sans-serif" font-size="12">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
    )
