"""Alarms on an emulated CloudWatch: when metrics rise and fall, alarms change and the topic's subscribers hear of it.

MiniStack evaluates an alarm at each new datum, over all data in its span, without regard to their dimensions. So the
test compares the dimensions itself, and waits until the bad data have left the span before it sends good data.
"""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from checks.stack import free_port
from checks.tree import registry
from local.account import Account
from local.instance import PORTS_PER_INSTANCE, Instance
from local.services import stop_all
from ops.settings import ROOT

# Seconds for which a datum stays within the span of its alarm; long enough for a busy machine to evaluate it.
LINGER_SECONDS = 15


class Load(NamedTuple):
    """Values of a metric of db.t3.medium (2 vCPUs, at most 576 credits) in a quiet and in a bad hour."""

    metric: str
    quiet: float
    bad: float


LOADS = {
    "database-load": Load("DBLoad", 0.4, 9),
    "database-load-cpu": Load("DBLoadCPU", 0.3, 2),
    "database-load-not-cpu": Load("DBLoadNonCPU", 0.1, 7),
    "database-load-per-vcpu": Load("DBLoadRelativeToNumVCPUs", 0.2, 4.5),
    "database-credit-balance": Load("CPUCreditBalance", 500, 3),
    "database-surplus-credits": Load("CPUSurplusCreditBalance", 0, 400),
    "database-surplus-credits-charged": Load("CPUSurplusCreditsCharged", 0, 12),
}


class Deployed(NamedTuple):
    """The applied example of modules/alarms, with access to its account."""

    session: Any
    queue_url: str
    terraform: Any


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    directory = Path(tempfile.mkdtemp(prefix="pmp-alarms-"))
    instance = Instance("alarms", free_port(PORTS_PER_INSTANCE), directory)
    account = Account(instance)
    try:
        account.start()
        session = account.session("admin")
        sns, sqs = session.client("sns"), session.client("sqs")
        topics = {severity: sns.create_topic(Name=f"pmp-dev-{severity}")["TopicArn"] for severity in SEVERITIES}
        queue_url = sqs.create_queue(QueueName="on-call")["QueueUrl"]
        queue_arn = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Service": "sns.amazonaws.com"},
                    "Action": "sqs:SendMessage",
                    "Resource": queue_arn,
                    "Condition": {"ArnEquals": {"aws:SourceArn": list(topics.values())}},
                }
            ],
        }
        sqs.set_queue_attributes(QueueUrl=queue_url, Attributes={"Policy": json.dumps(policy)})
        for topic in topics.values():
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)
        for module in ("alarms", "sizing"):
            shutil.copytree(ROOT / "modules" / module, directory / "modules" / module)
        with registry() as settings:
            environment = (
                settings
                | account.admin().environment()
                | {
                    "AWS_ENDPOINT_URL": instance.aws_url,
                    "AWS_CA_BUNDLE": str(instance.ca_file),
                    "TF_VAR_topic_arn_by_severity": json.dumps(topics),
                }
            )

            def terraform(*arguments: str) -> subprocess.CompletedProcess[str]:
                folder = directory / "modules/alarms/examples/database"
                return subprocess.run(
                    ["terraform", f"-chdir={folder}", *arguments, "-input=false", "-no-color"],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=False,
                )

            for arguments in (["init"], ["apply", "-auto-approve"]):
                done = terraform(*arguments)
                assert done.returncode == 0, done.stdout + done.stderr
            yield Deployed(session, queue_url, terraform)
    finally:
        stop_all(instance)
        with suppress(FileNotFoundError):
            shutil.rmtree(directory)


SEVERITIES = ("critical", "warning")


def alarms(deployed: Deployed) -> dict[str, dict[str, Any]]:
    """Return every alarm by its name without the prefix."""
    pages = deployed.session.client("cloudwatch").get_paginator("describe_alarms").paginate()
    found = [alarm for page in pages for alarm in page["MetricAlarms"]]
    return {alarm["AlarmName"].removeprefix("pmp-dev-"): alarm for alarm in found}


def send(deployed: Deployed, value_by_alarm: dict[str, float]) -> None:
    """Publish one datum per alarm, so old that it leaves the alarm's span after LINGER_SECONDS."""
    known = alarms(deployed)
    cloudwatch = deployed.session.client("cloudwatch")
    for name, value in value_by_alarm.items():
        span = timedelta(seconds=known[name]["Period"] * known[name]["EvaluationPeriods"] - LINGER_SECONDS)
        datum = {
            "MetricName": LOADS[name].metric,
            "Dimensions": [{"Name": "DBInstanceIdentifier", "Value": "pmp-dev"}],
            "Timestamp": datetime.now(UTC) - span,
            "Value": value,
        }
        cloudwatch.put_metric_data(Namespace="AWS/RDS", MetricData=[datum])


def states(deployed: Deployed) -> dict[str, str]:
    known = alarms(deployed)
    return {name: known[name]["StateValue"] for name in LOADS}


def messages(deployed: Deployed) -> dict[str, list[dict[str, Any]]]:
    """Return the messages that subscribers of both topics received since the last call, by new state."""
    sqs = deployed.session.client("sqs")
    found: dict[str, list[dict[str, Any]]] = {}
    while batch := sqs.receive_message(QueueUrl=deployed.queue_url, MaxNumberOfMessages=10).get("Messages", []):
        for message in batch:
            body = json.loads(json.loads(message["Body"])["Message"])
            found.setdefault(body["NewStateValue"], []).append(body)
            sqs.delete_message(QueueUrl=deployed.queue_url, ReceiptHandle=message["ReceiptHandle"])
    return found


def test_alarms_watch_metrics_that_rds_publishes(deployed: Deployed) -> None:
    known = alarms(deployed)
    for name, load in LOADS.items():
        assert (known[name]["Namespace"], known[name]["MetricName"]) == ("AWS/RDS", load.metric)
        assert known[name]["Dimensions"] == [{"Name": "DBInstanceIdentifier", "Value": "pmp-dev"}]
    assert known["database-load-per-vcpu"]["TreatMissingData"] == "notBreaching"


def test_load_and_credits_raise_and_clear_the_alarms(deployed: Deployed) -> None:
    send(deployed, {name: load.quiet for name, load in LOADS.items()})
    assert states(deployed) == dict.fromkeys(LOADS, "OK")
    time.sleep(LINGER_SECONDS + 1)
    messages(deployed)

    send(deployed, {name: load.bad for name, load in LOADS.items()})
    assert states(deployed) == dict.fromkeys(LOADS, "ALARM")
    received = messages(deployed)
    assert {message["AlarmName"] for message in received["ALARM"]} == {f"pmp-dev-{name}" for name in LOADS}
    for message in received["ALARM"]:
        section = message["AlarmName"].removeprefix("pmp-dev-")
        assert message["AlarmDescription"].endswith(f"Runbook: docs/runbook.md#{section}")
    time.sleep(LINGER_SECONDS + 1)

    send(deployed, {name: load.quiet for name, load in LOADS.items()})
    assert states(deployed) == dict.fromkeys(LOADS, "OK")
    assert {message["AlarmName"] for message in messages(deployed)["OK"]} == {f"pmp-dev-{name}" for name in LOADS}


def test_waiting_sessions_do_not_raise_the_cpu_alarm(deployed: Deployed) -> None:
    send(deployed, {"database-load-cpu": LOADS["database-load-cpu"].quiet})
    send(deployed, {"database-load": LOADS["database-load"].bad, "database-load-not-cpu": 8.7})
    found = states(deployed)
    assert found["database-load"] == found["database-load-not-cpu"] == "ALARM"
    assert found["database-load-cpu"] == "OK"


def test_objective_tells_when_both_of_its_windows_are_bad(deployed: Deployed) -> None:
    cloudwatch = deployed.session.client("cloudwatch")
    name = "pmp-dev-availability-fast-burn"

    def set_state(window: str, state: str) -> str:
        cloudwatch.set_alarm_state(AlarmName=f"{name}-{window}", StateValue=state, StateReason="test")
        (found,) = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
        return str(found["StateValue"])

    messages(deployed)
    assert [set_state("long", "ALARM"), set_state("short", "ALARM"), set_state("short", "OK")] == ["OK", "ALARM", "OK"]
    told = messages(deployed)
    assert [message["AlarmName"] for message in told["ALARM"]] == [name]
    assert told["ALARM"][0]["AlarmDescription"].endswith("Runbook: docs/runbook.md#availability-fast-burn")
    set_state("long", "OK")


def test_second_plan_of_alarms_is_empty(deployed: Deployed) -> None:
    done = deployed.terraform("plan", "-detailed-exitcode")
    assert done.returncode == 0, done.stdout + done.stderr
