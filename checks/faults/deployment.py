"""The function as a request meets it once it is deployed: gateway, authorizer, alias, version.

The emulated AWS of a laptop (``local.ministack``) runs the function's zip with a stack's servers. The versions and the
alias are the launcher's; `ops.alias` moves the alias, as in a release.
"""

import json
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from checks.load.fleet import Fleet
from checks.load.mix import HOST, Mix
from checks.stack import Stack, free_port
from checks.terratest import build_code
from local import processes, services
from local.account import NAME, Account
from local.instance import PORTS_PER_INSTANCE, Instance
from local.servers.certificates import Authority
from ops import alias, http
from ops.alias import Alias
from ops.clients import ALL_SCOPES
from ops.errors import UserError
from ops.settings import ROOT

_FUNCTION = "pmp-local"
_CLIENTS, _WARM = 40, 8
"""Clients, and how many environments of the first version are warm."""

_PROBES, _BETWEEN_PROBES = 200, 0.05
"""Requests, one every so many seconds, until a version with a tenth of them answers, but for a chance in a billion."""

_TRUST = {
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}]
}
# Lambda sets these itself and refuses them: https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
_RESERVED = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION")


class Deployment:
    """A function with its first version behind the alias, and an API that names the alias.

    Attributes:
        alias: by which the API invokes the function.

    Args:
        account: where it is deployed; running and empty.
        stack: the function's servers.
        code: the function's zip.
    """

    def __init__(self, account: Account, stack: Stack, code: Path) -> None:
        session = account.session("admin")
        self._account = account
        self._lambda: Any = session.client("lambda")
        self._gateway: Any = session.client("apigatewayv2")
        self._cognito: Any = session.client("cognito-idp")
        self.alias = Alias(self._lambda, _FUNCTION)
        self._variables = {key: value for key, value in stack.environment.items() if key not in _RESERVED}
        self._releases = 0
        self._audience: list[str] = []
        role = session.client("iam").create_role(RoleName=_FUNCTION, AssumeRolePolicyDocument=json.dumps(_TRUST))
        self._lambda.create_function(
            FunctionName=_FUNCTION,
            Role=role["Role"]["Arn"],
            Runtime="python3.13",
            Handler="pmp.handler.handler",
            Timeout=30,
            MemorySize=1024,
            Code={"ZipFile": code.read_bytes()},
            Environment={"Variables": self._variables},
        )
        self._wait("function_active_v2")
        version = self._lambda.publish_version(FunctionName=_FUNCTION)["Version"]
        created = self._lambda.create_alias(FunctionName=_FUNCTION, Name=alias.NAME, FunctionVersion=version)
        self._pool = self._create_pool()
        self._api, self._authorizer = self._create_api(created["AliasArn"])

    def _wait(self, what: str) -> None:
        self._lambda.get_waiter(what).wait(FunctionName=_FUNCTION, WaiterConfig={"Delay": 1})

    def _create_pool(self) -> str:
        pool = str(self._cognito.create_user_pool(PoolName=_FUNCTION)["UserPool"]["Id"])
        scopes = [{"ScopeName": one.removeprefix("pmp/"), "ScopeDescription": one} for one in ALL_SCOPES]
        self._cognito.create_resource_server(UserPoolId=pool, Identifier="pmp", Name="pmp", Scopes=scopes)
        return pool

    def _create_api(self, alias_arn: str) -> tuple[str, str]:
        api = self._gateway.create_api(Name=_FUNCTION, ProtocolType="HTTP")["ApiId"]
        integration = self._gateway.create_integration(
            ApiId=api,
            IntegrationType="AWS_PROXY",
            IntegrationUri=alias_arn,
            PayloadFormatVersion="2.0",
            TimeoutInMillis=29000,
        )
        region = self._lambda.meta.region_name
        authorizer = self._gateway.create_authorizer(
            ApiId=api,
            Name="jwt",
            AuthorizerType="JWT",
            IdentitySource=["$request.header.Authorization"],
            JwtConfiguration={"Audience": [], "Issuer": f"https://cognito-idp.{region}.amazonaws.com/{self._pool}"},
        )["AuthorizerId"]
        target = f"integrations/{integration['IntegrationId']}"
        secured = {"AuthorizationType": "JWT", "AuthorizerId": authorizer}
        self._gateway.create_route(ApiId=api, RouteKey="GET /v1/health", Target=target)
        self._gateway.create_route(ApiId=api, RouteKey="$default", Target=target, **secured)
        self._gateway.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
        self._gateway.create_domain_name(DomainName=HOST)
        self._gateway.create_api_mapping(DomainName=HOST, ApiId=api, Stage="$default")
        return api, authorizer

    def client(self) -> tuple[str, str]:
        """Make an API client; return its id and a token of all scopes."""
        made = self._cognito.create_user_pool_client(
            UserPoolId=self._pool,
            ClientName="faults",
            GenerateSecret=True,
            AllowedOAuthFlows=["client_credentials"],
            AllowedOAuthFlowsUserPoolClient=True,
            AllowedOAuthScopes=list(ALL_SCOPES),
        )["UserPoolClient"]
        self._audience.append(made["ClientId"])
        authorizer = self._gateway.get_authorizer(ApiId=self._api, AuthorizerId=self._authorizer)
        trusted = authorizer["JwtConfiguration"] | {"Audience": self._audience}
        self._gateway.update_authorizer(ApiId=self._api, AuthorizerId=self._authorizer, JwtConfiguration=trusted)
        url, authority = f"{self._account.instance.aws_url}/oauth2/token", self._account.instance.ca_file
        token = http.fetch_token(url, made["ClientId"], made["ClientSecret"], authority=authority)
        return made["ClientId"], token

    @contextmanager
    def clients(self, path: str) -> Iterator[Fleet]:
        """Start clients, each with one request at a time, and have some of them ask for ``path`` at the same time.

        So the first version has as many environments. The clients end with the context.

        Raises:
            UserError: one of them was not answered with 200.
        """
        instance = self._account.instance
        variables = {"PMP_CLIENT_ADDRESS": f"127.0.0.1:{instance.aws_port}", "SSL_CERT_FILE": str(instance.ca_file)}
        event = Mix(1, 0, bearer=self.client()[1]).read("", path).event
        with Fleet(variables, _CLIENTS, folder=ROOT, module="checks.faults.client", preloaded=()) as fleet:
            for client in fleet.environments[:_WARM]:
                client.send(event)
            if unlike := {client.receive().status for client in fleet.environments[:_WARM]} - {200}:
                raise UserError(f"GET {path} of a new deployment answered {unlike} instead of 200")
            yield fleet

    def publish(self, code: bytes = b"") -> str:
        """Publish a version, as an apply of a release does: it serves nobody.

        Args:
            code: a zip; empty for the code that the newest version has.

        Returns:
            Its number.
        """
        if code:
            self._lambda.update_function_code(FunctionName=_FUNCTION, ZipFile=code)
            self._wait("function_updated_v2")
        self._releases += 1
        variables = self._variables | {"PMP_RELEASE": f"release {self._releases}"}
        self._lambda.update_function_configuration(FunctionName=_FUNCTION, Environment={"Variables": variables})
        self._wait("function_updated_v2")
        return str(self._lambda.publish_version(FunctionName=_FUNCTION)["Version"])

    def require_served(self, versions: Collection[str], seconds: float) -> None:
        """Ask which version serves, for a time and until each of the versions has answered.

        Raises:
            UserError: another version answered, or one of these never.
        """
        end, seen, asked = time.monotonic() + seconds, set[str](), 0
        while time.monotonic() < end or (seen < set(versions) and asked < _PROBES):
            seen.add(self._serving())
            asked += 1
            time.sleep(_BETWEEN_PROBES)
        if seen != set(versions):
            raise UserError(
                f"versions {sorted(seen)} answered {asked} requests to the alias instead of {sorted(versions)}"
            )

    def _serving(self) -> str:
        instance = self._account.instance
        url = f"{instance.aws_url}/v1/health"
        answer = http.request("GET", url, headers={"Host": HOST}, authority=instance.ca_file)
        return str(answer.json()["function_version"]) if answer.status == 200 else f"status {answer.status}"


@contextmanager
def running(stack: Stack) -> Iterator[Deployment]:
    """Deploy the function on an emulated AWS of its own; end it and remove everything at the end."""
    folder = Path(tempfile.mkdtemp(prefix="pmp-deployment-"))
    instance = Instance("faults", free_port(PORTS_PER_INSTANCE), folder)
    instance.directory.mkdir()
    Authority(instance.ca_file.parent)
    account = Account(instance)
    try:
        account.start()
        yield Deployment(account, stack, build_code(folder / "build"))
    finally:
        # Nothing of it is kept, so nothing needs to be saved.
        if record := processes.read(services.records(instance), NAME):
            processes.end_session(record)
        shutil.rmtree(folder, ignore_errors=True)
