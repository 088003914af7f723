"""Plan PMP's layers for every environment on an empty emulated AWS account, and read the plans.

Terraform plans in a copy of the tree with local state. It uses no backend and no credentials, and touches no running
platform.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import boto3

from checks.stack import free_port
from checks.tree import copied_tree, registry
from local.registry.server import STAND_INS
from ops.costs import variables
from ops.settings import ENVIRONMENTS

LAYERS = ("foundation", "service")
_PLATFORM = "{s3_use_path_style=true}"

_START_SECONDS = 60
_KEY = "arn:aws:kms:eu-west-1:000000000000:key/00000000-0000-4000-8000-000000000000"
# SSM parameters that lower layers and the pipeline write; an empty account does not have them.
_ACCOUNT = {
    "/pmp/bootstrap/kms_key_arn": _KEY,
    "/pmp/bootstrap/state_bucket_name": "pmp-terraform-state-000000000000-eu-west-1",
    "/pmp/account/deployment_bucket_name": "pmp-deployments-000000000000-eu-west-1",
    "/pmp/account/hosted_zone_name": "pmp.example.com",
}
_FOUNDATION = {
    "foundation/alarm_topic_arn_by_severity": json.dumps(
        {severity: f"arn:aws:sns:eu-west-1:000000000000:pmp-{severity}" for severity in ("critical", "warning")}
    ),
    "foundation/alarm_threshold_by_name": "{}",
    "foundation/database_engine": "postgres",
    "foundation/database_identifier": "pmp",
    "foundation/database_name": "pmp",
    "foundation/database_proxy_host": "pmp.proxy-0.eu-west-1.rds.amazonaws.com",
    "foundation/database_proxy_name": "pmp",
    "foundation/database_proxy_port": "5432",
    "foundation/database_proxy_resource_id": "prx-00000000000000000",
    "foundation/database_reader_host": "pmp.proxy-0.eu-west-1.rds.amazonaws.com",
    "foundation/erasure_key_secret_arn": "arn:aws:secretsmanager:eu-west-1:000000000000:secret:pmp/erasure-key-AbCdEf",
    "foundation/erasures_bucket_name": "pmp-erasures",
    "foundation/function_security_group_id": "sg-00000000000000000",
    "foundation/issuer": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_000000000",
    "foundation/kms_key_arn": _KEY,
    "foundation/token_key_secret_arn": "arn:aws:secretsmanager:eu-west-1:000000000000:secret:pmp/token-key-AbCdEf",
    "foundation/token_url": "https://pmp-0.auth.eu-west-1.amazoncognito.com/oauth2/token",
    "foundation/private_subnet_ids": "subnet-00000000000000000,subnet-11111111111111111",
    "clients/smoke": "0000000000000000000000000a",
}


class Plan(NamedTuple):
    """A plan of one layer in one environment.

    ``resources`` has the planned arguments by address; ``unknown`` has ``True`` for those known only after apply.
    """

    layer: str
    environment: str
    resources: dict[str, dict[str, Any]]
    unknown: dict[str, dict[str, Any]]


class TerraformError(Exception):
    """Terraform failed; the message is its error output."""


@contextlib.contextmanager
def emulated_account(directory: Path) -> Iterator[str]:
    """Run MiniStack on a free port, with the lower layers' parameters in its SSM; yield its URL.

    Args:
        directory: for its files; its log is ``ministack.log`` there.

    Raises:
        TimeoutError: it did not answer within a minute.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    settings = {
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": "eu-west-1",
        "PERSIST_STATE": "0",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "DOCKER_HOST": f"unix://{directory}/no-docker.sock",
    }
    with (directory / "ministack.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ministack"], cwd=directory, env=os.environ | settings, stdout=log, stderr=log
        )
        try:
            _wait(f"{address}/_ministack/ready", directory / "ministack.log")
            _seed(address)
            yield address
        finally:
            # MiniStack has nothing to save here. SIGTERM would make it wait for its clients first.
            process.kill()
            process.wait()


def _wait(address: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(address, timeout=5).close()
        except OSError:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(f"MiniStack did not answer within {_START_SECONDS} s, see {log}")


def _seed(address: str) -> None:
    session = boto3.Session(aws_access_key_id="none", aws_secret_access_key="none", region_name="eu-west-1")
    zone = session.client("route53", endpoint_url=address).create_hosted_zone(
        Name=_ACCOUNT["/pmp/account/hosted_zone_name"], CallerReference="tests"
    )["HostedZone"]["Id"]
    per_environment = {f"/pmp/{name}/{key}": value for name in ENVIRONMENTS for key, value in _FOUNDATION.items()}
    per_environment |= {
        f"/pmp/{name}/foundation/imports_bucket_name": f"pmp-{name}-imports-000000000000-eu-west-1"
        for name in ENVIRONMENTS
    }
    per_environment |= {
        f"/pmp/{name}/foundation/queue_url_by_name": json.dumps(
            {
                queue: f"https://sqs.eu-west-1.amazonaws.com/000000000000/pmp-{name}-{queue.replace('_', '-')}"
                for queue in ("jobs", "failed_jobs", "deliveries", "failed_events")
            }
        )
        for name in ENVIRONMENTS
    }
    per_environment |= {
        f"/pmp/account/{name}/permissions_boundary_arn": f"arn:aws:iam::000000000000:policy/pmp/pmp-{name}-boundary"
        for name in ENVIRONMENTS
    }
    ssm = session.client("ssm", endpoint_url=address)
    values = _ACCOUNT | {"/pmp/account/hosted_zone_id": zone.removeprefix("/hostedzone/")} | per_environment
    for name, value in values.items():
        ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)


class Planner:
    """Plans layers in a copy of the tree; ``planner`` creates it."""

    def __init__(self, tree: Path, environment: dict[str, str]) -> None:
        self._tree = tree
        self._environment = environment
        self._plans: dict[tuple[str, str], Plan] = {}
        self._documents: dict[tuple[str, str], dict[str, Any]] = {}
        self._schemas: dict[str, dict[str, dict[str, Any]]] = {}

    def prepare(self, change: Callable[[Path], None]) -> None:
        """Change the copied tree before its first plan."""
        change(self._tree)

    def _terraform(self, layer: str, *arguments: str, workspace: str = "default") -> str:
        done = subprocess.run(
            ["terraform", f"-chdir={self._tree / 'envs' / layer}", *arguments],
            env=self._environment | {"TF_WORKSPACE": workspace},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise TerraformError(done.stderr)
        return done.stdout

    def _initialize(self, layer: str) -> None:
        root = self._tree / "envs" / layer
        if not (root / ".terraform").exists():
            (root / "override.tf").write_text('terraform {\n  backend "local" {}\n}\n')
            # The committed lock file belongs to the real modules: other sources of modules may need other providers.
            (root / ".terraform.lock.hcl").unlink(missing_ok=True)
            self._terraform(layer, "init", "-input=false", "-no-color")

    def plan(self, layer: str, environment: str) -> Plan:
        """Return the plan of ``layer`` for ``environment``. Terraform plans each combination once.

        Raises:
            TerraformError: Terraform failed.
        """
        if (layer, environment) not in self._plans:
            self._plans[layer, environment] = read(layer, environment, self.document(layer, environment))
        return self._plans[layer, environment]

    def document(self, layer: str, environment: str) -> dict[str, Any]:
        """Return the plan as ``terraform show -json`` prints it, which names types, keys and versions, too."""
        if (layer, environment) not in self._documents:
            self._documents[layer, environment] = self._plan(layer, environment)
        return self._documents[layer, environment]

    def update(
        self, layer: str, environment: str, state: dict[str, Any], variables: dict[str, str], release: str
    ) -> dict[str, Any]:
        """Plan a change of a deployed layer without asking AWS for its resources; return the JSON document.

        Args:
            layer: as in ``LAYERS``.
            environment: as in ``ENVIRONMENTS``.
            state: what is deployed, as a state file of version 4.
            variables: new text by regular expression in the environment's var file; one without a match is left out.
            release: commit to deploy (40 hexadecimal digits).
        """
        text = (self._tree / f"envs/{environment}.tfvars").read_text()
        for pattern, new in variables.items():
            text = re.sub(pattern, new, text)
        changed, deployed = self._tree / "update.tfvars", self._tree / "update.tfstate"
        changed.write_text(text)
        deployed.write_text(json.dumps(state))
        more = (f"-var-file={changed}", f"-state={deployed}", "-refresh=false")
        return self._plan(layer, environment, more, release=release)

    def test(self, layer: str, environment: str, test: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Plan the layer in a Terraform test of one ``run`` block; return the planned arguments by address.

        Args:
            layer: as in ``LAYERS``.
            environment: as in ``ENVIRONMENTS``.
            test: the test file, in Terraform's JSON syntax.

        Raises:
            TerraformError: the test failed; the message is its first error.
        """
        self._initialize(layer)
        (self._tree / "envs" / layer / "planning.tftest.json").write_text(json.dumps(test))
        command = ["terraform", f"-chdir={self._tree / 'envs' / layer}", "test", "-filter=planning.tftest.json"]
        command += ["-json", "-verbose", *self._variables(layer, environment)]
        in_workspace = self._environment | {"TF_WORKSPACE": environment}
        done = subprocess.run(command, env=in_workspace, capture_output=True, text=True, check=False)
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        errors = [event["diagnostic"] for event in events if event.get("diagnostic", {}).get("severity") == "error"]
        if done.returncode:
            raise TerraformError("\n".join(_words(error) for error in errors) or done.stderr or done.stdout)
        [plan] = [event["test_plan"] for event in events if event["type"] == "test_plan"]
        return {
            change["address"]: change["change"]["after"]
            for change in plan["resource_changes"]
            if change["mode"] == "managed"
        }

    def schemas(self, layer: str) -> dict[str, dict[str, Any]]:
        """Return the schema of each resource type of the layer's providers, as ``providers schema -json`` prints it."""
        if layer not in self._schemas:
            self._initialize(layer)
            document = json.loads(self._terraform(layer, "providers", "schema", "-json"))
            self._schemas[layer] = {
                kind: schema["block"]
                for provider in document["provider_schemas"].values()
                for kind, schema in provider.get("resource_schemas", {}).items()
            }
        return self._schemas[layer]

    def refusal(self, layer: str, environment: str, changes: Mapping[str, object], platform: str = _PLATFORM) -> str:
        """Plan ``layer`` with changed settings of the environment, which must fail; return the error on one line.

        Args:
            layer: as in ``LAYERS``.
            environment: as in ``ENVIRONMENTS``.
            changes: new value by its path in the environment's variable file, such as ``foundation.network.nat``. They
                replace whatever a project has written there.
            platform: value of the variable ``platform``, in HCL.

        Raises:
            AssertionError: Terraform planned it without an error.
        """
        try:
            self.changed(layer, environment, changes, platform)
        except TerraformError as error:
            # Without the frame that Terraform draws around an error, and the line breaks in it.
            return " ".join(str(error).replace("│", " ").split())
        raise AssertionError(f"envs/{layer} was planned with {changes}")

    def changed(self, layer: str, environment: str, changes: Mapping[str, object], platform: str = _PLATFORM) -> Plan:
        """Plan ``layer`` with changed settings of the environment. Arguments: as of ``refusal``.

        Raises:
            TerraformError: Terraform failed.
        """
        settings = variables(environment)
        for path, value in changes.items():
            *above, name = path.split(".")
            place = settings
            for key in above:
                place = place[key]
            place[name] = value
        changed = self._tree / "changed.tfvars.json"
        changed.write_text(json.dumps(settings))
        return read(layer, environment, self._plan(layer, environment, (f"-var-file={changed}",), platform))

    def _variables(
        self,
        layer: str,
        environment: str,
        more: tuple[str, ...] = (),
        platform: str = _PLATFORM,
        release: str = "0" * 40,
    ) -> list[str]:
        variables = [f"-var-file=../{environment}.tfvars", *more, f"-var=platform={platform}"]
        if layer == "service":
            variables += [f"-var=release={release}", f"-var=code_sha256={release:0<64}"]
        return variables

    def _plan(
        self,
        layer: str,
        environment: str,
        more: tuple[str, ...] = (),
        platform: str = _PLATFORM,
        release: str = "0" * 40,
    ) -> dict[str, Any]:
        self._initialize(layer)
        variables = self._variables(layer, environment, more, platform, release)
        options = ("-input=false", "-no-color", "-lock=false", "-out=plan", *variables)
        self._terraform(layer, "plan", *options, workspace=environment)
        document: dict[str, Any] = json.loads(self._terraform(layer, "show", "-json", "plan"))
        return document


def _words(diagnostic: dict[str, Any]) -> str:
    place = diagnostic.get("address") or diagnostic.get("range", {}).get("filename", "")
    return ": ".join(part for part in (place, diagnostic["summary"], diagnostic.get("detail")) if part)


def read(layer: str, environment: str, document: dict[str, Any]) -> Plan:
    """Return the planned resources of a JSON document."""
    resources = {entry["address"]: entry.get("values", {}) for entry in entries(document["planned_values"])}
    changes = {entry["address"]: entry["change"].get("after_unknown") or {} for entry in document["resource_changes"]}
    return Plan(layer, environment, resources, {address: changes.get(address, {}) for address in resources})


def entries(values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the managed resources in the ``planned_values`` of a JSON document, each with its ``module``."""
    yield from _entries(values["root_module"], "")


def _entries(module: dict[str, Any], address: str) -> Iterator[dict[str, Any]]:
    for resource in module.get("resources", []):
        if resource["mode"] == "managed":
            yield resource | {"module": address}
    for child in module.get("child_modules", []):
        yield from _entries(child, child["address"])


@contextlib.contextmanager
def planner(account: str, *, modules: Path | None = STAND_INS) -> Iterator[Planner]:
    """Yield a planner that uses the stand-ins, or other modules.

    Args:
        account: URL of the emulated account.
        modules: folder of ``<namespace>/<name>/<provider>/<version>/``; None for the source that a deployment from here
            would use, which is a mirror, the public registry or the stand-ins.
    """
    with registry(modules) as environment, copied_tree("plans") as tree:
        yield Planner(tree, environment | {"AWS_ENDPOINT_URL": account})
