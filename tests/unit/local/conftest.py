import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from local import processes, services
from local.account import Account
from local.instance import Instance
from local.servers.certificates import Authority


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
    base = next(base for base in iter(lambda: random.randrange(20000, 24000, 40), None) if _all_free(base))
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
