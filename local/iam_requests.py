"""What AWS's authorization sees of a request, where MiniStack's enforcement leaves it out.

MiniStack names an IAM role without its path, resources of several services not at all (``*``), and knows neither
``iam:PermissionsBoundary`` nor the key of an S3 upload. Policies as tight as AWS understands them would then refuse
what AWS allows. ``install()`` completes, in this process, the resource and the condition keys of each request; it
never widens what a policy allows. Resource types and condition keys: the Service Authorization Reference
(https://docs.aws.amazon.com/service-authorization/latest/reference/).
"""

import json
from collections.abc import Mapping
from typing import Any

from ministack.core import iam_actions
from ministack.services import iam

Parameters = Mapping[str, Any]


def _value(parameters: Parameters, name: str) -> str:
    value = parameters.get(name, "")
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value)


def _stored(store: Any, account: str, name: str) -> dict[str, Any]:
    return store.get_scoped(account, None, name) or {}


def iam_resource(parameters: Parameters, account: str) -> str | None:
    """ARN, path included, of what an IAM request is about; None where MiniStack's own answer is right."""
    action = _value(parameters, "Action")
    path = _value(parameters, "Path") or "/"
    for kind, parameter, store in (
        ("instance-profile", "InstanceProfileName", getattr(iam, "_instance_profiles", None)),
        ("role", "RoleName", iam._roles),
        ("user", "UserName", iam._users),
        ("policy", "PolicyName", None),
    ):
        name = _value(parameters, parameter)
        if not name or (kind == "policy" and action != "CreatePolicy"):
            continue
        arn = _stored(store, account, name).get("Arn") if store is not None else None
        return str(arn or f"arn:aws:iam::{account}:{kind}{path}{name}")
    if action == "CreateServiceLinkedRole":
        return f"arn:aws:iam::{account}:role/aws-service-role/{_value(parameters, 'AWSServiceName')}/*"
    return None


def _json_value(body: bytes, name: str) -> str:
    """A text member of a JSON request; empty when there is none."""
    try:
        value = json.loads(body or b"{}").get(name, "")
    except (ValueError, AttributeError):
        return ""
    return value if isinstance(value, str) else ""


def iam_keys(parameters: Parameters, account: str) -> dict[str, str]:
    """Condition keys of an IAM request: the boundary it sets (or its role has), the policy, the linked service."""
    role = _stored(iam._roles, account, _value(parameters, "RoleName"))
    boundary = _value(parameters, "PermissionsBoundary") or role.get("PermissionsBoundary")
    if isinstance(boundary, dict):
        boundary = boundary.get("PermissionsBoundaryArn")
    keys = {
        "iam:PermissionsBoundary": boundary,
        "iam:PolicyARN": _value(parameters, "PolicyArn"),
        "iam:AWSServiceName": _value(parameters, "AWSServiceName"),
    }
    return {key: str(value) for key, value in keys.items() if value}


def install() -> None:
    """Complete the resources and condition keys that MiniStack of this process checks policies against."""
    from ministack.core.responses import get_account_id

    resource, tag_keys, s3_keys = (
        iam_actions.extract_resource_arn,
        iam_actions.request_tag_context,
        iam_actions.s3_service_context,
    )

    def complete_resource(  # noqa: PLR0917 - MiniStack's own signature
        service: str, method: str, path: str, headers: Any, body: bytes, parameters: Any, region: str, account: str
    ) -> str:
        answer = iam_resource(parameters, account) if service == "iam" else None
        if service == "kms" and (alias := _json_value(body, "AliasName")):
            answer = f"arn:aws:kms:{region}:{account}:{alias}"
        if service == "ssm" and (parent := _json_value(body, "Path")):
            answer = f"arn:aws:ssm:{region}:{account}:parameter{parent.rstrip('/')}"
        return answer or str(resource(service, method, path, headers, body, parameters, region, account))

    def complete_keys(service: str, action: str, body: bytes, parameters: Any) -> dict[str, Any]:
        keys: dict[str, Any] = dict(tag_keys(service, action, body, parameters))
        if service == "iam":
            keys.update(iam_keys(parameters, get_account_id()))
        return keys

    def complete_s3_keys(action: str, parameters: Any, path: str = "", headers: Any = None) -> dict[str, Any]:
        keys: dict[str, Any] = dict(s3_keys(action, parameters, path, headers))
        key_id = (headers or {}).get("x-amz-server-side-encryption-aws-kms-key-id")
        if action == "s3:PutObject" and key_id:
            keys["s3:x-amz-server-side-encryption-aws-kms-key-id"] = key_id
        return keys

    iam_actions.extract_resource_arn = complete_resource
    iam_actions.request_tag_context = complete_keys
    iam_actions.s3_service_context = complete_s3_keys
