"""``make sizing CLASS=db.t3.medium``: how much load a database instance class carries and what its bursts cost.

Terraform computes every number in ``modules/sizing``; this command only evaluates the module and prints the result.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ops.errors import UserError
from ops.settings import ROOT

MODULE = ROOT / "modules/sizing"

ALL = "all"
_ROOT = """\
module "sizing" {{
  source   = "./sizing"
  for_each = toset({classes})

  instance_class = each.key
}}

output "sizing" {{
  value = module.sizing
}}
"""


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pmp-sizing-") as name:
        shutil.copytree(MODULE, Path(name) / "sizing", ignore=shutil.ignore_patterns(".terraform*", "tests"))
        yield Path(name)


def _terraform(folder: Path, *arguments: str, text: str | None = None) -> str:
    try:
        done = subprocess.run(
            ["terraform", f"-chdir={folder}", *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise UserError("terraform is not installed: run 'make install'") from None
    if done.returncode:
        raise UserError(f"terraform {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


def classes() -> list[str]:
    """Return every class that ``modules/sizing`` knows, by family and from small to large.

    Raises:
        UserError: Terraform failed or is not installed.
    """
    with _scratch() as folder:
        expression = "jsonencode([for name, class in local.class_by_name : [name, class.memory_gib]])"
        answer = _terraform(folder / "sizing", "console", "-var", "instance_class=db.t3.micro", text=expression + "\n")
    known: list[tuple[str, float]] = json.loads(json.loads(answer))
    return [name for name, memory in sorted(known, key=lambda one: (one[0].split(".")[1], one[1]))]


def evaluate(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the module's outputs by class.

    Args:
        names: classes, such as ``db.t3.medium``.

    Raises:
        UserError: the module does not know one of the classes, or Terraform failed or is not installed.
    """
    if unknown := sorted(set(names) - set(known := classes())):
        raise UserError(f"modules/sizing does not know {', '.join(unknown)}: use one of {', '.join(known)}, or 'all'")
    with _scratch() as folder:
        (folder / "main.tf").write_text(_ROOT.format(classes=json.dumps(names)))
        _terraform(folder, "init", "-input=false")
        _terraform(folder, "apply", "-auto-approve", "-input=false")
        found: dict[str, dict[str, Any]] = json.loads(_terraform(folder, "output", "-json", "sizing"))
    return {name: found[name] for name in names}


def table(sizing_by_class: dict[str, dict[str, Any]]) -> Table:
    """Return a table with one row per class."""
    shown = Table(
        title="Concurrency limits by instance class (modules/sizing)",
        caption=(
            "tx/s: transactions of 1 ms processor time; free = at the baseline, burst = all vCPUs. "
            "Surplus: at full load all month, $0.075 per vCPU-hour."
        ),
    )
    shown.add_column("class")
    for heading in (
        *("vCPU", "GiB", "max_conn.", "pool %", "pool", "concurrency", "req/s", "burst"),
        *("tx/s free", "tx/s burst", "credits/h", "surplus $/month"),
    ):
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, size in sizing_by_class.items():
        numbers = (
            *(size["vcpu"], size["memory_gib"], size["max_connections"], size["max_connections_percent"]),
            *(size["pool_size"], size["reserved_concurrency"]),
            *(size["throttling"]["rate_limit"], size["throttling"]["burst_limit"]),
            *(size["transactions_per_second"]["free"], size["transactions_per_second"]["burst"]),
        )
        burstable = size["is_burstable"]
        shown.add_row(
            name,
            *(f"{number:,}" for number in numbers),
            f"{size['cpu_credits']['earned_per_hour']:g}" if burstable else "-",
            f"{size['surplus_dollars_per_month']:,.2f}" if burstable else "-",
        )
    return shown


def show(instance_class: str) -> None:
    """Print how much load a database instance class carries and what its bursts cost.

    Args:
        instance_class: a class such as ``db.t3.medium``, or ``all``.

    Raises:
        UserError: the class is not known, or Terraform failed or is not installed.
    """
    sizing = evaluate(classes() if instance_class == ALL else [instance_class])
    # A file or a pipe has no width, so the table must not be folded there.
    Console(width=None if sys.stdout.isatty() else 180).print(table(sizing))
