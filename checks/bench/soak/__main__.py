"""Half of what PMP can carry, for a long time: ``make soak`` (``MINUTES=10`` for a shorter one).

    python -m checks.bench.soak [--minutes 30] [--events 1000000] [--environments 400]

The servers, the function and the mix are those of ``make bench-load``. Every ten seconds a process of its own takes the
memory of the function's processes, of the pooler's backends and of the pooler, the connections, and the sizes of tables
and indexes. Each must be flat or grow with the rows that the requests add. Housekeeping runs as it is scheduled, but
every five minutes. The program writes ``docs/bench/soak.md`` and ``soak.svg`` if it lasted for ten minutes or more.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from checks.bench.growth.record import Record
from checks.bench.load.sides import CONNECTIONS, ENVIRONMENTS, EVENTS, SETTINGS, Function, Result, built, places
from checks.bench.soak import report
from checks.bench.soak.findings import Findings
from checks.bench.soak.samples import TABLES, read, sampling
from checks.load.fleet import Fleet
from checks.load.ledger import audit
from checks.load.mix import Mix, user_id
from checks.stack import Stack, end_in_order, stack
from ops.errors import UserError
from ops.output import say, step

MINUTES, LEAST_MINUTES = 30, 10
SAMPLE_SECONDS = 10
HOUSEKEEPING_MINUTES = 5


def count(running: Stack) -> dict[str, int]:
    """Return the rows of each table."""
    columns = ", ".join(f"'{table}', (SELECT count(*) FROM pmp.{table})" for table in TABLES)
    found: dict[str, int] = json.loads(running.cluster.psql(f"SELECT jsonb_build_object({columns})"))
    return found


def measure(running: Stack, record: Record, options: argparse.Namespace, folder: Path) -> Findings:
    """Run for the given time. Arguments: see ``checks.bench.load``."""
    # Another seed than those of checks.bench.load: events with the same ids would be repetitions.
    mix = Mix(record.users, 20, client="soak", places=places(running, record))
    with Fleet(running.environment, options.environments) as fleet:
        with step(f"{options.environments} environments connect"):
            fleet.warm(mix.read("", f"/v1/users/{user_id(2)}").event)
        ours = Function("PMP", running, fleet, mix)
        with step("saturation"):
            ours.saturated(options.seconds / 3)
            rate = ours.saturated(options.seconds).throughput / 2
        before, minutes, file = count(running), list[Result](), folder / "samples"
        say(f"{rate:,.0f} requests a second arrive, for {options.minutes:g} minutes")
        pids = [environment.pid for environment in fleet.environments]
        with sampling(running, pids, SAMPLE_SECONDS, file):
            while len(minutes) < options.minutes:
                if len(minutes) % HOUSEKEEPING_MINUTES == 0:
                    status, body = fleet.environments[-1].ask(b'{"task": "housekeeping"}')
                    if status != 200:
                        raise UserError(f"housekeeping failed: {body.decode()}")
                minutes.append(ours.offered(rate, 60 * min(1, options.minutes - len(minutes))))
                say(f"  minute {len(minutes)}: {minutes[-1].summary()}")
        after = count(running)
        with step("every acknowledged event, and the projection"):
            checked = audit(running.cluster, mix.client, ours.recorded)
    rows = {table: (before[table], after[table]) for table in TABLES}
    return Findings(rate, minutes, read(file), rows, checked)


def main() -> int:
    """Run, write the report; the exit status is 1 if something grew without a reason."""
    parser = argparse.ArgumentParser(prog="python -m checks.bench.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--environments", type=int, default=ENVIRONMENTS)
    parser.add_argument("--seconds", type=float, default=10, help="in which saturation is found")
    options = parser.parse_args()
    end_in_order()
    with (
        tempfile.TemporaryDirectory(prefix="pmp-soak-") as name,
        stack(pool_size=CONNECTIONS, settings=SETTINGS) as running,
    ):
        found = measure(running, built(running, options.events), options, Path(name))
        server = running.cluster.psql("SHOW server_version").split()[0]
    print(report.tables(found))
    if options.minutes >= LEAST_MINUTES:
        report.write(found, server)
    missed = report.missed(found)
    for goal in missed:
        say(f"not met: {goal}", "red")
    if not missed:
        say("everything is flat or explained")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
