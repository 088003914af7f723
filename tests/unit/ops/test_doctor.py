"""The doctor finds each thing that is broken, names its cure, and asks nothing that builds on it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from ops import aws, dns, http, images, provider_locks
from ops.doctor import account, doctor, environment, examine, gitlab
from ops.doctor.checks import Check, Finding, Verdict, right, wrong
from ops.errors import UserError
from ops.settings import PROMOTED_ENVIRONMENTS

ACCOUNT = "111111111111"
SERVERS = ["ns-1.awsdns-01.com.", "ns-2.awsdns-02.net."]
TOPIC = f"arn:aws:sns:eu-west-1:{ACCOUNT}:pmp-prod-critical"


def refused(code: str, operation: str = "Operation") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)


class NotFoundError(Exception):
    """What boto3 raises for a parameter that does not exist."""


@dataclass
class World:
    """An account of prod, its GitLab project and its API, in which all is well."""

    credentials: str | Exception = f"arn:aws:sts::{ACCOUNT}:assumed-role/Administrator/ada"
    stacks: dict[str, str] = field(default_factory=lambda: dict.fromkeys(account._STACKS, "CREATE_COMPLETE"))
    concurrency: int = 1000
    delegated: set[str] = field(default_factory=lambda: {name.rstrip(".") for name in SERVERS})
    code: Exception | None = None
    token_type: str | None = "SecureString"
    instances: list[tuple[str, str]] = field(default_factory=lambda: [("InService", "Healthy")])
    secrets: dict[str, list[str]] = field(
        default_factory=lambda: {"pmp_app": ["AWSCURRENT"], "pmp_migrator": ["AWSCURRENT"], "smoke": ["AWSCURRENT"]}
    )
    restorable: datetime | None = field(default_factory=lambda: datetime.now(UTC) - timedelta(minutes=4))
    proxy: dict[str, str] = field(default_factory=lambda: {"State": "AVAILABLE"})
    subscriptions: list[tuple[str, str]] = field(default_factory=lambda: [("on-call@example.com", "arn:aws:sns:…")])
    ready: int = 200
    serving: str = "8"
    parameters: dict[str, str] = field(
        default_factory=lambda: {
            "/pmp/bootstrap/state_bucket_name": "pmp-terraform-state",
            "/pmp/account/hosted_zone_name": "pmp.example.com",
            "/pmp/account/hosted_zone_id": "Z1",
            "/pmp/account/deployment_bucket_name": f"pmp-deployments-{ACCOUNT}-eu-west-1",
            "/pmp/account/prod/permissions_boundary_arn": "arn",
            "/pmp/prod/foundation/user_pool_id": "pool",
            "/pmp/prod/foundation/database_identifier": "pmp-prod-r1",
            "/pmp/prod/foundation/database_proxy_name": "pmp-prod",
            "/pmp/prod/foundation/alarm_topic_arn_by_severity": json.dumps({"critical": TOPIC}),
            "/pmp/prod/clients/smoke": "client",
            "/pmp/prod/service/release": "a" * 40,
            "/pmp/prod/service/code_sha256": "b" * 64,
            "/pmp/prod/service/function_name": "pmp-prod",
            "/pmp/prod/service/api_url": "https://api.pmp.example.com",
        }
    )
    project: dict[str, Any] = field(
        default_factory=lambda: {
            "": {"web_url": "https://gitlab.com/pmp/pmp", "default_branch": "main"},
            "/protected_branches/main": {"name": "main", "allow_force_push": False},
            "/protected_tags": [{"name": "v*"}],
            "/protected_environments": [{"name": "staging"}, {"name": "prod"}],
            "/pipeline_schedules": [{"description": "Nightly", "cron": "0 3 * * *"}],
            "/runners": [{"online": True}],
            "/variables": [
                {"key": "AWS_REGION", "environment_scope": "*", "masked": False, "protected": False},
                {"key": "PMP_NOTE_TOKEN", "environment_scope": "*", "masked": True, "protected": False},
                *(
                    {"key": "AWS_SECRET_ACCESS_KEY", "environment_scope": scope, "masked": True, "protected": protected}
                    for name in PROMOTED_ENVIRONMENTS
                    for scope, protected in ((name, True), (f"plan/{name}", False), (f"plan/account/{name}", False))
                ),
            ],
        }
    )

    def variable(self, scope: str, **changes: Any) -> None:
        [one] = [one for one in self.project["/variables"] if one["environment_scope"] == scope]
        one |= changes

    def client(self, service: str, _elsewhere: str | None = None) -> Any:
        return getattr(self, f"_{service.replace('-', '_')}")()

    def _sts(self) -> Any:
        def ask() -> dict[str, str]:
            if isinstance(self.credentials, Exception):
                raise self.credentials
            return {"Arn": self.credentials, "Account": ACCOUNT}

        return SimpleNamespace(get_caller_identity=ask)

    def _ssm(self) -> Any:
        def get(Name: str, **_: Any) -> Any:  # noqa: N803 - boto3's
            if Name not in self.parameters:
                raise NotFoundError
            return {"Parameter": {"Value": self.parameters[Name]}}

        def describe(**_: Any) -> Any:
            found = {"Type": self.token_type, "LastModifiedDate": datetime(2026, 11, 26, tzinfo=UTC)}
            return {"Parameters": [found] if self.token_type else []}

        exceptions = SimpleNamespace(ParameterNotFound=NotFoundError)
        return SimpleNamespace(get_parameter=get, describe_parameters=describe, exceptions=exceptions)

    def _cloudformation(self) -> Any:
        def describe(StackName: str) -> Any:  # noqa: N803 - boto3's
            if StackName not in self.stacks:
                raise ClientError({"Error": {"Code": "ValidationError", "Message": "does not exist"}}, "DescribeStacks")
            return {"Stacks": [{"StackStatus": self.stacks[StackName]}]}

        return SimpleNamespace(describe_stacks=describe)

    def _lambda(self) -> Any:
        limits = {"ConcurrentExecutions": self.concurrency, "UnreservedConcurrentExecutions": self.concurrency}
        versions = [{"Version": number, "LastModified": "2026-11-26T10:00:00"} for number in ("$LATEST", "7", "8")]
        return SimpleNamespace(
            get_account_settings=lambda: {"AccountLimit": limits},
            get_alias=lambda **_: {"FunctionVersion": self.serving},
            get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [{"Versions": versions}]),
            exceptions=SimpleNamespace(ResourceNotFoundException=NotFoundError),
        )

    def _ec2(self) -> Any:
        limit = {"AttributeName": "vpc-max-elastic-ips", "AttributeValues": [{"AttributeValue": "5"}]}
        return SimpleNamespace(
            describe_addresses=lambda: {"Addresses": []},
            describe_account_attributes=lambda: {"AccountAttributes": [limit]},
        )

    def _route53(self) -> Any:
        return SimpleNamespace(get_hosted_zone=lambda **_: {"DelegationSet": {"NameServers": SERVERS}})

    def _s3(self) -> Any:
        def listed(**_: Any) -> Any:
            if self.code:
                raise self.code

        return SimpleNamespace(list_objects_v2=listed)

    def _autoscaling(self) -> Any:
        found = [{"InstanceId": "i-1", "LifecycleState": one, "HealthStatus": two} for one, two in self.instances]
        return SimpleNamespace(describe_auto_scaling_groups=lambda **_: {"AutoScalingGroups": [{"Instances": found}]})

    def _secretsmanager(self) -> Any:
        def describe(SecretId: str) -> Any:  # noqa: N803 - boto3's
            stages = self.secrets[SecretId.rpartition("/")[2]]
            return {"VersionIdsToStages": {"1": stages} if stages else {}}

        return SimpleNamespace(describe_secret=describe)

    def _rds(self) -> Any:
        targets = {"Targets": [{"TargetHealth": self.proxy}] if self.proxy else []}
        instance = {"LatestRestorableTime": self.restorable, "BackupRetentionPeriod": 35}
        return SimpleNamespace(
            describe_db_proxy_targets=lambda **_: targets,
            describe_db_instances=lambda **_: {"DBInstances": [{k: v for k, v in instance.items() if v}]},
        )

    def _sns(self) -> Any:
        page = {"Subscriptions": [{"Endpoint": one, "SubscriptionArn": arn} for one, arn in self.subscriptions]}
        return SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: [page]))

    def request(self, _method: str, url: str, **_: Any) -> http.Answer:
        parts = urlsplit(url)
        if parts.path == "/v1/ready":
            return http.Answer(self.ready, {}, b"{}")
        question = unquote(parts.path.removeprefix("/api/v4/projects/pmp%2Fpmp"))
        content = self.project.get(question)
        return http.Answer(404 if content is None else 200, {}, json.dumps(content).encode())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World()
    for name in ("AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "PMP_PLATFORM_DIRECTORY", "GITLAB_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in (("AWS_REGION", "eu-west-1"), ("GITLAB_TOKEN", "t"), ("GITLAB_PROJECT", "pmp/pmp")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(aws, "client", found.client)
    monkeypatch.setattr(http, "request", found.request)
    monkeypatch.setattr(dns, "name_servers", lambda _zone: found.delegated)
    monkeypatch.setattr(provider_locks, "lacking", lambda _repository: [])
    monkeypatch.setattr(images, "recorded", lambda *_: (f"sha256:{'1' * 64}", images.inputs()))
    for answer in ("wakes_somebody", "pins_downloads"):
        monkeypatch.setattr(environment, answer, lambda _environment: True)
    monkeypatch.setattr("pathlib.Path.exists", lambda path: path.name != "none.tfvars")
    return found


def everything() -> list[Check]:
    return [*account.checks(), *environment.checks("prod"), *gitlab.checks()]


def test_a_healthy_world_is_green(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert {name: one.text for name, one in examine(everything()).items() if one.verdict is not Verdict.RIGHT} == {}
    doctor("prod")
    assert "checks are right; 0 do not apply" in capsys.readouterr().out


Break = Callable[[World, pytest.MonkeyPatch], object]


def without(name: str) -> Break:
    return lambda world, _: world.parameters.pop(name)


def setting(name: str, value: object) -> Break:
    return lambda world, _: setattr(world, name, value)


def project(question: str, value: object) -> Break:
    return lambda world, _: world.project.__setitem__(question, value)


BROKEN: list[tuple[str, Break, str]] = [
    (
        "provider locks",
        lambda _, patch: patch.setattr(provider_locks, "lacking", lambda _: ["service does not name null"]),
        "'python -m ops lock-providers' where the Terraform registry answers",
    ),
    ("region", lambda _, patch: patch.delenv("AWS_REGION"), "export AWS_REGION"),
    ("identity", setting("credentials", NoCredentialsError()), "set AWS_PROFILE"),
    ("identity", setting("credentials", refused("ExpiredToken")), "log in again"),
    ("identity", setting("credentials", f"arn:aws:iam::{ACCOUNT}:root"), "a role or user with administrator rights"),
    (
        "account file",
        lambda _, patch: patch.setattr("pathlib.Path.exists", lambda _: False),
        "write it: docs/aws.md#4-describe-each-account",
    ),
    ("bootstrap", setting("stacks", {}), "python -m ops bootstrap"),
    ("bootstrap", lambda world, _: world.stacks.update({"pmp-kms-key": "ROLLBACK_COMPLETE"}), "delete it in CloudForm"),
    ("quotas", setting("concurrency", 10), "aws service-quotas request-service-quota-increase --service-code lambda"),
    ("account layer", without("/pmp/account/hosted_zone_name"), "python -m ops apply account"),
    ("delegation", setting("delegated", set()), "let its NS record name ns-1.awsdns-01.com, ns-2.awsdns-02.net"),
    ("delegation", setting("delegated", {"ns.old.example"}), "at the parent of pmp.example.com"),
    ("deployed code", setting("code", refused("NoSuchBucket")), "the account that holds the bucket"),
    ("foundation", without("/pmp/prod/foundation/user_pool_id"), "its job prod:apply:foundation"),
    (
        "downloads",
        lambda _, patch: patch.setattr(environment, "pins_downloads", lambda _: False),
        "modules/runner/README.md#pinning-what-it-downloads",
    ),
    ("runner token", setting("token_type", None), "docs/aws.md#11-register-devs-runner"),
    ("runner token", setting("token_type", "String"), "reset the token in GitLab"),
    ("runner", setting("instances", []), "describe-scaling-activities --auto-scaling-group-name pmp-prod-runner"),
    ("runner", setting("instances", [("Pending", "Healthy")]), "describe-scaling-activities"),
    ("passwords", lambda world, _: world.secrets.update(pmp_migrator=[]), "its job prod:migrate"),
    (
        "backups",
        setting("restorable", None),
        "describe-events --source-type db-instance --source-identifier pmp-prod-r1",
    ),
    ("backups", setting("restorable", datetime(2026, 1, 1, tzinfo=UTC)), "aws rds describe-events"),
    ("proxy", setting("proxy", {}), "its job prod:apply:foundation"),
    (
        "proxy",
        setting("proxy", {"State": "UNAVAILABLE", "Reason": "AUTH_FAILURE"}),
        "docs/runbook.md#proxy-login-failures",
    ),
    ("alarms", lambda _, patch: patch.setattr(environment, "wakes_somebody", lambda _: False), "envs/prod.tfvars"),
    ("alarms", setting("subscriptions", []), "its job prod:apply:foundation"),
    ("alarms", setting("subscriptions", [("a@example.com", "PendingConfirmation")]), "follow the link in AWS's email"),
    ("API client", without("/pmp/prod/clients/smoke"), "its job prod:plan:service"),
    ("API client", lambda world, _: world.secrets.update(smoke=[]), "python -m ops client smoke --environment prod"),
    ("service", without("/pmp/prod/service/release"), "its job prod:apply:service"),
    ("release", setting("serving", "7"), "python -m ops canary --environment prod"),
    ("API", setting("ready", 503), "docs/runbook.md#api-server-errors"),
    ("GitLab", project("", None), "GITLAB_PROJECT=group/project"),
    ("branch", project("/protected_branches/main", None), "protect main without force push"),
    ("branch", project("/protected_branches/main", {"allow_force_push": True}), "protect main without force push"),
    ("tags", project("/protected_tags", [{"name": "release-*"}]), "protect the tags v*"),
    (
        "image",
        lambda _, patch: patch.setattr(images, "recorded", lambda *_: (images.NOT_RECORDED, "none")),
        "docs/aws.md#10-push",
    ),
    (
        "image",
        lambda _, patch: patch.setattr(images, "recorded", lambda *_: (f"sha256:{'1' * 64}", "other")),
        "make image-lock DIGEST=",
    ),
    ("gates", project("/protected_environments", None), "they need the tier Premium"),
    ("gates", project("/protected_environments", [{"name": "staging"}]), "protect prod, with approvers"),
    ("schedule", project("/pipeline_schedules", []), "add one of the main branch, nightly"),
    ("variables", project("/variables", []), "set it for all environments"),
    ("variables", lambda world, _: world.variable("prod", key="X"), "add them in the scope prod"),
    ("variables", lambda world, _: world.variable("prod", protected=False), "protect it"),
    ("variables", lambda world, _: world.variable("plan/prod", protected=True), "do not protect it: it only reads"),
    ("variables", lambda world, _: world.variable("prod", masked=False), "mask it"),
    ("variables", lambda world, _: world.variable("dev", environment_scope="*"), "give it the scope dev"),
    ("plan's note", lambda world, _: world.project["/variables"][1].update(masked=False), "mask it"),
    ("runners", project("/runners", [{"online": False}]), "docs/aws.md#11-register-devs-runner"),
]


@pytest.mark.parametrize(("name", "break_it", "cure"), BROKEN, ids=[f"{one[0]}: {one[2][:30]}" for one in BROKEN])
def test_what_is_broken_is_found_with_its_cure(
    name: str, break_it: Break, cure: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_it(world, monkeypatch)
    found = examine(everything())
    assert [title for title, one in found.items() if one.verdict is Verdict.WRONG] == [name]
    assert cure in found[name].cure
    with pytest.raises(UserError, match=rf"1 of \d+ checks found something wrong, first {name}: "):
        doctor("prod")


def test_each_check_is_broken_once(world: World) -> None:
    assert {name for name, _, _ in BROKEN} == {one.name for one in everything()}


def test_what_builds_on_something_missing_is_not_asked(world: World) -> None:
    world.parameters.pop("/pmp/account/hosted_zone_name")
    found = examine(everything())
    assert found["delegation"].text == "not asked before account layer is right"
    # And so on, to the last one.
    assert found["API"].text == "not asked before service is right"


def test_an_identity_that_may_not_ask_is_told_so() -> None:
    def denied() -> Finding:
        raise refused("AccessDenied", "DescribeStacks")

    found = examine([Check("bootstrap", denied), Check("later", lambda: right("asked"), "bootstrap")])
    assert found["bootstrap"].verdict is Verdict.UNKNOWN
    assert "may not call DescribeStacks" in found["bootstrap"].text
    assert found["later"].text == "asked"


@pytest.mark.parametrize(("runner", "expected"), [({"enable": True}, False), ({"downloads": {"a": "b"}}, True)])
def test_pinned_downloads_are_read_from_the_variable_file(
    runner: dict[str, Any], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "variables", lambda _environment: {"foundation": {"runner": runner}})
    assert environment.pins_downloads("prod") is expected


def test_every_problem_needs_a_cure() -> None:
    assert wrong("broken", "repair it").cure
    assert all(cure for _, _, cure in BROKEN)


def test_without_a_token_gitlab_is_not_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITLAB_TOKEN")
    found = examine(gitlab.checks())
    assert list(found) == ["GitLab"]
    assert "set GITLAB_TOKEN (scope read_api)" in found["GitLab"].text
