"""The identities that plan and apply can read the account's quotas, and the numbers follow what is deployed."""

from typing import Any

import pytest

from ops import quotas
from tests.infra.service.conftest import Enforced


@pytest.mark.parametrize("identity", ["gitlab-dev", "gitlab-plan-dev"])
def test_identity_reads_the_room_for_reserved_concurrency(enforced: Enforced, identity: str) -> None:
    room = quotas.concurrency(enforced.client(identity, "lambda"))
    assert (room.limit, room.used) == (1000, quotas.UNRESERVED)


@pytest.mark.parametrize("identity", ["gitlab-dev", "gitlab-plan-dev"])
def test_identity_reads_the_room_for_addresses(enforced: Enforced, identity: str) -> None:
    before = quotas.addresses(enforced.client(identity, "ec2"))
    allocated: dict[str, Any] = enforced.client("admin", "ec2").allocate_address(Domain="vpc")
    after = quotas.addresses(enforced.client(identity, "ec2"))
    enforced.client("admin", "ec2").release_address(AllocationId=allocated["AllocationId"])
    assert after.used == before.used + 1
    # All of PMP's environments may share the emulated account.
    assert after.limit == 20
