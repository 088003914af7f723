"""Invalid settings are refused at plan, with a sentence that says what to change."""

import pytest

from checks.planning import Planner

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("environment", "changes", "sentence"),
    [
        (
            "prod",
            {"enable_protection     = true": "enable_protection = false"},
            "foundation.database.enable_protection must be true in prod",
        ),
        (
            "prod",
            {"backup_retention_days = 35": "backup_retention_days = 3"},
            "foundation.database.backup_retention_days must be at least 7 in prod",
        ),
        (
            "dev",
            {"10.20.57.0/24": "10.20.16.0/24"},
            "subnet_cidrs overlap: private[1] 10.20.16.0/20 and database[1] 10.20.16.0/24.",
        ),
        (
            "prod",
            {'instance_class        = "db.r6g.large"': 'instance_class = "db.t4g.small"'},
            "insights_mode advanced is not for db.t4g.small",
        ),
        (
            "staging",
            {'"single"': '"none"'},
            "foundation.runner.enable must be false where foundation.network.nat is none",
        ),
        (
            "prod",
            {
                "storage_gib           = { initial = 100, max = 1000 }": "storage_gib = { initial = 100, max = 1000 }\n"
                "storage_performance = { iops = 12000, throughput_mib = 500 }"
            },
            "storage_performance needs storage_gib.initial of at least 400, not 100",
        ),
        (
            "dev",
            {"reserved_concurrency = 20": "reserved_concurrency = 5000"},
            "would exhaust the database's connections: db.t4g.small has about 187, the proxy's pool takes 168 of them",
        ),
        (
            "dev",
            {'environment = "dev"': 'environment = "prod"'},
            "environment is prod, but the workspace is dev: select the workspace prod or take envs/dev.tfvars.",
        ),
        (
            "dev",
            {'environment = "dev"': 'environment = "test"'},
            "environment must be one of dev, staging, prod, local, as envs/environments.json lists them, not test.",
        ),
        (
            "dev",
            {"alarms = {": "alarms = {\n email_addresses_by_severity = { urgent = [] }"},
            "email_addresses_by_severity knows the severities critical and warning",
        ),
        (
            "dev",
            {"alarms = {": 'alarms = {\n https_endpoints_by_severity = { critical = ["http://events.example.com"] }'},
            "https_endpoints_by_severity must hold https addresses",
        ),
    ],
)
def test_invalid_setting_is_refused_with_a_reason(
    plans: Planner, environment: str, changes: dict[str, str], sentence: str
) -> None:
    assert sentence in plans.refusal("foundation", environment, changes)


@pytest.mark.parametrize(
    "alarms",
    ["", 'email_addresses_by_severity = { warning = ["team@example.com"] }', "https_endpoints_by_severity = {}"],
)
def test_prod_without_a_critical_alarm_receiver_is_refused(plans: Planner, alarms: str) -> None:
    """This holds on AWS only: the other tests plan for an emulated platform, which notifies nobody."""
    refusal = plans.refusal("foundation", "prod", {"  alarms = {}": f"  alarms = {{ {alarms} }}"}, platform="null")
    assert "foundation.alarms must name who is woken in prod" in refusal


@pytest.mark.parametrize(
    "alarms",
    [
        'email_addresses_by_severity = { critical = ["on-call@example.com"] }',
        'https_endpoints_by_severity = { critical = ["https://events.example.com/integration/0"] }',
    ],
)
def test_prod_with_a_critical_alarm_receiver_is_planned(plans: Planner, alarms: str) -> None:
    with pytest.raises(AssertionError, match="was planned"):
        plans.refusal("foundation", "prod", {"  alarms = {}": f"  alarms = {{ {alarms} }}"}, platform="null")
