"""The alias by which everything invokes the function, and which versions serve it.

Terraform makes the alias and publishes a version with each change of the function. From then on only the commands of
this package move it, so that a plan after a release finds nothing to change (ADR 0610).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ops import aws
from ops.errors import UserError

NAME = "live"


@dataclass(frozen=True)
class Published:
    """A published version of the function.

    Attributes:
        number: Lambda's number; the first is 1, and none is given twice.
        date: when it was published, ISO 8601.
        release: the commit.
        code_sha256: SHA-256 of the zip in hexadecimal; ``unknown`` where Terraform packaged it.
    """

    number: str
    date: str
    release: str
    code_sha256: str


class Alias:
    """The alias of one function.

    Args:
        client: boto3's client of Lambda.
        function: the function's name.
    """

    def __init__(self, client: Any, function: str) -> None:
        self._client, self._function = client, function

    @classmethod
    def of(cls, environment: str) -> "Alias":
        """Return the alias of an environment's function.

        Raises:
            UserError: nothing is deployed there.
        """
        return cls(aws.client("lambda"), aws.parameter(f"/pmp/{environment}/service/function_name"))

    def weights(self) -> dict[str, float]:
        """Return the share of the invocations, from 0 to 1, by version: of one version, or of two during a canary.

        Raises:
            UserError: the function does not have this alias.
        """
        try:
            found = self._client.get_alias(FunctionName=self._function, Name=NAME)
        except self._client.exceptions.ResourceNotFoundException:
            raise UserError(
                f"the function {self._function} has no alias {NAME}: apply the layer 'service' first"
            ) from None
        added = dict(found.get("RoutingConfig", {}).get("AdditionalVersionWeights") or {})
        return {str(found["FunctionVersion"]): 1 - sum(added.values()), **added}

    def serving(self) -> str:
        """Return the version that serves, during a canary most of the invocations.

        Raises:
            UserError: the function does not have this alias.
        """
        return next(iter(self.weights()))

    def versions(self) -> list[Published]:
        """Return the published versions, newest first."""
        return sorted(self._published(), key=lambda version: int(version.number), reverse=True)

    def _published(self) -> Iterator[Published]:
        for page in self._client.get_paginator("list_versions_by_function").paginate(FunctionName=self._function):
            for one in page["Versions"]:
                if one["Version"] != "$LATEST":
                    variables = one.get("Environment", {}).get("Variables", {})
                    yield Published(
                        one["Version"],
                        one["LastModified"],
                        variables.get("PMP_RELEASE", "unknown"),
                        variables.get("PMP_CODE_SHA256", "unknown"),
                    )

    def newest(self) -> Published:
        """Return the newest version.

        Raises:
            UserError: none is published.
        """
        versions = self.versions()
        if not versions:
            raise UserError(f"the function {self._function} has no published version: apply the layer 'service' first")
        return versions[0]

    def split(self, version: str, share: float) -> None:
        """Give ``version`` a share of the invocations, from 0 to 1; the version that serves keeps the rest."""
        self._route(self.serving(), {version: share})

    def give_all(self, version: str | None = None) -> None:
        """Give all invocations to one version, by default to the newest."""
        number = version or self.newest().number
        if self.weights() != {number: 1}:
            self._route(number, {})

    def _route(self, version: str, added: dict[str, float]) -> None:
        for number in (version, *added):
            # A new version is pending while Lambda connects it to the network.
            # https://docs.aws.amazon.com/lambda/latest/dg/functions-states.html
            waiter = self._client.get_waiter("published_version_active")
            waiter.wait(FunctionName=self._function, Qualifier=number, WaiterConfig={"Delay": 1, "MaxAttempts": 300})
        self._client.update_alias(
            FunctionName=self._function,
            Name=NAME,
            FunctionVersion=version,
            RoutingConfig={"AdditionalVersionWeights": added},
        )
