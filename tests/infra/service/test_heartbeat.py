"""GitLab's identity can make the heartbeat in us-east-1, and alarms and topics in no third region."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from checks.tree import registry
from ops.settings import ROOT
from tests.infra.service.conftest import Enforced

CHECK: dict[str, Any] = {
    "CallerReference": "pmp-dev",
    "HealthCheckConfig": {
        "Type": "HTTPS",
        "FullyQualifiedDomainName": "api.dev.pmp.example.com",
        "Port": 443,
        "ResourcePath": "/v1/ready",
        "RequestInterval": 30,
        "FailureThreshold": 3,
        "EnableSNI": True,
        "Regions": ["eu-west-1", "us-east-1", "us-west-2"],
    },
}
ALARM: dict[str, Any] = {
    "AlarmName": "pmp-dev-heartbeat",
    "Namespace": "AWS/Route53",
    "MetricName": "HealthCheckStatus",
    "ComparisonOperator": "LessThanThreshold",
    "EvaluationPeriods": 2,
    "Period": 60,
    "Statistic": "Minimum",
    "Threshold": 1,
}


def client(enforced: Enforced, identity: str, service: str, region: str) -> Any:
    return enforced.sessions[identity].client(service, region_name=region)  # type: ignore[call-overload]


def test_delivery_makes_and_removes_a_heartbeat(enforced: Enforced) -> None:
    route53 = client(enforced, "gitlab-dev", "route53", "us-east-1")
    identifier = route53.create_health_check(**CHECK)["HealthCheck"]["Id"]
    route53.change_tags_for_resource(
        ResourceType="healthcheck", ResourceId=identifier, AddTags=[{"Key": "Project", "Value": "pmp"}]
    )
    seen = client(enforced, "gitlab-plan-dev", "route53", "us-east-1").get_health_check(HealthCheckId=identifier)
    settings = seen["HealthCheck"]["HealthCheckConfig"]
    assert settings["EnableSNI"] is True
    assert settings["Regions"] == CHECK["HealthCheckConfig"]["Regions"]
    topic = client(enforced, "gitlab-dev", "sns", "us-east-1").create_topic(Name="pmp-dev-heartbeat")["TopicArn"]
    assert topic.split(":")[3] == "us-east-1"
    cloudwatch = client(enforced, "gitlab-dev", "cloudwatch", "us-east-1")
    cloudwatch.put_metric_alarm(
        **ALARM, AlarmActions=[topic], Dimensions=[{"Name": "HealthCheckId", "Value": identifier}]
    )
    cloudwatch.delete_alarms(AlarmNames=[ALARM["AlarmName"]])
    client(enforced, "gitlab-dev", "sns", "us-east-1").delete_topic(TopicArn=topic)
    route53.delete_health_check(HealthCheckId=identifier)


def test_delivery_makes_no_alarm_in_a_third_region(enforced: Enforced) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        client(enforced, "gitlab-dev", "cloudwatch", "us-west-2").put_metric_alarm(**ALARM)
    with pytest.raises(ClientError, match=r"AuthorizationError|AccessDenied"):
        client(enforced, "gitlab-dev", "sns", "us-west-2").create_topic(Name="pmp-dev-heartbeat")


def test_plan_identity_makes_no_health_check(enforced: Enforced) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        client(enforced, "gitlab-plan-dev", "route53", "us-east-1").create_health_check(**CHECK)


def test_second_plan_of_a_heartbeat_is_empty(enforced: Enforced, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "modules/heartbeat", tmp_path / "modules/heartbeat")
    folder = tmp_path / "modules/heartbeat/examples/complete"
    key = enforced.sessions["gitlab-prod"].get_credentials()
    assert key
    with registry() as settings:
        environment = settings | {
            "AWS_ACCESS_KEY_ID": str(key.access_key),
            "AWS_SECRET_ACCESS_KEY": str(key.secret_key),
            "AWS_ENDPOINT_URL": enforced.instance.aws_url,
            "AWS_CA_BUNDLE": str(enforced.instance.ca_file),
        }
        for arguments in (["init"], ["apply", "-auto-approve"], ["plan", "-detailed-exitcode"]):
            done = subprocess.run(
                ["terraform", f"-chdir={folder}", *arguments, "-input=false", "-no-color"],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
