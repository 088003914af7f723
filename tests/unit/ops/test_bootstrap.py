"""Who may use the state's key: taken from the caller once, kept by updates, and refused where nobody is it."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops import bootstrap
from ops.errors import UserError

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Platform_0123"


class Aws:
    """STS, IAM and CloudFormation as far as the bootstrap asks them; what CloudFormation was told is kept."""

    def __init__(self, caller: str, *, stack: bool = False, roles: tuple[str, ...] = (ROLE,)) -> None:
        self.caller = caller
        self.stack = stack
        self.roles = {arn.rpartition("/")[2]: arn for arn in roles}
        self.told: dict[str, list[dict[str, Any]]] = {}

    def get_caller_identity(self) -> dict[str, str]:
        return {"Arn": self.caller}

    def get_role(self, RoleName: str) -> dict[str, Any]:  # noqa: N803 - boto3's own
        if RoleName not in self.roles:
            raise ClientError({"Error": {"Code": "NoSuchEntity", "Message": "none"}}, "GetRole")
        return {"Role": {"Arn": self.roles[RoleName]}}

    def describe_stacks(self, StackName: str) -> dict[str, Any]:  # noqa: N803
        if not self.stack:
            raise ClientError({"Error": {"Code": "ValidationError", "Message": f"{StackName} does not exist"}}, "X")
        return {"Stacks": [{"StackStatus": "UPDATE_COMPLETE"}]}

    def create_stack(self, **request: Any) -> None:
        self.told[request["StackName"]] = request["Parameters"]

    update_stack = create_stack

    def get_waiter(self, _: str) -> Any:
        class Waiter:
            def wait(self, **_: Any) -> None:
                pass

        return Waiter()


def run(monkeypatch: pytest.MonkeyPatch, aws: Aws, *arns: str) -> list[dict[str, Any]]:
    """Return the parameters that the key's stack was made with."""
    monkeypatch.setattr("ops.aws.client", lambda _: aws)
    monkeypatch.setattr("ops.aws.parameter", lambda _: "x")
    bootstrap.bootstrap(arns)
    return aws.told["pmp-kms-key"]


@pytest.mark.parametrize(
    ("caller", "administrator"),
    [
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/AWSReservedSSO_Platform_0123/me@example.com", ROLE),
        (f"arn:aws:iam::{ACCOUNT}:user/people/me", f"arn:aws:iam::{ACCOUNT}:user/people/me"),
        (f"arn:aws:iam::{ACCOUNT}:root", f"arn:aws:iam::{ACCOUNT}:root"),
    ],
)
def test_the_first_time_it_is_the_caller(monkeypatch: pytest.MonkeyPatch, caller: str, administrator: str) -> None:
    """A session's own ARN has neither the role's path nor a form that a key policy compares."""
    assert run(monkeypatch, Aws(caller)) == [{"ParameterKey": "AdministratorArns", "ParameterValue": administrator}]


def test_an_update_keeps_whom_the_stack_has(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, Aws(f"arn:aws:iam::{ACCOUNT}:root", stack=True)) == [
        {"ParameterKey": "AdministratorArns", "UsePreviousValue": True},
        {"ParameterKey": "ReaderAccountIds", "UsePreviousValue": True},
        {"ParameterKey": "AliasName", "UsePreviousValue": True},
    ]


def test_an_update_takes_whom_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    given = (ROLE, f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/*Administrator*")
    assert run(monkeypatch, Aws(f"arn:aws:iam::{ACCOUNT}:root", stack=True), *given) == [
        {"ParameterKey": "AdministratorArns", "ParameterValue": ",".join(given)},
        {"ParameterKey": "ReaderAccountIds", "UsePreviousValue": True},
        {"ParameterKey": "AliasName", "UsePreviousValue": True},
    ]


def test_accounts_that_read_code_are_named_to_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    aws = Aws(f"arn:aws:iam::{ACCOUNT}:root", stack=True)
    monkeypatch.setattr("ops.aws.client", lambda _: aws)
    monkeypatch.setattr("ops.aws.parameter", lambda _: "x")
    bootstrap.bootstrap((), ("222222222222", "333333333333"))
    told = {"ParameterKey": "ReaderAccountIds", "ParameterValue": "222222222222,333333333333"}
    assert told in aws.told["pmp-kms-key"]
    with pytest.raises(UserError, match="--reader-account prod is not the id of an account"):
        bootstrap.bootstrap((), ("prod",))


@pytest.mark.parametrize(
    ("caller", "given", "sentence"),
    [
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/Gone/me", (), "your session's role Gone is not found by iam:GetRole"),
        (f"arn:aws:sts::{ACCOUNT}:federated-user/me", (), "is neither a role nor a user"),
        ("root", (f"arn:aws:iam::{ACCOUNT}:role/Gone",), "role/Gone does not exist$"),
        (
            "root",
            (f"arn:aws:iam::{ACCOUNT}:role/AWSReservedSSO_Platform_0123",),
            f"does not exist; the role of that name is {ROLE}",
        ),
        ("root", (f"arn:aws:sts::{ACCOUNT}:assumed-role/x/me",), "is not the ARN of an IAM role, a user or the root"),
    ],
)
def test_whom_nobody_is_is_refused(
    monkeypatch: pytest.MonkeyPatch, caller: str, given: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        run(monkeypatch, Aws(caller), *given)
