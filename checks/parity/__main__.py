"""Plan every layer and environment with the stand-ins and with the real modules, and compare: ``make parity``.

Two plans of each are compared: a first deployment, with its references named, and an update of it. The real modules
come from the folder ``PMP_MODULE_MIRROR`` (``<namespace>/<name>/<provider>/<version>/``), and the providers that they
need from the folder ``PMP_PROVIDER_MIRROR`` (``terraform providers mirror`` creates one). Without a folder, the public
registry serves both where it answers.
"""

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from checks.parity import versions
from checks.parity.comparison import Difference, compare, load
from checks.parity.graph import Graph, deployed, updated
from checks.planning import LAYERS, Planner, TerraformError, emulated_account, planner
from local.registry.server import STAND_INS, source
from ops.settings import ENVIRONMENTS

_SHOWN = 160

FIRST, UPDATE = "first deployment", "update"


class Case(NamedTuple):
    """One of the plans that are compared."""

    layer: str
    environment: str
    purpose: str


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def line(case: Case, difference: Difference) -> str:
    """Describe a difference on one line."""
    values = f"{_short(difference.stand_in)} with stand-ins, {_short(difference.real)} with real modules"
    return f"{case.layer} {case.environment}, {case.purpose}: {difference.address}: {difference.argument}: {values}"


def graphs(planning: Planner, name: str, environments: list[str]) -> dict[Case, Graph]:
    """Plan every layer in the environments: a first deployment and an update.

    Raises:
        SystemExit: Terraform failed.
    """
    found: dict[Case, Graph] = {}
    for layer in LAYERS:
        for environment in environments:
            print(f"planning {layer} {environment} with {name}", flush=True)
            try:
                graph, state = deployed(planning, layer, environment)
                found[Case(layer, environment, FIRST)] = graph
                found[Case(layer, environment, UPDATE)] = updated(planning, graph, state, layer, environment)
            except TerraformError as error:
                raise SystemExit(f"error: {layer} {environment} cannot be planned with {name}:\n{error}") from None
    return found


def main() -> None:
    """Print every unlisted difference; exit 1 when there is one, or when an entry of the list is out of date."""
    parser = argparse.ArgumentParser(prog="make parity", description=__doc__)
    parser.add_argument("--required", action="store_true", help="fail where no real modules can be had")
    parser.add_argument("--versions", type=Path, metavar="FILE", help="YAML with other versions for the real modules")
    parser.add_argument("--environments", nargs="+", choices=ENVIRONMENTS, default=list(ENVIRONMENTS))
    arguments = parser.parse_args()
    try:
        wanted = versions.load(arguments.versions) if arguments.versions else None
    except ValueError as error:
        sys.exit(f"error: {error}")
    try:
        real = source()
    except NotADirectoryError as error:
        sys.exit(f"error: {error}")
    if real.directory == STAND_INS:
        print("skipped: the real modules are missing. Set PMP_MODULE_MIRROR to a folder of them, and")
        print("PMP_PROVIDER_MIRROR to a folder of the providers that they need (aws, random, external, local, null).")
        sys.exit("error: a comparison is required, and none was made" if arguments.required else 0)
    known = load()
    used, unlisted, compared = set(), [], 0
    with (
        tempfile.TemporaryDirectory(prefix="pmp-parity-") as name,
        emulated_account(Path(name)) as account,
        planner(account) as stand_ins,
        planner(account, modules=real.directory) as released,
        ThreadPoolExecutor(2) as pool,
    ):
        if wanted:
            try:
                released.prepare(wanted.apply)
            except ValueError as error:
                sys.exit(f"error: {arguments.versions}: {error}")
        ours = pool.submit(graphs, stand_ins, "stand-ins", arguments.environments)
        theirs = pool.submit(graphs, released, real.description, arguments.environments)
        for case, graph in theirs.result().items():
            compared += len(graph.resources)
            first = case._replace(purpose=FIRST)
            before = (ours.result()[first], theirs.result()[first]) if case != first else None
            for difference in compare(ours.result()[case], graph, before):
                match = next((entry for entry in known if entry.matches(difference)), None)
                if match is None:
                    unlisted.append(line(case, difference))
                else:
                    used.add(known.index(match))
    everything = set(arguments.environments) == set(ENVIRONMENTS)
    unused = [entry for index, entry in enumerate(known) if index not in used] if everything else []
    print("\n".join(unlisted))
    for entry in unused:
        print(f"differences.yaml: {entry.type}: {entry.argument}: is not a difference any more, remove it")
    plans = len(LAYERS) * len(arguments.environments) * 2
    print(f"{compared} resources in {plans} plans: {len(known)} known differences, {len(unlisted)} unlisted")
    sys.exit(1 if unlisted or unused else 0)


if __name__ == "__main__":
    main()
