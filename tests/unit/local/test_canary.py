"""A canary on the emulator: the launcher honours the alias's weights, and a release that fails goes back."""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from local.account import Account
from ops import aws, canary, releases, smoke
from ops.api import Api
from ops.errors import UserError

HANDLER = """
import json, os
def handler(event, context):
    body = json.dumps({"function_version": os.environ["AWS_LAMBDA_FUNCTION_VERSION"]})
    return {"statusCode": STATUS, "body": body}
"""
NAME, DOMAIN = "pmp-prod", "api.prod.pmp.localhost"
Deploy = Callable[[int], None]


def _zip(status: int) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("index.py", HANDLER.replace("STATUS", str(status)))
    return content.getvalue()


@pytest.fixture
def deploy(account: Account, monkeypatch: pytest.MonkeyPatch) -> Deploy:
    """Publish a version that always answers with a status; the first serves behind an HTTP API."""
    session = account.session("admin")
    functions: Any = session.client("lambda")
    clients: dict[str, Any] = {"lambda": functions}
    monkeypatch.setattr(aws, "client", lambda service: clients.setdefault(service, session.client(service)))
    commit = iter(["a" * 40, "b" * 40, "c" * 40])

    def settings() -> dict[str, Any]:
        return {"Variables": {"PMP_RELEASE": next(commit), "PMP_CODE_SHA256": "1" * 64}}

    trust = {
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]
    }
    role = session.client("iam").create_role(RoleName="function", AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    functions.create_function(
        FunctionName=NAME,
        Role=role["Arn"],
        Runtime="python3.13",
        Handler="index.handler",
        Code={"ZipFile": _zip(200)},
        Environment=settings(),
    )
    functions.get_waiter("function_active_v2").wait(FunctionName=NAME, WaiterConfig={"Delay": 1})
    functions.publish_version(FunctionName=NAME)
    alias = functions.create_alias(FunctionName=NAME, Name="live", FunctionVersion="1")
    gateway = session.client("apigatewayv2")
    api = gateway.create_api(Name=NAME, ProtocolType="HTTP")
    integration = gateway.create_integration(
        ApiId=api["ApiId"],
        IntegrationType="AWS_PROXY",
        IntegrationUri=alias["AliasArn"],
        PayloadFormatVersion="2.0",
    )
    target = f"integrations/{integration['IntegrationId']}"
    gateway.create_route(ApiId=api["ApiId"], RouteKey="$default", Target=target)
    session.client("ssm").put_parameter(Name="/pmp/prod/service/function_name", Value=NAME, Type="String")
    gateway.create_stage(ApiId=api["ApiId"], StageName="$default", AutoDeploy=True)
    gateway.create_domain_name(DomainName=DOMAIN)
    gateway.create_api_mapping(DomainName=DOMAIN, ApiId=api["ApiId"], Stage="$default")
    url = f"https://{DOMAIN}:{account.instance.aws_port}"
    monkeypatch.setattr(smoke, "connect", lambda _: Api(url, "token", account.instance.ca_file))
    monkeypatch.setattr(canary, "_LEAST_ANSWERS", 5)

    def publish(status: int) -> None:
        updated = functions.get_waiter("function_updated_v2")
        functions.update_function_code(FunctionName=NAME, ZipFile=_zip(status))
        updated.wait(FunctionName=NAME, WaiterConfig={"Delay": 1})
        functions.update_function_configuration(FunctionName=NAME, Environment=settings())
        updated.wait(FunctionName=NAME, WaiterConfig={"Delay": 1})
        functions.publish_version(FunctionName=NAME)

    return publish


def _served() -> Counter[str]:
    api = smoke.connect("prod")
    return Counter(api.expect(200, "GET", "/")["function_version"] for _ in range(10))


def test_a_release_that_fails_goes_back_and_its_fix_serves(deploy: Deploy, capsys: pytest.CaptureFixture[str]) -> None:
    assert _served() == {"1": 10}
    deploy(500)
    assert _served() == {"1": 10}, "a published version serves nobody"
    with pytest.raises(
        UserError, match=r"version 2 \(commit b{12}\) went back .* Version 1 serves all requests of prod"
    ):
        canary.release("prod", 0)
    assert _served() == {"1": 10}

    deploy(200)
    canary.release("prod", 0)
    assert _served() == {"3": 10}
    said = capsys.readouterr().out
    assert "version 3 serves all requests; it answered 5 of " in said, said
    releases.show("prod")
    shown = [line.split() for line in capsys.readouterr().out.splitlines()[:3]]
    assert [(line[0], line[4][0], line[6:]) for line in shown] == [
        ("3", "c", ["serves", "100%"]),
        ("2", "b", []),
        ("1", "a", []),
    ]
