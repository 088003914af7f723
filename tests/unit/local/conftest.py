import os
import random
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from local import processes, services
from local.account import Account
from local.instance import Instance
from local.servers.certificates import Authority

if TYPE_CHECKING:
    import boto3


def _all_free(base: int) -> bool:
    for port in range(base, base + 40):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    # The processes of pytest-xdist take turns, because a base stays free until its instance starts something.
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes_in_all = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    bases = range(20000 + 40 * process, 24000, 40 * processes_in_all)
    base = next(base for base in random.sample(bases, len(bases)) if _all_free(base))
    chosen = Instance("trial", base, tmp_path)
    chosen.directory.mkdir()
    yield chosen
    for path in services.records(chosen).glob("*.json"):
        processes.stop(path.parent, path.stem)


@pytest.fixture
def account(instance: Instance) -> Account:
    """A running, empty MiniStack."""
    Authority(instance.ca_file.parent)
    account = Account(instance)
    account.start()
    return account


def make_proxy(session: "boto3.Session", name: str) -> None:
    """Make an RDS Proxy without a target, with a network of its own."""
    ec2 = session.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"eu-west-1{zone}")["Subnet"]
        for number, zone in enumerate("ab")
    ]
    session.client("rds").create_db_proxy(
        DBProxyName=name,
        EngineFamily="POSTGRESQL",
        Auth=[{"AuthScheme": "SECRETS", "SecretArn": "arn:aws:secretsmanager:eu-west-1:000000000000:secret:x"}],
        RoleArn="arn:aws:iam::000000000000:role/x",
        VpcSubnetIds=[subnet["SubnetId"] for subnet in subnets],
    )
