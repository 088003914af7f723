"""Every environment creates exactly the resources that its inventory lists."""

import difflib

import pytest

from checks import inventory
from checks.planning import LAYERS, Plan, Planner
from ops.settings import ENVIRONMENTS


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("layer", LAYERS)
def test_plan_equals_the_inventory(plans: Planner, layer: str, environment: str) -> None:
    file = inventory.path(layer, environment)
    planned = inventory.text(plans.plan(layer, environment))
    difference = "\n".join(
        difflib.unified_diff(file.read_text().splitlines(), planned.splitlines(), file.name, "planned", "", "", 0, "")
    )
    assert not difference, f"run 'make inventories' if this change is intended:\n{difference}"


def test_resource_type_is_read_from_the_address() -> None:
    assert inventory.resource_type('module.a["b.c"].module.d[0].aws_vpc.this["e.f"]') == "aws_vpc"
    assert inventory.resource_type("aws_kms_key.this") == "aws_kms_key"


def test_inventory_counts_every_resource_and_shows_the_important_ones() -> None:
    resources = {"aws_vpc.this": {"cidr_block": "10.0.0.0/16"}, "aws_eip.nat": {"domain": "vpc"}}
    plan = Plan("foundation", "dev", resources, unknown={})
    assert inventory.inventory(plan) == {
        "counts": {"all": 2, "aws_eip": 1, "aws_vpc": 1},
        "resources": {"aws_vpc.this": {"cidr_block": "10.0.0.0/16"}},
    }
