"""The usual mix of requests at saturation and below, and beside what disturbs it: ``make bench-load``.

    python -m checks.bench.load [--events 1000000] [--environments 400] [--seconds 10] [--without-peer]

One run, on one PostgreSQL with durable settings and a record built by SQL, measures

- PMP's function in processes of its own through PgBouncer, pgbench with the same SQL through the same PgBouncer, and
  FastAPI without a pooler, in turns: as many answers a second as there can be;
- the same at given rates, where requests arrive whether or not the earlier ones have been answered;
- what PostgreSQL takes for a request of PMP and of pgbench, on a processor of its own;
- a steady stream of requests beside a hot row, a reader of lists, imports, a migration that waits for a lock and a
  vacuum, each followed by a control that burns as much processor time without the database.

Afterwards every acknowledged event must be readable, and the projection equal to a replay. It writes
``docs/bench/load.md`` and ``load.svg`` unless the sizes are others, and fails where a goal is missed.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from checks.bench import cpu
from checks.bench.beside import burning
from checks.bench.growth.record import Record
from checks.bench.load import neighbours, report, sides
from checks.bench.load.findings import Beside, Findings
from checks.bench.load.sides import CONNECTIONS, ENVIRONMENTS, EVENTS, SETTINGS, Function, Pgbench, Result, Side
from checks.load.fleet import Fleet
from checks.load.ledger import audit
from checks.load.mix import Mix, user_id
from checks.load.traffic import Stream, run
from checks.stack import Stack, end_in_order, stack
from ops.output import say, step

SECONDS, ROUNDS = 10, 3
SHARES = (0.5, 0.9, 1.2)
"""Of saturation, at which requests arrive besides."""

ORDINARY_SHARE = 0.25
"""Of saturation, beside neighbours."""


def used(running: Stack, fleet: Fleet) -> float:
    """Return the CPU seconds so far of all that answers requests."""
    assert running.bouncer.pid is not None
    return fleet.cpu() + sides.server_seconds(running) + cpu.alone(running.bouncer.pid)


def beside(
    ours: Function, running: Stack, rate: float, options: argparse.Namespace, folder: Path
) -> tuple[Result, list[Beside]]:
    """Let ordinary requests arrive alone, and then beside each neighbour and its control."""
    seconds = 1.5 * options.seconds
    quarter = max(1, len(ours.fleet.environments) // 4)
    ordinary, spare = ours.fleet.environments[quarter:], ours.fleet.environments[:quarter]

    def stream() -> Stream:
        return Stream(ordinary, ours.mix.ready(int(rate * seconds * 1.2) + 100), rate=rate)

    def measured(streams: list[Stream], work: neighbours.Work | None = None) -> tuple[Result, float]:
        """The ordinary requests, and the processors that were busy."""
        work = work or neighbours.Work()
        before = used(running, ours.fleet) + work.seconds()
        run(streams, seconds, until=work.is_done)
        busy = (used(running, ours.fleet) + work.seconds() - before) / streams[0].outcome.lasted
        for one in streams:
            ours.recorded |= one.outcome.recorded
        return Result.of(streams[0].outcome), busy

    alone, base = measured([stream()])
    say(f"  alone: {alone.summary()}")
    found = []
    for neighbour in neighbours.all_of(running, spare, ours.mix, options.lines, folder):
        # Made before, so that the requests and the work begin together.
        streams = [stream(), *neighbour.streams()]
        with neighbour.work() as work:
            result, busy = measured(streams, work)
        say(f"  {neighbour.name}: {result.summary()}")
        busy = max(0.0, busy - base)
        with burning(busy, neighbour.processes):
            control, _ = measured([stream()])
        say(f"  its control, {busy:.2f} processors busy: {control.summary()}")
        told = [*work.told, *(f"{one.outcome.throughput:,.0f} requests a second of its own" for one in streams[1:])]
        errors = sum((one.outcome.errors for one in streams[1:]), Counter[str]())
        found.append(Beside(neighbour.name, result, control, busy, errors, "; ".join(told)))
    return alone, found


def measure(running: Stack, record: Record, options: argparse.Namespace, folder: Path) -> Findings:
    """Measure everything.

    Args:
        running: the servers. The function must be importable, and find them by its environment variables.
        record: what is in the database.
        options: see ``main``.
        folder: for everything that is made.
    """
    places = sides.places(running, record)
    ours_mix, pgbench_mix, peer_mix = (
        Mix(record.users, number, client=f"load-{number}", places=places) for number in range(3)
    )
    with Fleet(running.environment, options.environments) as fleet:
        with step(f"{options.environments} environments connect"):
            fleet.warm(ours_mix.read("", f"/v1/users/{user_id(2)}").event)
        ours = Function("PMP", running, fleet, ours_mix)
        pgbench = Pgbench(running, pgbench_mix, min(CONNECTIONS, options.environments), folder)
        with ExitStack() as running_peer:
            everyone: list[Side] = [ours, pgbench]
            if not options.without_peer:
                peer = sides.peer(running, peer_mix, options.environments, folder)
                with step("the peer's environments connect"):
                    everyone.append(running_peer.enter_context(peer))

            def told(side: Side, result: Result) -> Result:
                say(f"  {side.name}: {result.summary()}")
                return result

            def saturate(side: Side) -> Result:
                return told(side, side.saturated(options.seconds))

            with step(f"saturation, {CONNECTIONS} requests always open, in turns"):
                for side in everyone:
                    side.saturated(min(2, options.seconds))
                rounds = sides.in_turns(everyone, saturate, options.rounds)
            saturated = {name: sides.merged(results) for name, results in rounds.items()}
            limit = saturated["PMP"].throughput

            def calm(side: Side) -> Result:
                rate = report.CALM_SHARE * min(limit, saturated[side.name].throughput)
                return told(side, side.offered(rate, options.seconds))

            with step(f"requests arrive at {report.CALM_SHARE:.0%} of saturation, in turns"):
                rounds = sides.in_turns(everyone, calm, options.rounds)
            others = {name: sides.merged(results) for name, results in rounds.items()}
        offered = {report.CALM_SHARE: others.pop(ours.name)}

        def steady(side: Side) -> Result:
            return told(side, side.offered(report.APART_SHARE * limit, options.seconds))

        assert running.cluster.pid is not None
        assert running.bouncer.pid is not None
        with (
            step(f"{report.APART_SHARE:.0%} of saturation, PostgreSQL has a processor of its own, in turns"),
            cpu.apart(running.cluster.pid, {os.getpid(), running.bouncer.pid}),
        ):
            rounds = sides.in_turns([ours, pgbench], steady, options.rounds)
        apart = {name: sides.merged(results) for name, results in rounds.items()}
        with step("requests arrive at PMP at other rates"):
            for share in SHARES:
                offered[share] = ours.offered(share * limit, options.seconds)
                say(f"  {share:.0%} of saturation: {offered[share].summary()}")
        with step(f"neighbours of {ORDINARY_SHARE * limit:,.0f} requests a second"):
            alone, found = beside(ours, running, ORDINARY_SHARE * limit, options, folder)
        with step("every acknowledged event, and the projection"):
            checked = audit(running.cluster, ours.mix.client, ours.recorded)
            say(f"  {checked}")
    return Findings(
        record.events,
        options.environments,
        saturated,
        dict(sorted(offered.items())),
        others,
        apart,
        alone,
        found,
        checked,
    )


def main() -> int:
    """Measure, write the report; the exit status is 1 if a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m checks.bench.load", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--environments", type=int, default=ENVIRONMENTS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a span; rates and neighbours take longer")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--lines", type=int, default=neighbours.LINES, help="of each import")
    parser.add_argument("--without-peer", action="store_true", help="leave out what needs a package registry")
    options = parser.parse_args()
    end_in_order()
    with (
        tempfile.TemporaryDirectory(prefix="pmp-bench-load-") as name,
        stack(pool_size=CONNECTIONS, settings=SETTINGS) as running,
    ):
        findings = measure(running, sides.built(running, options.events), options, Path(name))
        server = running.cluster.psql("SHOW server_version").split()[0]
    print(report.tables(findings))
    if options == parser.parse_args([]):
        report.write(findings, server)
    missed = report.missed(findings)
    for goal in missed:
        say(f"not met: {goal}", "red")
    if not missed:
        say("all goals reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
