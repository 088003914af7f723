"""Planned names and texts against botocore's models: EC2 and other services refuse texts that an emulator accepts."""

from collections.abc import Callable
from typing import Any

import pytest

from checks import aws_requests
from checks.inventory import resource_type
from checks.planning import LAYERS, Planner
from ops.settings import ENVIRONMENTS

Values = dict[str, Any]


def _members(**argument_by_member: str) -> Callable[[Values], Values]:
    """Return a function that reads the named arguments from a resource's planned values."""
    return lambda values: {member: values.get(name) for member, name in argument_by_member.items()}


def _rule(values: Values) -> Values:
    """Return the request's permission for a security group rule of one range, list or group."""
    described = {"Description": values.get("description")}
    permission: Values = {
        "IpProtocol": values.get("ip_protocol"),
        "FromPort": values.get("from_port"),
        "ToPort": values.get("to_port"),
    }
    if values.get("cidr_ipv4"):
        permission["IpRanges"] = [described | {"CidrIp": values["cidr_ipv4"]}]
    else:
        # The id of a group or list is unknown at plan.
        permission["UserIdGroupPairs"] = [described]
        permission["PrefixListIds"] = [described]
    return {"IpPermissions": [permission]}


# By resource type: the request that creates it, and the request's members that hold its names and texts.
REQUESTS: dict[str, tuple[str, str, Callable[[Values], Values]]] = {
    "aws_security_group": ("ec2", "CreateSecurityGroup", _members(GroupName="name", Description="description")),
    "aws_vpc_security_group_egress_rule": ("ec2", "AuthorizeSecurityGroupEgress", _rule),
    "aws_vpc_security_group_ingress_rule": ("ec2", "AuthorizeSecurityGroupIngress", _rule),
    "aws_launch_template": (
        "ec2",
        "CreateLaunchTemplate",
        _members(LaunchTemplateName="name", VersionDescription="description"),
    ),
    "aws_iam_role": (
        "iam",
        "CreateRole",
        _members(
            RoleName="name", Path="path", Description="description", AssumeRolePolicyDocument="assume_role_policy"
        ),
    ),
    "aws_iam_role_policy": ("iam", "PutRolePolicy", _members(PolicyName="name", PolicyDocument="policy")),
    "aws_iam_instance_profile": ("iam", "CreateInstanceProfile", _members(InstanceProfileName="name", Path="path")),
    "aws_kms_key": ("kms", "CreateKey", _members(Description="description", Policy="policy")),
    "aws_kms_alias": ("kms", "CreateAlias", _members(AliasName="name")),
    "aws_ssm_parameter": (
        "ssm",
        "PutParameter",
        _members(Name="name", Description="description", Type="type", Value="value", Tier="tier"),
    ),
    "aws_secretsmanager_secret": ("secretsmanager", "CreateSecret", _members(Name="name", Description="description")),
    "aws_sns_topic": ("sns", "CreateTopic", _members(Name="name")),
    "aws_sqs_queue": ("sqs", "CreateQueue", _members(QueueName="name")),
    "aws_cloudwatch_log_group": ("logs", "CreateLogGroup", _members(logGroupName="name")),
    "aws_cloudwatch_log_metric_filter": (
        "logs",
        "PutMetricFilter",
        _members(filterName="name", filterPattern="pattern"),
    ),
    "aws_cloudwatch_metric_alarm": (
        "cloudwatch",
        "PutMetricAlarm",
        _members(
            AlarmName="alarm_name",
            AlarmDescription="alarm_description",
            MetricName="metric_name",
            Namespace="namespace",
            Statistic="statistic",
            ExtendedStatistic="extended_statistic",
            ComparisonOperator="comparison_operator",
            TreatMissingData="treat_missing_data",
        ),
    ),
    "aws_db_parameter_group": (
        "rds",
        "CreateDBParameterGroup",
        _members(DBParameterGroupFamily="family", Description="description"),
    ),
    "aws_db_subnet_group": (
        "rds",
        "CreateDBSubnetGroup",
        _members(DBSubnetGroupName="name", DBSubnetGroupDescription="description"),
    ),
    "aws_db_proxy": ("rds", "CreateDBProxy", _members(DBProxyName="name", EngineFamily="engine_family")),
    "aws_cognito_user_pool": (
        "cognito-idp",
        "CreateUserPool",
        _members(PoolName="name", DeletionProtection="deletion_protection"),
    ),
    "aws_cognito_user_pool_domain": ("cognito-idp", "CreateUserPoolDomain", _members(Domain="domain")),
    "aws_lambda_alias": (
        "lambda",
        "CreateAlias",
        _members(FunctionName="function_name", Name="name", Description="description"),
    ),
    "aws_lambda_function": (
        "lambda",
        "CreateFunction",
        _members(
            FunctionName="function_name",
            Description="description",
            Handler="handler",
            Runtime="runtime",
            Architectures="architectures",
            MemorySize="memory_size",
            Timeout="timeout",
        ),
    ),
    "aws_apigatewayv2_api": (
        "apigatewayv2",
        "CreateApi",
        _members(Name="name", Description="description", ProtocolType="protocol_type"),
    ),
    "aws_apigatewayv2_route": ("apigatewayv2", "CreateRoute", _members(RouteKey="route_key")),
    "aws_scheduler_schedule": (
        "scheduler",
        "CreateSchedule",
        _members(Name="name", Description="description", ScheduleExpression="schedule_expression"),
    ),
    "aws_autoscaling_group": ("autoscaling", "CreateAutoScalingGroup", _members(AutoScalingGroupName="name")),
    "aws_acm_certificate": (
        "acm",
        "RequestCertificate",
        _members(DomainName="domain_name", ValidationMethod="validation_method"),
    ),
}
# Every type with a description must be listed above: a description is free text and can hold any character.
WITHOUT_RULES = {
    # The account layer creates IAM policies; its module test plans them.
    "aws_iam_policy",
}


def violations(address: str, values: Values) -> list[str]:
    """Return the values of a planned resource that AWS would refuse, without empty and unknown arguments."""
    service, operation, request = REQUESTS[resource_type(address)]
    found = aws_requests.violations(service, operation, _given(request(values)))
    return [f"{address}: {one}" for one in found if one.reason != "is required"]


def _given(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _given(part) for name, part in value.items() if part not in (None, "", [])}
    return [_given(part) for part in value] if isinstance(value, list) else value


@pytest.mark.slow
@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("layer", LAYERS)
def test_aws_accepts_every_planned_name_and_text(plans: Planner, layer: str, environment: str) -> None:
    resources = plans.plan(layer, environment).resources
    found = [
        one
        for address, values in resources.items()
        if resource_type(address) in REQUESTS
        for one in violations(address, values)
    ]
    assert not found, "\n".join(found)
    described = {resource_type(address) for address, values in resources.items() if values.get("description")}
    assert not described - set(REQUESTS) - WITHOUT_RULES, "add the request that creates this type to REQUESTS"


@pytest.mark.parametrize(
    ("address", "values", "reason"),
    [
        ("aws_security_group.x", {"description": "The API's Lambda function"}, "has ', allowed are"),
        ("aws_vpc_security_group_egress_rule.x", {"cidr_ipv4": "0.0.0.0/0", "description": "Who's"}, "has '"),
        ("aws_vpc_security_group_ingress_rule.x", {"description": 'to "S3"'}, 'has "'),
        ("aws_iam_role.x", {"description": "→"}, "does not match"),
        ("aws_ssm_parameter.x", {"value": "x", "type": "Text"}, "'Text' is not one of"),
        ("aws_lambda_function.x", {"memory_size": 64}, "below the least of 128"),
        ("aws_cloudwatch_metric_alarm.x", {"alarm_description": "x" * 1025}, "above the most of 1,024"),
    ],
)
def test_invalid_text_is_found(address: str, values: Values, reason: str) -> None:
    assert any(reason in one for one in violations(address, values))
