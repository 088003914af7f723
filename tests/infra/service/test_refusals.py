"""Invalid settings of the service layer are refused at plan, with a sentence that says what to change."""

import pytest

from checks.planning import Planner

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("environment", "changes", "sentence"),
    [
        (
            "dev",
            {"service.function.reserved_concurrency": 5000},
            "would exhaust the database's connections",
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
            {"service.api.subdomain": "api.dev."},
            "service.api.subdomain must be the part of the API's domain before the hosted zone's name",
        ),
        (
            "dev",
            {"service.api.former_subdomain": "api.dev"},
            "service.api.former_subdomain must be the part of the API's former domain before the hosted zone's name",
        ),
        (
            "dev",
            {"service.api.hosted_zone_role_arn": "arn:aws:iam::1:role/dns"},
            "service.api.hosted_zone_reader_role_arn must name the role there that only reads them",
        ),
        (
            "dev",
            {"service.api.throttling_by_route": {"POST /v1/export": {"rate_per_second": 1, "burst": 5}}},
            "throttling.by_route names routes that the OpenAPI document does not have: POST /v1/export.",
        ),
        (
            "dev",
            {"service.function.memory_mb": 64},
            "memory_mb must be a whole number from 256 to 3,008.",
        ),
        (
            "dev",
            {"service.api.cors": {"allow_origins": ["*"]}},
            "cors.allow_origins must be https origins without a path or wildcard",
        ),
    ],
)
def test_invalid_setting_is_refused_with_a_reason(
    plans: Planner, environment: str, changes: dict[str, object], sentence: str
) -> None:
    assert sentence in plans.refusal("service", environment, changes)
