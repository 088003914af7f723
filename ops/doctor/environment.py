"""Checks of one environment in the account."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from botocore.exceptions import ClientError

from ops import aws, clients, http
from ops.alias import Alias
from ops.costs import variables
from ops.doctor.account import wakes_somebody
from ops.doctor.checks import Check, Finding, right, unknown, wrong
from ops.errors import UserError
from ops.settings import PROMOTED_ENVIRONMENTS

_HEARTBEAT_REGION = "us-east-1"
# RDS uploads the log every five minutes, except while it changes the instance.
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIT.html
_OLDEST_BACKUP = timedelta(minutes=30)


def checks(environment: str) -> Iterator[Check]:
    """Yield the checks of an environment, in the order of its first deployment."""
    for name, ask, after in (
        ("downloads", _downloads, "identity"),
        ("foundation", _foundation, "account layer"),
        ("runner token", _runner_token, "foundation"),
        ("runner", _runner, "runner token"),
        ("backups", _backups, "foundation"),
        ("passwords", _passwords, "foundation"),
        ("proxy", _proxy, "passwords"),
        ("alarms", _alarms, "foundation"),
        ("API client", _client, "foundation"),
        ("service", _service, "API client"),
        ("release", _release, "service"),
        ("API", _api, "service"),
    ):
        yield Check(name, partial(ask, environment), after)


def _downloads(environment: str) -> Finding:
    if aws.is_emulated():
        return unknown("the laptop runs the migrations itself")
    if not _runs_migrations(environment):
        return unknown(f"envs/{environment}.tfvars has no runner that would download anything")
    if not pins_downloads(environment):
        return wrong(
            f"the runner of {environment} trusts AWS's TLS certificate alone for two files that it downloads",
            "write their digests into foundation.runner.downloads of "
            f"envs/{environment}.tfvars: modules/runner/README.md#pinning-what-it-downloads",
        )
    return right(f"the runner of {environment} checks each by its signature or digest")


def _runs_migrations(environment: str) -> bool:
    return bool(variables(environment)["foundation"]["runner"]["enable"])


def pins_downloads(environment: str) -> bool:
    """Whether the environment's variable file has the digests of what the runner downloads and nobody signs."""
    return variables(environment)["foundation"]["runner"].get("downloads") is not None


def _foundation(environment: str) -> Finding:
    if aws.parameter_or_none(f"/pmp/{environment}/foundation/user_pool_id") is None:
        return wrong(f"the foundation of {environment} does not exist", _run(environment, "apply:foundation"))
    return right(f"key, network and database of {environment}")


def _run(environment: str, job: str) -> str:
    if environment not in PROMOTED_ENVIRONMENTS:
        return "make up"
    return f"run the pipeline of the main branch: its job {environment}:{job} makes it"


def _runner_token(environment: str) -> Finding:
    if aws.is_emulated():
        return unknown("the laptop runs the migrations itself")
    if not _runs_migrations(environment):
        return unknown(f"envs/{environment}.tfvars has no runner: another one with the tag pmp-{environment} migrates")
    # Not read: whoever asks may know that there is a token, without being able to use it.
    name = f"/pmp/{environment}/runner/token"
    wanted = [{"Key": "Name", "Values": [name]}]
    found = aws.client("ssm").describe_parameters(ParameterFilters=wanted)["Parameters"]
    if not found:
        return wrong(f"the parameter {name} does not exist", "docs/aws.md#11-register-devs-runner: two commands")
    if found[0]["Type"] != "SecureString":
        return wrong(
            f"{name} is a {found[0]['Type']}, which whoever reads parameters can read",
            "reset the token in GitLab, delete the parameter, and store the new token as SecureString",
        )
    return right(f"{name}, of {found[0]['LastModifiedDate']:%Y-%m-%d}")


def _runner(environment: str) -> Finding:
    group = f"pmp-{environment}-runner"
    if aws.is_emulated():
        return unknown("the laptop runs the migrations itself")
    found = aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    healthy = [
        one["InstanceId"]
        for one in (found[0]["Instances"] if found else [])
        if (one["LifecycleState"], one["HealthStatus"]) == ("InService", "Healthy")
    ]
    if not healthy:
        return wrong(
            f"{group} has no healthy instance",
            f"aws autoscaling describe-scaling-activities --auto-scaling-group-name {group}",
        )
    return right(f"instance {healthy[0]} of {group}; GitLab says whether it is online")


def _backups(environment: str) -> Finding:
    if aws.is_emulated():
        return unknown("the laptop keeps no backups: make restore-drill")
    name = aws.parameter(f"/pmp/{environment}/foundation/database_identifier")
    [instance] = aws.client("rds").describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
    latest = instance.get("LatestRestorableTime")
    if latest is None or datetime.now(UTC) - latest > _OLDEST_BACKUP:
        return wrong(
            f"{name} can be restored {f'to {latest:%Y-%m-%d %H:%M} at the latest' if latest else 'to no instant'}",
            f"aws rds describe-events --source-type db-instance --source-identifier {name} --duration 1440",
        )
    return right(f"{name} can be restored to {latest:%Y-%m-%d %H:%M} and {instance['BackupRetentionPeriod']} days back")


def _passwords(environment: str) -> Finding:
    for role in ("pmp_app", "pmp_migrator"):
        name = f"pmp/{environment}/database/{role}"
        stages = aws.client("secretsmanager").describe_secret(SecretId=name).get("VersionIdsToStages", {})
        if not any("AWSCURRENT" in one for one in stages.values()):
            return wrong(f"secret {name} is empty", _run(environment, "migrate"))
    return right("pmp_app and pmp_migrator have theirs, made by the migration job")


def _proxy(environment: str) -> Finding:
    name = aws.parameter(f"/pmp/{environment}/foundation/database_proxy_name")
    targets = aws.client("rds").describe_db_proxy_targets(DBProxyName=name)["Targets"]
    if not targets:
        return wrong(f"proxy {name} has no target", _run(environment, "apply:foundation"))
    for target in targets:
        health = target.get("TargetHealth", {})
        if health.get("State") != "AVAILABLE":
            reason = " ".join(filter(None, [health.get("Reason"), health.get("Description")]))
            return wrong(
                f"the target of proxy {name} is {health.get('State', 'unknown')}{f' ({reason})' if reason else ''}",
                "docs/runbook.md#proxy-login-failures",
            )
    return right(f"proxy {name} reaches the database")


def _alarms(environment: str) -> Finding:
    topics = json.loads(aws.parameter(f"/pmp/{environment}/foundation/alarm_topic_arn_by_severity"))
    if not wakes_somebody(environment):
        if environment != PROMOTED_ENVIRONMENTS[-1] or aws.is_emulated():
            return unknown(f"envs/{environment}.tfvars names nobody to wake")
        return wrong(
            f"a critical alarm of {environment} wakes nobody",
            f"name addresses in foundation.alarms of envs/{environment}.tfvars, and let the pipeline apply them",
        )
    found = _subscriptions(topics["critical"], aws.region())
    heartbeat = f"arn:aws:sns:{_HEARTBEAT_REGION}:{aws.account_id()}:pmp-{environment}-heartbeat"
    found += _subscriptions(heartbeat, _HEARTBEAT_REGION)
    waiting = [endpoint for endpoint, is_confirmed in found if not is_confirmed]
    if waiting:
        return wrong(
            f"{', '.join(sorted(set(waiting)))} did not confirm",
            "follow the link in AWS's email, one for each topic; it is valid for three days",
        )
    if not found:
        return wrong(f"topic {topics['critical']} has no subscriber", _run(environment, "apply:foundation"))
    return right(f"{len(found)} confirmed subscriptions of critical alarms")


def _subscriptions(topic: str, region: str) -> list[tuple[str, bool]]:
    """Return the endpoints of a topic and whether each is confirmed; empty before the topic exists."""
    try:
        pages = aws.client("sns", region).get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
        found = [one for page in pages for one in page["Subscriptions"]]
    except ClientError as error:
        if aws.error_code(error) in {"NotFound", "NotFoundException"}:
            return []
        raise
    return [(one["Endpoint"], one["SubscriptionArn"] != "PendingConfirmation") for one in found]


def _client(environment: str) -> Finding:
    name = clients.SMOKE
    if aws.parameter_or_none(f"/pmp/{environment}/clients/{name}") is None:
        return wrong(f"the smoke test has no API client in {environment}", _run(environment, "plan:service"))
    stages = aws.client("secretsmanager").describe_secret(SecretId=f"pmp/{environment}/clients/{name}")
    if not stages.get("VersionIdsToStages"):
        return wrong(
            f"the secret of API client {name} is empty",
            f"python -m ops client {name} --environment {environment} --scope '{' '.join(clients.ALL_SCOPES)}'",
        )
    return right(f"client {name} and its secret")


def _service(environment: str) -> Finding:
    release = aws.parameter_or_none(f"/pmp/{environment}/service/release")
    if release is None:
        return wrong(f"the service of {environment} does not exist", _run(environment, "apply:service"))
    return right(f"commit {release[:12]}, lambda {aws.parameter(f'/pmp/{environment}/service/code_sha256')[:12]}")


def _release(environment: str) -> Finding:
    alias = Alias.of(environment)
    weights, newest = alias.weights(), alias.newest()
    if weights == {newest.number: 1}:
        return right(f"version {newest.number} of the function is the newest and serves all requests")
    shares = ", ".join(f"version {number} {share:.0%}" for number, share in weights.items())
    return wrong(
        f"version {newest.number} of the function, commit {newest.release[:12]}, does not serve all requests "
        f"({shares}): its canary runs, was killed, or went back",
        f"if no pipeline's {environment}:canary runs: python -m ops canary --environment {environment}",
    )


def _api(environment: str) -> Finding:
    url = aws.parameter(f"/pmp/{environment}/service/api_url")
    try:
        answer = http.request("GET", f"{url}/v1/ready")
    except UserError as error:
        return wrong(str(error), "the delegation above, and the record of the API's domain in Route 53")
    if answer.status != 200:
        said = answer.body.decode(errors="replace")[:200]
        return wrong(f"{url}/v1/ready answers {answer.status}: {said}", "docs/runbook.md#api-server-errors")
    return right(f"{url} answers, and so does its database")
