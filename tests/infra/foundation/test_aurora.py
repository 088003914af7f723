"""The foundation layer with Aurora instead of an RDS instance, and on the way from one to the other."""

from collections import Counter

import pytest

from checks.inventory import resource_type
from checks.planning import Plan, Planner

pytestmark = pytest.mark.slow

_AURORA = {
    "foundation.database.aurora": {"min_acu": 2, "max_acu": 32, "readers": 1},
    "service.function.reserved_concurrency": 200,
}


def _alarms(plan: Plan) -> set[str]:
    return {values["alarm_name"] for address, values in plan.resources.items() if "metric_alarm" in address}


def _parameter(plan: Plan, name: str) -> str:
    value: str = plan.resources[f'aws_ssm_parameter.this["{name}"]']["value"]
    return value


def test_an_environment_that_begins_with_aurora(plans: Planner) -> None:
    new = {"foundation.database.engine": "aurora-postgresql", "foundation.database.storage_gib": None}
    plan = plans.changed("foundation", "prod", _AURORA | new | {"foundation.database.instance_class": "db.serverless"})
    counts = Counter(resource_type(address) for address in plan.resources)
    assert counts["aws_db_instance"] == 0
    assert (counts["aws_rds_cluster"], counts["aws_rds_cluster_instance"], counts["aws_db_proxy_endpoint"]) == (1, 2, 1)
    assert _parameter(plan, "database_engine") == "aurora-postgresql"
    assert _parameter(plan, "database_identifier") == "pmp-prod"
    assert {"pmp-prod-database-reader-lag", "pmp-prod-database-capacity"} <= _alarms(plan)
    assert "pmp-prod-database-storage" not in _alarms(plan)


def test_the_way_from_rds_to_aurora_only_adds(plans: Planner) -> None:
    before = plans.plan("foundation", "prod")
    restore = {"snapshot": "pmp-prod-before-aurora", "engine": "aurora-postgresql"}
    plan = plans.changed("foundation", "prod", _AURORA | {"foundation.database.restores": [restore]})
    databases = [address for address in before.resources if "aws_db_instance" in address]
    assert databases
    assert all(plan.resources[address] == before.resources[address] for address in databases)
    cluster = plan.resources['module.database.aws_rds_cluster.this["r1"]']
    assert cluster["snapshot_identifier"].endswith(":snapshot:pmp-prod-before-aurora")
    assert _parameter(plan, "database_identifier") == "pmp-prod-r1"
    assert plan.resources["module.database.aws_db_proxy_target.this"]["db_cluster_identifier"] == "pmp-prod-r1"
    assert plan.resources["module.database.aws_db_proxy_target.this"]["db_instance_identifier"] is None


def test_a_concurrency_that_the_largest_capacity_cannot_carry_is_refused(plans: Planner) -> None:
    changes = _AURORA | {
        "foundation.database.aurora": {"min_acu": 0.5, "max_acu": 1},
        "foundation.database.engine": "aurora-postgresql",
        "foundation.database.instance_class": "db.serverless",
    }
    assert "would exhaust the database's connections: db.serverless has about 187" in plans.refusal(
        "foundation", "prod", changes
    )
