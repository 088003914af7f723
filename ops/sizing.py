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
STORAGE_GIB = 400
"""Storage of the classes that are shown: from here on gp3 has its larger baseline."""
_ROOT = """\
module "sizing" {{
  source   = "./sizing"
  for_each = toset({classes})

  instance_class = each.key
  storage        = {{ gib = {gib} }}
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
        (folder / "main.tf").write_text(_ROOT.format(classes=json.dumps(names), gib=STORAGE_GIB))
        _terraform(folder, "init", "-input=false")
        _terraform(folder, "apply", "-auto-approve", "-input=false")
        found: dict[str, dict[str, Any]] = json.loads(_terraform(folder, "output", "-json", "sizing"))
    return {name: found[name] for name in names}


def table(sizing_by_class: dict[str, dict[str, Any]]) -> Table:
    """Return a table with one row per class, at most 80 columns wide."""
    shown = Table(
        title="What each class carries (modules/sizing)",
        caption=(
            "req/s: what the stage lets through, the least of what connections, processor and storage carry; 1 ms of "
            f"processor time each, gp3 of {STORAGE_GIB} GiB or more (smaller gp3: at most 3,000). "
            "free: without spending CPU credits. surplus: US dollars of a month at full load."
        ),
        box=None,
        padding=(0, 1, 0, 0),
        caption_justify="left",
        title_justify="left",
    )
    shown.add_column("class", no_wrap=True)
    for heading in ("vCPU", "GiB", "max_conn", "pool", "concurrency", "req/s", "free", "surplus"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, size in sizing_by_class.items():
        numbers = (
            *(size["vcpu"], size["memory_gib"], size["max_connections"], size["pool_size"]),
            *(size["reserved_concurrency"], size["throttling"]["rate_limit"], size["transactions_per_second"]["free"]),
        )
        surplus = f"{size['surplus_dollars_per_month']:,.2f}" if size["is_burstable"] else "-"
        shown.add_row(name, *(f"{number:,}" for number in numbers), surplus)
    return shown


def show(instance_class: str, rate: int | None = None) -> dict[str, dict[str, Any]]:
    """Print how much load a database instance class carries and what its bursts cost; return the outputs by class.

    Args:
        instance_class: a class such as ``db.t3.medium``, or ``all``.
        rate: show only classes that carry so many requests per second.

    Raises:
        UserError: the class is not known, none carries the rate, or Terraform failed or is not installed.
    """
    sizing = evaluate(classes() if instance_class == ALL else [instance_class])
    if rate is not None:
        most = max(size["throttling"]["rate_limit"] for size in sizing.values())
        sizing = {name: size for name, size in sizing.items() if size["throttling"]["rate_limit"] >= rate}
        if not sizing:
            raise UserError(
                f"no class carries {rate:,} requests a second, the most is {most:,}: lower the rate, or provision more "
                "IOPS than gp3's baseline (foundation.database.storage_performance)"
            )
    # A file or a pipe has no width, so the table must not be folded there.
    Console(width=None if sys.stdout.isatty() else 80).print(table(sizing))
    return sizing
