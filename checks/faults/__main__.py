"""Each fault of the platform in turn under a stream of the usual requests: ``make faults``.

    python -m checks.faults [--seconds 4] [--environments 60] [--only NAME …] [--write]

One throwaway stack with the settings of a durable server. The program fails if an acknowledged event cannot be read,
the projection differs from a replay, a request is not counted, an answer of 5xx lacks Retry-After, an event that is
sent again is not recorded, or nothing recovers. ``--write`` writes docs/bench/faults.md; faults that were not measured
keep their rows.
"""

import argparse
import sys
from collections.abc import Collection

from checks import preloads
from checks.bench.growth.record import Record
from checks.faults import deployment, report
from checks.faults.kinds import FAULTS, Scene
from checks.faults.measure import Row, measure
from checks.full_disk import full_disk
from checks.load.fleet import Fleet
from checks.load.mix import Mix, user_id
from checks.stack import end_in_order, missing, stack
from ops.errors import UserError
from ops.output import say, step

USERS, CONNECTIONS = 400, 10
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
PATH = f"/v1/users/{user_id(2)}"
"""What warms environments."""


def _measured(scene: Scene, wanted: Collection[str], seconds: float) -> list[Row]:
    """Let the wanted faults of a scene happen in turn."""
    rows = []
    for seed, fault in enumerate(FAULTS, start=1):
        if fault.name in wanted and fault.through_api is (scene.deployment is not None):
            with step(fault.name):
                rows.append(measure(scene, fault, users=USERS, seconds=seconds, seed=seed))
    return rows


def main() -> int:
    """Run the faults; the exit status is 1 if something was lost."""
    names = [fault.name for fault in FAULTS]
    parser = argparse.ArgumentParser(prog="python -m checks.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4, help="how long each fault lasts (4)")
    parser.add_argument("--environments", type=int, default=60, help="of the function (60)")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"of: {', '.join(names)}")
    parser.add_argument("--write", action="store_true", help="write docs/bench/faults.md")
    options = parser.parse_args()
    end_in_order()
    if lacking := missing() or preloads.missing():
        raise UserError(lacking)
    wanted = set(options.only or names)
    with full_disk() as disk, stack(pool_size=CONNECTIONS, settings=DURABLE, preload=disk.library) as running:
        record = Record(running)
        for _ in record.fill(5 * USERS):
            pass
        with Fleet(running.environment, options.environments) as fleet:
            fleet.warm(Mix(USERS, 0).read("", PATH).event)
            rows = _measured(Scene(running, fleet, disk), wanted, options.seconds)
        if any(fault.through_api and fault.name in wanted for fault in FAULTS):
            with deployment.running(running) as deployed, deployed.clients(PATH) as clients:
                rows += _measured(Scene(running, clients, disk, deployment=deployed), wanted, options.seconds)
        server = running.cluster.psql("SHOW server_version").split()[0]
    print(report.table(rows))
    if options.write:
        report.write(rows, server, options.seconds)
    failures = [one for row in rows for one in row.failures()]
    for one in failures:
        say(one, "red")
    if not failures:
        say("nothing that was acknowledged is lost, and each 5xx says when to try again")
    return 1 if failures else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"error: {error}")
