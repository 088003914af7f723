"""Run moto with what it lacks for PMP's deployments: ``python run_moto.py PORT CERTIFICATE KEY``.

It runs in the judges' own virtual environment. Each function below fills one gap of ``moto_gaps.yml``, under the same
name, and writes that name to the file ``PMP_MOTO_GAPS`` when it is needed.
"""

import json
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.awslambda.responses import LambdaResponse
from moto.awslambda.urls import url_paths
from moto.iam.access_control import PermissionResult
from moto.kms.models import Key
from moto.s3.models import FakeBucket
from moto.server import main


@cache
def needed(gap: str) -> None:
    """Note once that a gap was met."""
    with Path(os.environ["PMP_MOTO_GAPS"]).open("a") as notes:
        notes.write(f"{gap}\n")


def tags_of_a_key_in_cloudformation() -> None:
    """Accept CloudFormation's tags of a key, ``{"Key", "Value"}``, which KMS calls TagKey and TagValue."""
    create: Callable[..., Any] = Key.create_from_cloudformation_json

    def create_from_cloudformation_json(_: type, name: str, template: dict[str, Any], *rest: Any, **named: Any) -> Any:
        properties = dict(template["Properties"])
        if tags := properties.get("Tags"):
            needed("tags_of_a_key_in_cloudformation")
            properties["Tags"] = [{"TagKey": tag["Key"], "TagValue": tag["Value"]} for tag in tags]
        return create(name, {**template, "Properties": properties}, *rest, **named)

    Key.create_from_cloudformation_json = classmethod(create_from_cloudformation_json)


def conditions_of_bucket_policies() -> None:
    """Ignore bucket policies: moto applies a denial although its condition is not met."""
    permission: Callable[..., Any] = FakeBucket.get_permission

    def get_permission(bucket: Any, action: str, resource: str) -> Any:
        if permission(bucket, action, resource) == PermissionResult.DENIED:
            needed("conditions_of_bucket_policies")
        return PermissionResult.NEUTRAL

    FakeBucket.get_permission = get_permission


def limits_of_lambda() -> None:
    """Tell AWS's default limit of concurrent executions, and what functions have reserved of it; moto answers 404."""

    def get_account_settings(response: Any) -> str:
        needed("limits_of_lambda")
        functions = lambda_backends[response.current_account][response.region].list_functions()
        reserved = sum(int(function.reserved_concurrency or 0) for function in functions)
        return json.dumps(
            {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000 - reserved}}
        )

    LambdaResponse.get_account_settings = get_account_settings
    url_paths["{0}/(?P<api_version>[^/]+)/account-settings/?$"] = LambdaResponse.dispatch


if __name__ == "__main__":
    limits_of_lambda()
    tags_of_a_key_in_cloudformation()
    conditions_of_bucket_policies()
    port, certificate, key = sys.argv[1:]
    main(["--host", "127.0.0.1", "--port", port, "--ssl-cert", certificate, "--ssl-key", key])
