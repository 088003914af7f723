"""Plans are refused before AWS refuses their apply: Lambda's concurrency and Elastic IP addresses of the account."""

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from ops import aws, costs, quotas
from ops.errors import UserError
from ops.settings import PROMOTED_ENVIRONMENTS, Target


class Account:
    """An account's clients with answers of the forms that AWS gives; botocore checks the forms."""

    def __init__(self) -> None:
        self.stubbers: dict[str, Stubber] = {}

    def client(self, service: str) -> Any:
        assert service in self.stubbers, f"the check asks {service} for nothing that the plan adds"
        return self.stubbers[service].client

    def lambda_allows(self, limit: int, reserved: int = 0) -> None:
        limits = {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": limit - reserved}
        self._stub("lambda").add_response("get_account_settings", {"AccountLimit": limits})

    def ec2_allows(self, limit: int, taken: int = 0) -> None:
        stubber = self._stub("ec2")
        addresses = [{"AllocationId": f"eipalloc-{number}"} for number in range(taken)]
        stubber.add_response("describe_addresses", {"Addresses": addresses})
        attributes = {"default-vpc": "none", "vpc-max-elastic-ips": str(limit)}
        answer = [
            {"AttributeName": name, "AttributeValues": [{"AttributeValue": value}]}
            for name, value in attributes.items()
        ]
        stubber.add_response("describe_account_attributes", {"AccountAttributes": answer}, {})

    def _stub(self, service: str) -> Stubber:
        client = boto3.client(  # type: ignore[call-overload]
            service, region_name="eu-west-1", aws_access_key_id="none", aws_secret_access_key="none"
        )
        self.stubbers[service] = Stubber(client)
        self.stubbers[service].activate()
        return self.stubbers[service]


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    found = Account()
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setattr(aws, "client", found.client)
    yield found
    for stubber in found.stubbers.values():
        stubber.assert_no_pending_responses()


def plan(*changes: tuple[str, dict[str, Any] | None, dict[str, Any] | None]) -> dict[str, Any]:
    """Return a plan document of (type, before, after)."""
    return {
        "resource_changes": [
            {"type": kind, "mode": "managed", "change": {"before": before, "after": after}}
            for kind, before, after in changes
        ]
    }


def function(before: int | None, after: int | None) -> tuple[str, dict[str, Any] | None, dict[str, Any] | None]:
    values = [None if number is None else {"reserved_concurrent_executions": number} for number in (before, after)]
    return ("aws_lambda_function", values[0], values[1])


NEW_ADDRESS = ("aws_eip", None, {"domain": "vpc"})


def test_plan_without_more_of_anything_asks_nothing(account: Account) -> None:
    quotas.require(plan(function(20, 20), ("aws_eip", {}, {}), ("aws_eip", {}, None), ("aws_vpc", None, {})))
    quotas.require(plan(function(200, 20)))
    assert not account.stubbers


def test_new_account_refuses_reserved_concurrency(account: Account) -> None:
    account.lambda_allows(10)
    with pytest.raises(UserError) as refused:
        quotas.require(plan(function(None, 20)))
    assert str(refused.value) == (
        "the quota 'Concurrent executions' (L-B99A9384) is 10 in eu-west-1, but 120 are needed: 0 are reserved, Lambda "
        "keeps 100 unreserved, and this plan reserves 20 more; request them, and plan again when AWS has granted them: "
        "aws service-quotas request-service-quota-increase --service-code lambda --quota-code L-B99A9384 "
        "--desired-value 1000 --region eu-west-1"
    )


@pytest.mark.parametrize(("reserved", "fits"), [(700, True), (701, False)])
def test_reservations_of_the_whole_account_and_a_hundred_more_must_fit(
    account: Account, reserved: int, *, fits: bool
) -> None:
    account.lambda_allows(1000, reserved)
    if fits:
        quotas.require(plan(function(None, 200)))
    else:
        with pytest.raises(UserError, match=r"1001 are needed: 701 are reserved, .* reserves 200 more.*-value 1001"):
            quotas.require(plan(function(None, 200)))


def test_only_the_growth_of_a_reservation_counts(account: Account) -> None:
    account.lambda_allows(1000, reserved=850)
    quotas.require(plan(function(150, 200)))


def test_removed_reservation_makes_room(account: Account) -> None:
    quotas.require(plan(function(20, -1), function(None, 20)))
    assert not account.stubbers


@pytest.mark.parametrize(("taken", "fits"), [(2, True), (3, False)])
def test_addresses_of_the_whole_account_must_fit(account: Account, taken: int, *, fits: bool) -> None:
    account.ec2_allows(5, taken)
    document = plan(NEW_ADDRESS, NEW_ADDRESS, NEW_ADDRESS)
    if fits:
        quotas.require(document)
    else:
        with pytest.raises(UserError, match=r"Elastic IPs' \(L-0263D0A3\) is 5 .* but 6 .*: 3 are allocated, .* ec2"):
            quotas.require(document)


def test_plan_names_every_quota_that_is_too_small(account: Account) -> None:
    account.lambda_allows(10)
    account.ec2_allows(5, taken=5)
    with pytest.raises(UserError, match=r"L-B99A9384.*; the quota.*L-0263D0A3"):
        quotas.require(plan(function(None, 20), NEW_ADDRESS))


def test_account_layer_announces_what_its_environments_need(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.lambda_allows(10)
    account.ec2_allows(5, taken=1)
    quotas.announce(Target("account", ""), {"variables": {"environments": {"value": None}}})
    lines = capsys.readouterr().out.splitlines()
    reserved = sum(
        costs.variables(name)["service"]["function"]["reserved_concurrency"] for name in PROMOTED_ENVIRONMENTS
    )
    assert len(lines) == 1, "five addresses are enough for all environments; the one in use is one of them"
    assert lines[0].startswith("warning: the quota 'Concurrent executions'")
    assert f"the environments dev, prod, staging need {reserved} more" in lines[0]
    assert f"but {reserved + 100} are needed" in lines[0]


def test_account_layer_of_one_environment_needs_less(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.lambda_allows(200)
    account.ec2_allows(5)
    quotas.announce(Target("account", ""), {"variables": {"environments": {"value": ["dev"]}}})
    assert capsys.readouterr().out == ""


def test_other_layers_announce_nothing(account: Account) -> None:
    quotas.announce(Target("service", "dev"), {})
    assert not account.stubbers
