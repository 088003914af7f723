"""Invalid settings are refused at plan, with a sentence that says what to change."""

import pytest

from checks.planning import Planner

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("environment", "changes", "sentence"),
    [
        (
            "prod",
            {"foundation.database.enable_protection": False},
            "foundation.database.enable_protection must be true in prod",
        ),
        (
            "prod",
            {"foundation.imports": {"enable_force_destroy": True}},
            "foundation.imports.enable_force_destroy must be false in prod",
        ),
        (
            "prod",
            {"foundation.database.backup_retention_days": 3},
            "foundation.database.backup_retention_days must be at least 7 in prod",
        ),
        (
            "dev",
            {
                "foundation.network.cidr": "10.20.0.0/16",
                "foundation.network.subnet_cidrs": {
                    "private": ["10.20.0.0/20", "10.20.16.0/20"],
                    "database": ["10.20.56.0/24", "10.20.16.0/24"],
                    "public": ["10.20.60.0/24", "10.20.61.0/24"],
                },
            },
            "subnet_cidrs overlap: private[1] 10.20.16.0/20 and database[1] 10.20.16.0/24.",
        ),
        (
            "prod",
            {"foundation.database.instance_class": "db.t4g.small", "foundation.database.insights_mode": "advanced"},
            "insights_mode advanced is not for db.t4g.small",
        ),
        (
            "staging",
            {"foundation.network.nat": "none", "foundation.runner": {"enable": True}},
            "foundation.runner.enable must be false where foundation.network.nat is none",
        ),
        (
            "prod",
            {
                "foundation.database.storage_gib": {"initial": 100, "max": 1000},
                "foundation.database.storage_performance": {"iops": 12000, "throughput_mib": 500},
            },
            "storage_performance needs storage_gib.initial of at least 400, not 100",
        ),
        (
            "dev",
            {"foundation.database.instance_class": "db.t4g.small", "service.function.reserved_concurrency": 5000},
            "would exhaust the database's connections: db.t4g.small has about 187, the proxy's pool takes 168 of them",
        ),
        (
            "prod",
            {"foundation.database.restores": [{"snapshot": "final-pmp-prod-a1b2c3d4", "point_in_time": "latest"}]},
            'restores: each entry must have either snapshot or point_in_time, not [{"point_in_time":"latest",',
        ),
        (
            "prod",
            {"foundation.database.restores": [{"point_in_time": "yesterday", "source": "pmp-prod"}]},
            'point_in_time must be "latest" or an instant in UTC such as "2026-11-26T12:00:00Z", not ["yesterday"].',
        ),
        (
            "staging",
            {"foundation.database.restores": [{"point_in_time": "latest", "source": "pmp-prod"}]},
            "a point_in_time needs a source: an earlier instance of this database (pmp-staging, pmp-staging-r1, …)",
        ),
        (
            "prod",
            {"foundation.database.retired_instances": 1},
            "retired_instances must be a whole number from 0 to 0, the number of restores",
        ),
        (
            "dev",
            {"environment": "prod"},
            "environment is prod, but the workspace is dev: select the workspace prod or take envs/dev.tfvars.",
        ),
        (
            "dev",
            {"environment": "test"},
            "environment must be one of dev, staging, prod, local, as envs/environments.json lists them, not test.",
        ),
        (
            "dev",
            {"foundation.alarms": {"email_addresses_by_severity": {"urgent": []}}},
            "email_addresses_by_severity knows the severities critical and warning",
        ),
        (
            "dev",
            {"foundation.alarms": {"https_endpoints_by_severity": {"critical": ["http://events.example.com"]}}},
            "https_endpoints_by_severity must hold https addresses",
        ),
    ],
)
def test_invalid_setting_is_refused_with_a_reason(
    plans: Planner, environment: str, changes: dict[str, object], sentence: str
) -> None:
    assert sentence in plans.refusal("foundation", environment, changes)


@pytest.mark.parametrize(
    "alarms",
    [{}, {"email_addresses_by_severity": {"warning": ["team@example.com"]}}, {"https_endpoints_by_severity": {}}],
)
def test_prod_without_a_critical_alarm_receiver_is_refused(plans: Planner, alarms: dict[str, object]) -> None:
    """This holds on AWS only: the other tests plan for an emulated platform, which notifies nobody."""
    refusal = plans.refusal("foundation", "prod", {"foundation.alarms": alarms}, platform="null")
    assert "foundation.alarms must name who is woken in prod" in refusal


RUNBOOK = {"runbook_url": "https://git.example.com/pmp/docs/runbook.md"}


@pytest.mark.parametrize(
    "alarms",
    [
        {"email_addresses_by_severity": {"critical": ["on-call@example.com"]}},
        {"https_endpoints_by_severity": {"critical": ["https://events.example.com/integration/0"]}},
    ],
)
def test_prod_with_a_critical_alarm_receiver_is_planned(plans: Planner, alarms: dict[str, object]) -> None:
    with pytest.raises(AssertionError, match="was planned"):
        plans.refusal("foundation", "prod", {"foundation.alarms": RUNBOOK | alarms}, platform="null")


def test_alarms_that_somebody_gets_without_a_link_are_refused(plans: Planner) -> None:
    alarms = {"email_addresses_by_severity": {"warning": ["team@example.com"]}}
    refusal = plans.refusal("foundation", "dev", {"foundation.alarms": alarms}, platform="null")
    assert "foundation.alarms.runbook_url must be where the people" in refusal
