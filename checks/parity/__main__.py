"""Plan every layer and environment with the stand-ins and with the real modules, and compare: ``make parity``.

The real modules come from the folder ``PMP_MODULE_MIRROR`` (``<namespace>/<name>/<provider>/<version>/``), and the
providers that they need from the folder ``PMP_PROVIDER_MIRROR`` (``terraform providers mirror`` creates one).
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from checks.parity.comparison import Difference, compare, load
from checks.planning import LAYERS, TerraformError, emulated_account, planner
from ops.settings import ENVIRONMENTS

_SHOWN = 160


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def _line(layer: str, environment: str, difference: Difference) -> str:
    values = f"{_short(difference.stand_in)} with stand-ins, {_short(difference.real)} with real modules"
    return f"{layer} {environment}: {difference.address}: {difference.argument}: {values}"


def main() -> None:
    """Print every unlisted difference; exit 1 when there is one, or when an entry of the list is out of date."""
    modules, providers = os.environ.get("PMP_MODULE_MIRROR"), os.environ.get("PMP_PROVIDER_MIRROR")
    if not modules:
        print("skipped: the real modules are missing. Set PMP_MODULE_MIRROR to a folder of them, and")
        print("PMP_PROVIDER_MIRROR to a folder of the providers that they need (aws, random, external, local, null).")
        return
    if not Path(modules).is_dir():
        sys.exit(f"error: PMP_MODULE_MIRROR={modules} is not a directory")
    known = load()
    used, unlisted, compared = set(), [], 0
    with tempfile.TemporaryDirectory(prefix="pmp-parity-") as name, emulated_account(Path(name)) as account:
        plans: dict[tuple[str, str], list[dict[str, dict[str, Any]]]] = {}
        for source in (None, Path(modules)):
            mirror = Path(providers) if source and providers else None
            with planner(account, modules=source, providers=mirror) as planning:
                for layer in LAYERS:
                    for environment in ENVIRONMENTS:
                        print(f"planning {layer} {environment} with {source or 'stand-ins'}", flush=True)
                        try:
                            plan = planning.plan(layer, environment)
                        except TerraformError as error:
                            sys.exit(f"error: {layer} {environment} cannot be planned with {source}:\n{error}")
                        plans.setdefault((layer, environment), []).append(plan.resources)
        for (layer, environment), (ours, theirs) in plans.items():
            compared += len(theirs)
            for difference in compare(ours, theirs):
                match = next((k for k in known if k[:2] == difference[:2]), None)
                used.add(match)
                if match is None:
                    unlisted.append(_line(layer, environment, difference))
    unused = [entry for entry in known if entry not in used]
    print("\n".join(unlisted))
    for entry in unused:
        print(f"differences.yaml: {entry.type}: {entry.argument}: is not a difference any more, remove it")
    print(f"{compared} resources in {len(plans)} plans: {len(known)} known differences, {len(unlisted)} unlisted")
    sys.exit(1 if unlisted or unused else 0)


if __name__ == "__main__":
    main()
