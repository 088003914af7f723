"""Repair, in the launcher's process, what MiniStack 1.5 forgets about the resources of PMP's layers.

Without these repairs a layer cannot be deployed (there is no secret of the RDS master user) or changed, or a plan shows
changes although nothing changed. Each function repairs one gap and says how AWS behaves; the package on disk is never
changed.
"""

import json
import random
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote
from xml.sax.saxutils import escape

from ministack.services import apigateway, cloudwatch, ec2, lambda_svc, rds, route53, secretsmanager

Parameters = dict[str, Any]
Answer = tuple[int, dict[str, str], bytes]


def install() -> None:
    """Repair all gaps; call once per process."""
    keep_master_secret()
    keep_empty_secrets_empty()
    keep_instance_settings()
    keep_prefix_lists()
    keep_endpoint_settings()
    keep_flow_log_settings()
    tell_whole_alarms()
    keep_stage_without_its_settings()
    tell_address_limit()
    tell_concurrency_limit()
    keep_health_check_settings()
    split_aliases_by_weight()


def keep_master_secret() -> None:
    """Let ``ManageMasterUserPassword`` of an instance create a secret, report it and delete it with the instance.

    MiniStack does so for clusters only. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html
    """
    create, delete, describe = rds._create_db_instance_impl, rds._delete_db_instance_impl, rds._instance_xml

    def create_with_secret(parameters: Parameters) -> Any:
        answer = create(parameters)
        instance = rds._instances.get(rds._p(parameters, "DBInstanceIdentifier"))
        if answer[0] == 200 and instance and rds._p(parameters, "ManageMasterUserPassword") == "true":
            login = {"username": instance["MasterUsername"], "password": rds._generate_master_user_password()}
            arn = secretsmanager.create_secret_in_process(
                f"rds!db-{rds.new_uuid()}",
                json.dumps(login),
                description=f"Secret managed by RDS for {instance['DBInstanceIdentifier']}",
            )
            # RDS tags it so, and policies tell by the tag whose secret it is.
            _, secret = secretsmanager._resolve(arn)
            secret["Tags"] = [
                {"Key": "aws:secretsmanager:owningService", "Value": "rds"},
                {"Key": "aws:rds:primaryDBInstanceArn", "Value": instance["DBInstanceArn"]},
            ]
            instance["MasterUserSecret"] = {
                "SecretArn": arn,
                "KmsKeyId": rds._p(parameters, "MasterUserSecretKmsKeyId"),
            }
        return answer

    def delete_with_secret(parameters: Parameters) -> Any:
        instance = rds._instances.get(rds._p(parameters, "DBInstanceIdentifier"))
        answer = delete(parameters)
        if answer[0] == 200 and instance and instance.get("MasterUserSecret"):
            secretsmanager.delete_secret_in_process(instance["MasterUserSecret"]["SecretArn"])
        return answer

    def describe_with_secret(instance: dict[str, Any]) -> str:
        secret = instance.get("MasterUserSecret")
        if not secret:
            return str(describe(instance))
        return (
            f"{describe(instance)}<MasterUserSecret><SecretArn>{escape(secret['SecretArn'])}</SecretArn>"
            f"<SecretStatus>active</SecretStatus><KmsKeyId>{escape(secret['KmsKeyId'])}</KmsKeyId></MasterUserSecret>"
        )

    rds._create_db_instance_impl = create_with_secret
    rds._delete_db_instance_impl = delete_with_secret
    rds._instance_xml = describe_with_secret


def keep_empty_secrets_empty() -> None:
    """Let a secret that is created without a value have no version; MiniStack gives it a current one without a value.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
    """
    create = secretsmanager._create_secret

    def create_without_version(data: dict[str, Any]) -> Answer:
        answer: Answer = create(data)
        if answer[0] == 200 and data.get("SecretString") is None and data.get("SecretBinary") is None:
            secretsmanager._secrets[data["Name"]]["Versions"].clear()
        return answer

    secretsmanager._create_secret = create_without_version


# Instance settings by their name in requests, each with the element of MiniStack's response that it replaces.
_INSTANCE_SETTINGS = {
    "PreferredBackupWindow": re.compile(r"<PreferredBackupWindow>[^<]*</PreferredBackupWindow>"),
    "PreferredMaintenanceWindow": re.compile(r"<PreferredMaintenanceWindow>[^<]*</PreferredMaintenanceWindow>"),
    "PerformanceInsightsKMSKeyId": re.compile(r"<PerformanceInsightsKMSKeyId>[^<]*</PerformanceInsightsKMSKeyId>"),
    "DatabaseInsightsMode": re.compile(r"<DatabaseInsightsMode>[^<]*</DatabaseInsightsMode>"),
}
LOG_EXPORTS = "EnabledCloudwatchLogsExports"
"""Element of the logs that an instance or a cluster exports."""


def remember_settings(database: dict[str, Any], names: Iterable[str], parameters: dict[str, Any]) -> None:
    """Keep what a request sets, in ``Settings`` of an instance's or a cluster's record.

    Args:
        database: the record.
        names: of the settings, as in requests; the exported logs are kept as well.
        parameters: of the request.
    """
    settings = database.setdefault("Settings", {})
    settings.update({name: value for name in names if (value := rds._p(parameters, name))})
    change = "CloudwatchLogsExportConfiguration"
    lists = ("EnableCloudwatchLogsExports", f"{change}.EnableLogTypes")
    added = {log for name in lists for log in rds._parse_member_list(parameters, name)}
    removed = set(rds._parse_member_list(parameters, f"{change}.DisableLogTypes"))
    settings[LOG_EXPORTS] = sorted(({*settings.get(LOG_EXPORTS, [])} | added) - removed)


def keep_instance_settings() -> None:
    """Keep windows, exported logs and the insights settings of DB instances; MiniStack answers with defaults."""
    create, modify, describe = rds._create_db_instance_impl, rds._ACTION_MAP["ModifyDBInstance"], rds._instance_xml

    def remember(parameters: Parameters) -> None:
        instance = rds._instances.get(rds._p(parameters, "DBInstanceIdentifier"))
        if instance is None:
            return
        remember_settings(instance, _INSTANCE_SETTINGS, parameters)

    def create_with_settings(parameters: Parameters) -> Any:
        answer = create(parameters)
        if answer[0] == 200:
            remember(parameters)
        return answer

    def modify_with_settings(parameters: Parameters) -> Any:
        answer = modify(parameters)
        if answer[0] == 200:
            remember(parameters)
        return answer

    def describe_with_settings(instance: dict[str, Any]) -> str:
        text = str(describe(instance))
        settings = instance.get("Settings", {})
        for name, element in _INSTANCE_SETTINGS.items():
            if value := settings.get(name):
                text = element.sub("", text) + f"<{name}>{escape(value)}</{name}>"
        if logs := settings.get(LOG_EXPORTS):
            members = "".join(f"<member>{escape(log)}</member>" for log in logs)
            text = text.replace(f"<{LOG_EXPORTS}/>", f"<{LOG_EXPORTS}>{members}</{LOG_EXPORTS}>")
        return text

    rds._create_db_instance_impl = create_with_settings
    rds._ACTION_MAP["ModifyDBInstance"] = modify_with_settings
    rds._instance_xml = describe_with_settings


def keep_prefix_lists() -> None:
    """Keep the prefix lists of security group rules; MiniStack neither reads nor shows them."""
    parse, describe = ec2._parse_ip_permissions, ec2._sg_rule_xml

    def parse_with_prefix_lists(parameters: Parameters, prefix: str) -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = parse(parameters, prefix)
        for number, rule in enumerate(rules, start=1):
            position = 1
            while identifier := ec2._p(parameters, f"{prefix}.{number}.PrefixListIds.{position}.PrefixListId"):
                description = ec2._p(parameters, f"{prefix}.{number}.PrefixListIds.{position}.Description")
                entry = {"PrefixListId": identifier} | ({"Description": description} if description else {})
                rule["PrefixListIds"].append(entry)
                position += 1
        return rules

    def describe_with_prefix_list(group: str, rule: dict[str, Any], is_egress: bool = False) -> str:
        text = str(describe(group, rule, is_egress))
        for entry in rule.get("PrefixListIds", []):
            # A rule names one prefix list, one CIDR or one group, never two of them.
            text = text.replace("</toPort>", f"</toPort><prefixListId>{entry['PrefixListId']}</prefixListId>", 1)
        return text

    ec2._parse_ip_permissions = parse_with_prefix_lists
    ec2._sg_rule_xml = describe_with_prefix_list


def keep_endpoint_settings() -> None:
    """Keep policy, security groups and private DNS of VPC endpoints; MiniStack drops them on creation."""
    create, modify, describe = ec2._create_vpc_endpoint, ec2._modify_vpc_endpoint, ec2._vpce_fields_xml

    def remember(endpoint: dict[str, Any], parameters: Parameters) -> None:
        groups = endpoint.get("SecurityGroupIds", [])
        groups = [group for group in groups if group not in ec2._parse_member_list(parameters, "RemoveSecurityGroupId")]
        for name in ("SecurityGroupId", "AddSecurityGroupId"):
            groups += [group for group in ec2._parse_member_list(parameters, name) if group not in groups]
        endpoint["SecurityGroupIds"] = groups
        for name in ("PolicyDocument", "PrivateDnsEnabled"):
            if value := ec2._p(parameters, name):
                endpoint[name] = value

    def create_with_settings(parameters: Parameters) -> Answer:
        before = set(ec2._vpc_endpoints)
        answer: Answer = create(parameters)
        for identifier in set(ec2._vpc_endpoints) - before:
            remember(ec2._vpc_endpoints[identifier], parameters)
        return answer

    def modify_with_settings(parameters: Parameters) -> Answer:
        answer: Answer = modify(parameters)
        if answer[0] == 200:
            remember(ec2._vpc_endpoints[ec2._p(parameters, "VpcEndpointId")], parameters)
        return answer

    def describe_with_settings(endpoint: dict[str, Any], tag: str = "item") -> str:
        groups = "".join(f"<item><groupId>{group}</groupId></item>" for group in endpoint.get("SecurityGroupIds", []))
        settings = f"<groupSet>{groups}</groupSet>"
        if policy := endpoint.get("PolicyDocument"):
            settings += f"<policyDocument>{escape(policy)}</policyDocument>"
        if enabled := endpoint.get("PrivateDnsEnabled"):
            settings += f"<privateDnsEnabled>{enabled}</privateDnsEnabled>"
        return str(describe(endpoint, tag)).removesuffix(f"</{tag}>") + settings + f"</{tag}>"

    ec2._vpce_fields_xml = describe_with_settings
    ec2._ACTION_MAP["CreateVpcEndpoint"] = create_with_settings
    ec2._ACTION_MAP["ModifyVpcEndpoint"] = modify_with_settings


# As for an account whose quota was raised: all of PMP's environments may share the emulated one.
_ADDRESS_LIMIT = 20


def tell_address_limit() -> None:
    """Tell how many Elastic IP addresses the account may hold; MiniStack does not know DescribeAccountAttributes.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAccountAttributes.html
    """

    def describe(_parameters: Parameters) -> Answer:
        value = f"<item><attributeValue>{_ADDRESS_LIMIT}</attributeValue></item>"
        attribute = f"<attributeName>vpc-max-elastic-ips</attributeName><attributeValueSet>{value}</attributeValueSet>"
        answer: Answer = ec2._xml(
            200,
            "DescribeAccountAttributesResponse",
            f"<accountAttributeSet><item>{attribute}</item></accountAttributeSet>",
        )
        return answer

    ec2._ACTION_MAP["DescribeAccountAttributes"] = describe


def tell_concurrency_limit() -> None:
    """Tell AWS's default limit of concurrent executions; MiniStack tells how many this machine's memory carries.

    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """
    answer = lambda_svc._get_account_settings

    def answer_with_default() -> Answer:
        status, headers, body = answer()
        settings = json.loads(body)
        functions = [lambda_svc._functions[name] for name in list(lambda_svc._functions)]
        reserved = sum(int(function.get("concurrency") or 0) for function in functions)
        limit = lambda_svc._AWS_DEFAULT_ACCOUNT_CONCURRENCY
        settings["AccountLimit"] |= {
            "ConcurrentExecutions": limit,
            "UnreservedConcurrentExecutions": max(limit - reserved, 0),
        }
        return status, headers, json.dumps(settings).encode()

    lambda_svc._get_account_settings = answer_with_default


def keep_health_check_settings() -> None:
    """Keep the regions of a health check, which MiniStack empties, and its booleans, which clients read as false.

    https://docs.aws.amazon.com/Route53/latest/APIReference/API_HealthCheckConfig.html
    """
    parse, build = route53._parse_health_check_config, route53._build_health_check_el

    def parse_with_regions(document: Any) -> dict[str, Any]:
        settings: dict[str, Any] = parse(document)
        if (regions := route53._find(document, "Regions")) is not None:
            settings["Regions"] = [region.text for region in regions]
        return settings

    def build_in_lower_case(parent: Any, check: dict[str, Any]) -> None:
        build(parent, check)
        for element in parent[-1].iter():
            if element.text in {"True", "False"}:
                element.text = element.text.lower()

    route53._parse_health_check_config = parse_with_regions
    route53._build_health_check_el = build_in_lower_case


# Names of a setting in the request and in the response.
_FLOW_LOG_SETTINGS = {
    "DeliverLogsPermissionArn": "deliverLogsPermissionArn",
    "MaxAggregationInterval": "maxAggregationInterval",
    "LogGroupName": "logGroupName",
    "LogFormat": "logFormat",
}
# https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html#flow-logs-default
_FLOW_LOG_DEFAULTS = {
    "MaxAggregationInterval": "600",
    "LogFormat": "${version} ${account-id} ${interface-id} ${srcaddr} ${dstaddr} ${srcport} ${dstport} ${protocol} "
    "${packets} ${bytes} ${start} ${end} ${action} ${log-status}",
}
_FLOW_LOG_ID = re.compile(r"<flowLogId>([^<]+)</flowLogId>")


def keep_flow_log_settings() -> None:
    """Keep role, interval, format and tags of flow logs; MiniStack drops them."""
    create: Callable[[Parameters], Answer] = ec2._create_flow_logs
    describe: Callable[[Parameters], Answer] = ec2._describe_flow_logs

    def create_with_settings(parameters: Parameters) -> Answer:
        before = set(ec2._flow_logs)
        answer = create(parameters)
        for identifier in set(ec2._flow_logs) - before:
            settings = {name: ec2._p(parameters, name) for name in _FLOW_LOG_SETTINGS}
            # If an ARN was given, the group's name is its last part.
            settings["LogGroupName"] = ec2._p(parameters, "LogDestination").split(":log-group:")[-1].removesuffix(":*")
            given = {name: value for name, value in settings.items() if value}
            ec2._flow_logs[identifier]["Settings"] = _FLOW_LOG_DEFAULTS | given
            ec2._parse_tag_specs(parameters, "vpc-flow-log", identifier)
        return answer

    def describe_with_settings(parameters: Parameters) -> Answer:
        status, headers, body = describe(parameters)

        def insert(match: re.Match[str]) -> str:
            settings = ec2._flow_logs.get(match[1], {}).get("Settings", {})
            elements = (
                f"<{_FLOW_LOG_SETTINGS[name]}>{escape(value)}</{_FLOW_LOG_SETTINGS[name]}>"
                for name, value in settings.items()
            )
            return match[0] + "".join(elements)

        return status, headers, _FLOW_LOG_ID.sub(insert, body.decode()).encode()

    ec2._ACTION_MAP["CreateFlowLogs"] = create_with_settings
    ec2._ACTION_MAP["DescribeFlowLogs"] = describe_with_settings


def tell_whole_alarms() -> None:
    """Let the query protocol, which Terraform uses, return all settings of an alarm.

    MiniStack returns half of them in this protocol, and all of them in the other protocols.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricAlarm.html
    """
    describe = cloudwatch._describe_alarms

    def describe_whole(parameters: Parameters, body: Any, is_cbor: bool, is_json: bool = False) -> Any:
        answer = describe(parameters, body, is_cbor, is_json)
        if is_cbor or is_json or answer[0] != 200:
            return answer

        def whole(match: re.Match[str]) -> str:
            alarm = cloudwatch._alarms.get(match[1]) or cloudwatch._composite_alarms.get(match[1])
            return _alarm_xml(alarm) if alarm else match[0]

        text = re.sub(r"<member><AlarmName>([^<]*)</AlarmName>.*?</member>", whole, answer[2].decode())
        return (answer[0], answer[1], text.encode())

    cloudwatch._describe_alarms = describe_whole


_ALARM_LISTS = ("AlarmActions", "OKActions", "InsufficientDataActions")


def _alarm_xml(alarm: dict[str, Any]) -> str:
    """Return one alarm, or composite alarm, as a member of DescribeAlarms' response."""
    texts = {
        name: value for name, value in alarm.items() if name not in (*_ALARM_LISTS, "Dimensions") and value is not None
    }
    if alarm.get("ExtendedStatistic"):
        # An alarm has either a statistic or an extended statistic; MiniStack adds an average to every alarm.
        texts.pop("Statistic", None)
    if not alarm.get("MetricName"):
        # An alarm on a metric math expression has none of these itself; MiniStack gives it defaults.
        for name in ("MetricName", "Namespace", "Period", "Statistic"):
            texts.pop(name, None)
    for name in ("StateUpdatedTimestamp", "AlarmConfigurationUpdatedTimestamp", "StateTransitionedTimestamp"):
        if name in alarm:
            texts[name] = cloudwatch._ts_iso(alarm[name])
    texts["ActionsEnabled"] = str(alarm["ActionsEnabled"]).lower()
    lists = "".join(
        f"<{name}>{''.join(f'<member>{escape(arn)}</member>' for arn in alarm.get(name, []))}</{name}>"
        for name in _ALARM_LISTS
    )
    dimensions = "".join(
        f"<member><Name>{escape(one['Name'])}</Name><Value>{escape(one['Value'])}</Value></member>"
        for one in alarm.get("Dimensions", ())
    )
    return (
        "<member>"
        + "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in texts.items())
        + f"{lists}<Dimensions>{dimensions}</Dimensions></member>"
    )


_STAGE_SETTINGS = re.compile(
    r"/v2/apis/(?P<api>[^/]+)/stages/(?P<stage>[^/]+)/(?P<settings>routesettings|accesslogsettings)"
)


def keep_stage_without_its_settings() -> None:
    """Let a deletion of a stage's route settings or access log settings delete only those settings.

    MiniStack treats such a path as if it ended with the stage's name, and deletes the whole stage.
    https://docs.aws.amazon.com/apigatewayv2/latest/api-reference/apis-apiid-stages-stagename-routesettings-routekey.html
    """
    handle = apigateway.handle_request

    async def handle_settings(method: str, path: str, headers: Any, body: Any, query_parameters: Any) -> Any:
        match = _STAGE_SETTINGS.match(path)
        if method != "DELETE" or not match:
            return await handle(method, path, headers, body, query_parameters)
        stage = apigateway._stages.get(match["api"], {}).get(unquote(match["stage"]))
        if stage is None:
            return apigateway._apigw_error("NotFoundException", f"Stage '{match['stage']}' not found", 404)
        if match["settings"] == "accesslogsettings":
            stage.pop("accessLogSettings", None)
        else:
            stage["routeSettings"].pop(unquote(path[match.end() + 1 :]), None)
        return 204, {}, b""

    apigateway.handle_request = handle_settings


def split_aliases_by_weight() -> None:
    """Let an alias's weights decide which version serves, and the function's reserved concurrency limit its versions.

    MiniStack keeps the weights and always runs the alias's first version, without any limit. A description of the alias
    then is of the version that was drawn; on AWS it is of the first one.
    https://docs.aws.amazon.com/lambda/latest/dg/configuring-alias-routing.html
    """
    find, invoke = lambda_svc._effective_func_record_for_qualifier, lambda_svc._invoke

    def find_drawn(function: dict[str, Any] | None, qualifier: str | None) -> tuple[Any, Any]:
        record, config = find(function, _drawn(function, qualifier))
        if function is None or record is None or record is function:
            return record, config
        return {**record, "concurrency": function.get("concurrency")}, config

    async def invoke_drawn(
        name: str, event: Any, headers: Any, path_qualifier: str | None = None, query_parameters: Any = None
    ) -> Any:
        qualifier = lambda_svc._qualifier_from_path_or_query(path_qualifier, query_parameters)
        drawn = _drawn(lambda_svc._functions.get(name), qualifier)
        return await invoke(name, event, headers, drawn, query_parameters)

    lambda_svc._effective_func_record_for_qualifier = find_drawn
    lambda_svc._invoke = invoke_drawn


def _drawn(function: dict[str, Any] | None, qualifier: str | None) -> str | None:
    """Return the version that serves one invocation of an alias with a second version, else the qualifier itself."""
    alias = (function or {}).get("aliases", {}).get(qualifier, {})
    weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    for version, weight in weights.items():
        if random.random() < weight:  # noqa: S311 - no secret
            return str(version)
    return qualifier
