"""Deploy all three layers of dev to moto, a second emulator of AWS: ``make moto``. It takes some ten minutes.

What MiniStack accepts by mistake, moto may refuse, such as malformed IAM documents. It enforces no policy and runs no
function. ``moto_gaps.yml`` lists what it lacks.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import yaml
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from checks.judges import FOLDER, install
from checks.stack import end_in_order, free_port
from checks.tree import registry
from local.environments import write_account_variables, write_platform_variables
from local.instance import PORTS_PER_INSTANCE, REGION, Instance, clean_environment
from local.servers.certificates import Authority
from ops import plans
from ops.settings import LAYERS, PROMOTED_ENVIRONMENTS, ROOT

GAPS = FOLDER / "moto_gaps.yml"
_START_SECONDS = 60


def filled() -> dict[str, str]:
    """Return why PMP needs each gap of moto filled, by its name."""
    return {entry["name"]: entry["reason"] for entry in yaml.safe_load(GAPS.read_text())["filled"]}


class CommandFailed(Exception):  # noqa: N818 - what happened, as a sentence's subject
    """A command of ``ops`` failed; the message is its output."""


@dataclass(frozen=True)
class Moto:
    """A running moto, and the environment variables of tools that use it as an administrator."""

    instance: Instance
    variables: dict[str, str]
    notes: Path

    def ops(self, *arguments: str) -> str:
        """Run ``python -m ops …`` and return its output.

        Raises:
            CommandFailed: it failed.
        """
        done = subprocess.run(
            [sys.executable, "-m", "ops", *arguments],
            cwd=ROOT,
            env=self.variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CommandFailed(f"ops {' '.join(arguments)}:\n{done.stdout}")
        return done.stdout

    def apply(self, layer: str, environment: str) -> int:
        """Plan and apply a layer; return the number of resources that were added.

        Raises:
            CommandFailed: moto refused something.
        """
        plan = str(self.instance.build / "plans" / layer)
        self.ops("plan", layer, "--environment", environment, "--out", plan)
        added = re.search(r"(\d+) added", self.ops("apply", layer, "--environment", environment, "--plan", plan))
        return int(added[1]) if added else 0

    def require_no_change(self, layer: str, environment: str) -> None:
        """Plan an applied layer again.

        Raises:
            CommandFailed: the plan shows a change that is not listed.
        """
        plan = str(self.instance.build / "plans" / f"{layer}-again")
        self.ops("plan", layer, "--environment", environment, "--refuse-changes", "--out", plan)

    def refusal_of_policy(self, document: Mapping[str, Any]) -> str:
        """Return the code with which moto refuses an IAM policy; empty if it takes it."""
        try:
            self.client("iam").create_policy(PolicyName="refused", PolicyDocument=json.dumps(document))
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return ""

    def client(self, service: str) -> Any:
        """Return a boto3 client of the administrator."""
        return _client(self.instance, service, self.variables)

    def met(self) -> set[str]:
        """Return the names of the gaps that were met so far."""
        return set(self.notes.read_text().split()) if self.notes.exists() else set()


@contextlib.contextmanager
def running(directory: Path, environment: str) -> Iterator[Moto]:
    """Run moto with TLS on a free port, and write the Terraform variables for it.

    Args:
        directory: for its files; its log is ``moto/logs/moto.log`` there.
        environment: the environment whose layers will be deployed.

    Raises:
        TimeoutError: it did not answer within a minute.
    """
    instance = Instance("moto", free_port(PORTS_PER_INSTANCE), directory)
    instance.logs.mkdir(parents=True)
    certificate = Authority(instance.ca_file.parent).issue("aws", ["localhost"], ["127.0.0.1"])
    write_account_variables(instance)
    write_platform_variables(instance, environment)
    shutil.copy(GAPS, instance.platform_directory / plans.UNCHANGED_PLAN)
    notes = instance.directory / "gaps"
    settings = {"PMP_MOTO_GAPS": str(notes), "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
    command = [install(), FOLDER / "run_moto.py", instance.aws_port, certificate.cert_path, certificate.key_path]
    log = instance.logs / "moto.log"
    with log.open("w") as output, registry() as tools:
        process = subprocess.Popen(list(map(str, command)), env=os.environ | settings, stdout=output, stderr=output)
        try:
            variables = clean_environment() | instance.tool_environment(environment)
            variables |= {"TF_CLI_CONFIG_FILE": tools["TF_CLI_CONFIG_FILE"]} | _administrator(instance, log)
            yield Moto(instance, variables, notes)
        finally:
            process.kill()
            process.wait()


def _client(instance: Instance, service: str, keys: Mapping[str, str]) -> Any:
    return boto3.client(  # type: ignore[call-overload]
        service,
        endpoint_url=instance.aws_url,
        verify=str(instance.ca_file),
        region_name=REGION,
        aws_access_key_id=keys["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=keys["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 1}),
    )


def _administrator(instance: Instance, log: Path) -> dict[str, str]:
    """Wait for moto, and return the access key of a new user: without one, moto's caller has no usable ARN."""
    iam = _client(instance, "iam", {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"})
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            iam.create_user(UserName="administrator")
            break
        except BotoCoreError:
            if time.monotonic() > deadline:
                raise TimeoutError(f"moto did not answer within {_START_SECONDS} s, see {log}") from None
            time.sleep(0.5)
    key = iam.create_access_key(UserName="administrator")["AccessKey"]
    return {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}


def main() -> None:
    """Print what each layer added; exit 1 when moto refused something or a listed gap was not met."""
    end_in_order()
    environment, faults = PROMOTED_ENVIRONMENTS[0], list[str]()
    with tempfile.TemporaryDirectory(prefix="pmp-moto-") as name, running(Path(name), environment) as moto:
        try:
            moto.ops("bootstrap")
            for layer in LAYERS:
                if layer == "service":
                    moto.ops("package")
                    moto.ops("publish")
                started = time.monotonic()
                added = moto.apply(layer, environment)
                print(f"{layer}: {added} resources in {time.monotonic() - started:.0f} s", flush=True)
                try:
                    moto.require_no_change(layer, environment)
                except CommandFailed as error:
                    faults.append(str(error))
        except CommandFailed as error:
            sys.exit(f"error: {error}")
        met = moto.met()
    faults += [f"{one} of {GAPS.name} is not needed any more" for one in sorted(set(filled()) - met)]
    print(f"{len(met)} of {len(filled())} gaps that are filled were met, {len(faults)} faults")
    if faults:
        sys.exit("error: " + "\nerror: ".join(faults))


if __name__ == "__main__":
    main()
