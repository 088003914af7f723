"""``make sizing`` prints Terraform's numbers, and the cost table matches the current tfvars."""

import json
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from ops import costs, sizing
from ops.settings import ROOT

Dev = tuple[dict[str, Any], dict[str, Any]]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops", "sizing", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_sizing_prints_the_limits_of_a_class() -> None:
    done = run("db.t3.medium")
    assert done.returncode == 0, done.stderr
    row = next(line for line in done.stdout.splitlines() if "db.t3.medium" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [
        *("db.t3.medium", "2", "4", "374", "90", "336", "258", "5,160", "258", "400", "2,000", "24", "87.60"),
    ]


def test_sizing_table_has_a_row_for_every_class() -> None:
    known = sizing.classes()
    assert len(known) == len(set(known)) == 26
    console = Console(width=180, record=True, file=StringIO())
    console.print(sizing.table(sizing.evaluate(known)))
    text = console.export_text()
    assert all(name in text for name in known)
    assert "…" not in text, "a column is cut off"


def test_unknown_class_gives_a_one_line_error() -> None:
    done = run("db.x9.huge")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: modules/sizing does not know db.x9.huge: use one of db.m6g.large, ")
    assert len(done.stderr.splitlines()) == 1


def test_class_name_cannot_inject_hcl() -> None:
    assert run('x"]) }').returncode == 1


def test_cost_table_matches_the_current_settings() -> None:
    assert costs.DOCUMENT.read_text() == costs.document(), "run 'make costs'"


@pytest.fixture(scope="module")
def dev() -> Dev:
    settings = costs.variables("dev")
    name = settings["foundation"]["database"]["instance_class"]
    return settings, sizing.evaluate([name])[name]


def cost(settings: dict[str, Any], size: dict[str, Any]) -> dict[str, float]:
    return {item: dollars for item, _, dollars in costs.lines("dev", settings, size)}


def test_second_zone_doubles_instance_and_storage_costs(dev: Dev) -> None:
    settings, size = json.loads(json.dumps(dev[0])), dev[1]
    settings["foundation"]["database"]["enable_multi_az"] = False
    one = cost(settings, size)
    settings["foundation"]["database"]["enable_multi_az"] = True
    two = cost(settings, size)
    assert two["Database"] == 2 * one["Database"]
    assert two["Storage"] == 2 * one["Storage"]
    assert {item: dollars for item, dollars in two.items() if item not in {"Database", "Storage"}} == {
        item: dollars for item, dollars in one.items() if item not in {"Database", "Storage"}
    }


def test_cost_table_counts_the_existing_alarms() -> None:
    assert costs.ALARMS + costs.CREDIT_ALARMS == 25
    filters = (ROOT / "modules/alarms/logs.tf").read_text().count('pattern = "')
    assert filters == costs.LOG_METRICS


def test_error_names_a_class_without_a_price(dev: Dev) -> None:
    settings = json.loads(json.dumps(dev[0]))
    settings["foundation"]["database"]["instance_class"] = "db.r6g.16xlarge"
    with pytest.raises(KeyError, match=r"db\.r6g\.16xlarge"):
        cost(settings, dev[1])
