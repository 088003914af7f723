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
    assert row.split() == ["db.t3.medium", "2", "4", "374", "336", "258", "2,000", "400", "87.60"]


def test_sizing_table_has_a_row_for_every_class() -> None:
    known = sizing.classes()
    assert len(known) == len(set(known)) == 26
    console = Console(width=80, record=True, file=StringIO())
    console.print(sizing.table(sizing.evaluate(known)))
    text = console.export_text()
    assert all(f"{name} " in text for name in known)
    assert "…" not in text, "a column is cut off"
    assert max(map(len, text.splitlines())) <= 80


def test_sizing_names_the_classes_that_carry_5000_requests_a_second() -> None:
    done = run("all", "--rate", "5000")
    assert done.returncode == 0, done.stderr
    shown = [line.split()[0] for line in done.stdout.splitlines() if line.startswith("db.")]
    assert "db.r6g.2xlarge" in shown
    assert "db.r6g.xlarge" not in shown


def test_rate_that_no_class_carries_gives_a_one_line_error() -> None:
    done = run("all", "--rate", "20000")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no class carries 20,000 requests a second, the most is 12,000: ")
    assert len(done.stderr.splitlines()) == 1


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
    assert costs.ALARMS + costs.CREDIT_ALARMS == 31
    filters = (ROOT / "modules/alarms/logs.tf").read_text().count('pattern = "')
    assert filters == costs.LOG_METRICS
    objectives = (ROOT / "modules/alarms/objectives.tf").read_text()
    assert objectives.count("  objective = ") == costs.OBJECTIVES
    assert costs.OBJECTIVE_METRICS == 4 * costs.OBJECTIVES


def test_provisioned_storage_costs_what_exceeds_the_baseline(dev: Dev) -> None:
    settings = json.loads(json.dumps(dev[0]))
    settings["foundation"]["database"]["storage_gib"]["initial"] = 400
    one = cost(settings, dev[1])
    settings["foundation"]["database"]["storage_performance"] = {"iops": 13_000, "throughput_mib": 600}
    two = cost(settings, dev[1])
    assert two["Storage"] - one["Storage"] == pytest.approx(1000 * 0.02 + 100 * 0.08)


def test_backups_cost_each_vault_its_alarms_and_the_key_of_the_copies(dev: Dev) -> None:
    settings = json.loads(json.dumps(dev[0]))
    settings["foundation"]["database"]["storage_gib"]["initial"] = 100
    assert "Backups in vaults" not in cost(settings, dev[1])
    settings["foundation"]["database"]["backups"] = {"retention_days": 90}
    assert cost(settings, dev[1])["Backups in vaults"] == pytest.approx(9.5 + 0.4)
    settings["foundation"]["database"]["backups"]["copy_region"] = "eu-central-1"
    assert cost(settings, dev[1])["Backups in vaults"] == pytest.approx(20 + 0.6)


def test_aurora_costs_its_least_capacity_and_what_it_reads(dev: Dev) -> None:
    settings = json.loads(json.dumps(dev[0]))
    settings["foundation"]["database"] |= {"aurora": {"min_acu": 2, "max_acu": 16, "readers": 1}}
    standard = cost(settings, dev[1])
    assert standard["Database"] == pytest.approx(2 * 2 * 0.12 * 730)
    assert standard["Storage"] == pytest.approx(100 * 0.1 + 0.2)
    settings["foundation"]["database"]["aurora"]["enable_io_optimized"] = True
    optimized = cost(settings, dev[1])
    assert optimized["Database"] == pytest.approx(2 * 2 * 0.156 * 730)
    assert optimized["Storage"] == pytest.approx(100 * 0.225)


def test_sizing_says_from_which_load_aurora_is_cheaper() -> None:
    """Below the break-even Aurora costs less than the class, above it more; the cheapest classes it never beats."""
    rate = costs.break_even("db.r6g.2xlarge", 8)
    assert rate is not None
    assert costs.aurora_month(rate - 1) < costs.instance_month("db.r6g.2xlarge", 8) < costs.aurora_month(rate + 2)
    assert costs.break_even("db.t4g.small", 2) is None
    done = run("db.r6g.2xlarge")
    row = [line.split() for line in done.stdout.splitlines() if "db.r6g.2xlarge" in line][-1]
    assert row == ["db.r6g.2xlarge", "8,000", f"{costs.instance_month('db.r6g.2xlarge', 8):,.0f}", f"{rate:,}"]
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_error_names_a_class_without_a_price(dev: Dev) -> None:
    settings = json.loads(json.dumps(dev[0]))
    settings["foundation"]["database"]["instance_class"] = "db.r6g.16xlarge"
    with pytest.raises(KeyError, match=r"db\.r6g\.16xlarge"):
        cost(settings, dev[1])
