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

from moto.apigatewayv2.models import DomainName
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


def recursion_of_functions() -> None:
    """Keep whether a function may be called in a loop; moto answers 404."""
    loops: dict[str, str] = {}

    def put_function_recursion_config(response: Any) -> str:
        needed("recursion_of_functions")
        loops[response.path] = json.loads(response.body)["RecursiveLoop"]
        return get_function_recursion_config(response)

    def get_function_recursion_config(response: Any) -> str:
        return json.dumps({"RecursiveLoop": loops.get(response.path, "Terminate")})

    LambdaResponse.put_function_recursion_config = put_function_recursion_config
    LambdaResponse.get_function_recursion_config = get_function_recursion_config
    path = "{0}/(?P<api_version>[^/]+)/functions/(?P<function_name>[^/]+)/recursion-config/?$"
    url_paths[path] = LambdaResponse.dispatch


def addresses_of_domain_names() -> None:
    """Answer that a domain name is available, and at which address; moto leaves both out."""
    describe: Callable[..., dict[str, Any]] = DomainName.to_json

    def to_json(domain: Any) -> dict[str, Any]:
        needed("addresses_of_domain_names")
        address = {
            "apiGatewayDomainName": "d-0123456789.execute-api.eu-west-1.amazonaws.com",
            "domainNameStatus": "AVAILABLE",
            "hostedZoneId": "ZLY8HYME6SFDD",
        }
        found = describe(domain)
        return found | {"domainNameConfigurations": [one | address for one in found["domainNameConfigurations"]]}

    DomainName.to_json = to_json


if __name__ == "__main__":
    addresses_of_domain_names()
    recursion_of_functions()
    limits_of_lambda()
    tags_of_a_key_in_cloudformation()
    conditions_of_bucket_policies()
    port, certificate, key = sys.argv[1:]
    main(["--host", "127.0.0.1", "--port", port, "--ssl-cert", certificate, "--ssl-key", key])
