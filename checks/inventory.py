"""Write what each layer creates in each environment, as short readable files: ``python -m checks.inventory --write``.

An inventory has the number of resources by type, and the decisive arguments of the resources that matter most.
"""

import argparse
import itertools
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from checks.planning import LAYERS, Plan, emulated_account, planner
from ops.settings import ENVIRONMENTS

FOLDER = Path(__file__).parent / "inventories"

# The arguments that a reviewer would ask about first, by resource type.
KEY_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "aws_apigatewayv2_api": ("disable_execute_api_endpoint", "cors_configuration"),
    "aws_apigatewayv2_domain_name": ("domain_name", "domain_name_configuration"),
    "aws_apigatewayv2_stage": ("default_route_settings",),
    "aws_autoscaling_group": ("min_size", "max_size"),
    "aws_cloudwatch_composite_alarm": ("alarm_rule",),
    "aws_cloudwatch_log_group": ("name", "retention_in_days"),
    "aws_cloudwatch_metric_alarm": ("metric_name", "comparison_operator", "threshold", "treat_missing_data"),
    "aws_cognito_user_pool": ("deletion_protection",),
    "aws_db_instance": (
        "engine_version",
        "instance_class",
        "allocated_storage",
        "max_allocated_storage",
        "multi_az",
        "storage_encrypted",
        "iam_database_authentication_enabled",
        "database_insights_mode",
        "performance_insights_retention_period",
        "monitoring_interval",
        "backup_retention_period",
        "deletion_protection",
        "skip_final_snapshot",
        "publicly_accessible",
    ),
    "aws_db_proxy": ("require_tls", "idle_client_timeout", "debug_logging"),
    "aws_db_proxy_default_target_group": ("connection_pool_config",),
    "aws_flow_log": ("traffic_type", "max_aggregation_interval"),
    "aws_kms_key": ("enable_key_rotation", "deletion_window_in_days"),
    "aws_lambda_function": (
        "runtime",
        "architectures",
        "memory_size",
        "timeout",
        "reserved_concurrent_executions",
        "s3_key",
    ),
    "aws_launch_template": ("instance_type", "metadata_options"),
    "aws_scheduler_schedule": ("schedule_expression",),
    "aws_secretsmanager_secret": ("name", "recovery_window_in_days"),
    "aws_subnet": ("availability_zone", "cidr_block"),
    "aws_vpc": ("cidr_block",),
    "aws_vpc_endpoint": ("vpc_endpoint_type", "private_dns_enabled"),
    "aws_vpc_security_group_egress_rule": ("description", "from_port", "cidr_ipv4"),
    "aws_vpc_security_group_ingress_rule": ("description", "from_port", "cidr_ipv4"),
}


def resource_type(address: str) -> str:
    """Return the resource type in an address: ``module.a["b.c"].aws_vpc.this[0]`` → ``aws_vpc``."""
    in_key = False
    parts = [""]
    for character in address:
        in_key ^= character == '"'
        if character == "." and not in_key:
            parts.append("")
        else:
            parts[-1] += character
    return parts[-2]


def inventory(plan: Plan) -> dict[str, Any]:
    """Return a plan's inventory, without absent and null arguments.

    Its shape is ``{"counts": {type: number}, "resources": {address: {argument: value}}}``.
    """
    counts = Counter(resource_type(address) for address in plan.resources)
    resources = {
        address: {name: values[name] for name in names if values.get(name) is not None}
        for address, values in sorted(plan.resources.items())
        if (names := KEY_ARGUMENTS.get(resource_type(address)))
    }
    return {"counts": {"all": counts.total(), **dict(sorted(counts.items()))}, "resources": resources}


def path(layer: str, environment: str) -> Path:
    """Return the path of the inventory of ``layer`` in ``environment``."""
    return FOLDER / f"{layer}-{environment}.yaml"


def text(plan: Plan) -> str:
    """Return a plan's inventory as YAML, under a heading."""
    heading = (
        f"# What envs/{plan.layer} creates in {plan.environment}, planned for an empty account. "
        "Written by 'make inventories'.\n"
    )
    return heading + yaml.safe_dump(inventory(plan), sort_keys=False, width=118, default_flow_style=None)


def main() -> None:
    """Write the inventories of the named layers, or of all."""
    parser = argparse.ArgumentParser(prog="make inventories", description=__doc__)
    parser.add_argument("--write", action="store_true", required=True, help="replace the files")
    parser.add_argument("layers", nargs="*", default=LAYERS, help="layers to write (default: all)")
    layers = parser.parse_args().layers
    with (
        tempfile.TemporaryDirectory(prefix="pmp-inventory-") as name,
        emulated_account(Path(name)) as account,
        planner(account) as plans,
    ):
        for layer, environment in itertools.product(layers, ENVIRONMENTS):
            plan = plans.plan(layer, environment)
            path(layer, environment).write_text(text(plan))
            print(f"{path(layer, environment).name}: {len(plan.resources)} resources", flush=True)


if __name__ == "__main__":
    main()
