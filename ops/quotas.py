"""Whether the account's quotas have room for a plan: asked before an apply, which they would stop half way.

A new account may run 10 Lambda functions at once and hold 5 Elastic IP addresses. AWS needs from minutes to days to
raise a quota, so the plan of the account layer says what all its environments will need.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from ops import aws
from ops.costs import variables
from ops.errors import UserError
from ops.output import say
from ops.settings import PROMOTED_ENVIRONMENTS, Target

UNRESERVED = 100
"""Executions that Lambda keeps for functions without a reservation.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html
"""


@dataclass(frozen=True)
class Room:
    """What a quota allows and what is taken of it, in this account and region."""

    quota: str
    """Name, as Service Quotas shows it."""
    service: str
    code: str
    default: int
    """What AWS gives to an account of some age. Service Quotas takes no request for less."""
    limit: int
    used: int
    users: str
    """What the used part is, in words."""

    def shortage(self, more: int, reason: str) -> str | None:
        """Return a sentence that says what is missing and how to request it; None if ``more`` fits.

        Args:
            more: what is needed in addition to what is used.
            reason: who needs it, as the subject of a clause.
        """
        needed = self.used + more
        if needed <= self.limit:
            return None
        return (
            f"the quota '{self.quota}' ({self.code}) is {self.limit} in {aws.region()}, but {needed} are needed: "
            f"{self.users}, and {reason} {more} more; request them, and plan again when AWS has granted them: "
            f"aws service-quotas request-service-quota-increase --service-code {self.service} "
            f"--quota-code {self.code} --desired-value {max(needed, self.default)} --region {aws.region()}"
        )


def concurrency(lambda_client: Any) -> Room:
    """Return the room for reserved concurrency; what Lambda keeps unreserved counts as taken."""
    limits = lambda_client.get_account_settings()["AccountLimit"]
    reserved = limits["ConcurrentExecutions"] - limits["UnreservedConcurrentExecutions"]
    return Room(
        quota="Concurrent executions",
        service="lambda",
        code="L-B99A9384",
        default=1000,
        limit=limits["ConcurrentExecutions"],
        used=reserved + UNRESERVED,
        users=f"{reserved} are reserved, Lambda keeps {UNRESERVED} unreserved",
    )


def addresses(ec2_client: Any) -> Room:
    """Return the room for Elastic IP addresses."""
    used = len(ec2_client.describe_addresses()["Addresses"])
    name = "vpc-max-elastic-ips"
    # All attributes, because botocore's model does not know the name of this one.
    answer = ec2_client.describe_account_attributes()["AccountAttributes"]
    [attribute] = [one for one in answer if one["AttributeName"] == name]
    return Room(
        quota="EC2-VPC Elastic IPs",
        service="ec2",
        code="L-0263D0A3",
        default=5,
        limit=int(attribute["AttributeValues"][0]["AttributeValue"]),
        used=used,
        users=f"{used} are allocated",
    )


def require(document: dict[str, Any]) -> None:
    """Refuse a plan that needs more than the account's quotas allow. Asks AWS only about what the plan adds.

    Args:
        document: the plan as Terraform's JSON.

    Raises:
        UserError: a quota is too small; the message names it and how to request more.
    """
    short = []
    if (more := growth(document, "aws_lambda_function", "reserved_concurrent_executions")) > 0:
        short.append(concurrency(aws.client("lambda")).shortage(more, "this plan reserves"))
    if (more := growth(document, "aws_eip")) > 0:
        short.append(addresses(aws.client("ec2")).shortage(more, "this plan allocates"))
    if sentences := [sentence for sentence in short if sentence]:
        raise UserError("; ".join(sentences))


def growth(document: dict[str, Any], kind: str, argument: str | None = None) -> int:
    """Return by how much a plan raises a number argument of a type's resources, or else their count."""

    def amount(values: dict[str, Any] | None) -> int:
        if values is None:
            return 0
        # A reservation of -1 or of nothing is none.
        return 1 if argument is None else max(values.get(argument) or 0, 0)

    return sum(
        amount(entry["change"].get("after")) - amount(entry["change"].get("before"))
        for entry in document.get("resource_changes", [])
        if entry["type"] == kind and entry.get("mode", "managed") == "managed"
    )


def announce(target: Target, document: dict[str, Any]) -> None:
    """Say at the plan of the account layer what its environments will need, because a request takes AWS a while.

    Args:
        target: what was planned; says nothing about another layer.
        document: the plan as Terraform's JSON.
    """
    if target.layer != "account":
        return
    environments = document.get("variables", {}).get("environments", {}).get("value") or PROMOTED_ENVIRONMENTS
    for sentence in missing(environments, aws.client("lambda"), aws.client("ec2")):
        say(f"warning: {sentence}", "yellow")


def missing(environments: Collection[str], lambda_client: Any, ec2_client: Any) -> Iterator[str]:
    """Yield a sentence for each quota that is too small for all of ``environments`` together."""
    settings = [variables(name) for name in sorted(environments)]
    reserved = sum(one["service"]["function"]["reserved_concurrency"] for one in settings)
    gateways = sum(
        {"none": 0, "single": 1, "per_zone": len(network["subnet_cidrs"]["private"])}[network["nat"]]
        for network in (one["foundation"]["network"] for one in settings)
    )
    who = f"the environments {', '.join(sorted(environments))} need"
    room = concurrency(lambda_client)
    # What they have already is part of what they need.
    taken = min(room.used - UNRESERVED, reserved)
    yield from filter(None, [room.shortage(reserved - taken, who)])
    room = addresses(ec2_client)
    yield from filter(None, [room.shortage(gateways - min(room.used, gateways), who)])
