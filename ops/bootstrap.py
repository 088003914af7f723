"""Deploy the two CloudFormation stacks under everything else: the state's key, then the state's bucket.

Nobody decrypts by administering the key. Those who apply the account layer, and so read its state, are a parameter of
the key's stack: by default the role or user that runs this for the first time.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError, WaiterError

from ops import aws
from ops.errors import UserError
from ops.output import say, step
from ops.settings import ROOT

_DIRECTORY = ROOT / "bootstrap"
_POLL = {"Delay": 5, "MaxAttempts": 120}
_POLL_EMULATED = {"Delay": 1, "MaxAttempts": 60}


def bootstrap(administrator_arns: Sequence[str] = (), reader_accounts: Sequence[str] = ()) -> None:
    """Create or update both stacks; changes nothing where nothing changed.

    Args:
        administrator_arns: principals that apply the account layer, wildcards allowed. Without any, those of the stack
            are kept, or the caller is taken where there is no stack yet.
        reader_accounts: ids of other accounts that deploy the code of this account's deployment bucket. Without any,
            those of the stack are kept.

    Raises:
        UserError: a principal does not exist, or a stack failed; the message holds CloudFormation's first reason.
    """
    name = "pmp-kms-key"
    for arn in administrator_arns:
        _require_principal(arn)
    administrators = list(administrator_arns)
    if not administrators and _status(aws.client("cloudformation"), name) is None:
        administrators = [own_principal_arn()]
    for account in reader_accounts:
        if not re.fullmatch(r"\d{12}", account):
            raise UserError(f"--reader-account {account} is not the id of an account: give its twelve digits")
    given = {"AdministratorArns": administrators, "ReaderAccountIds": reader_accounts}
    parameters = {key: ",".join(values) for key, values in given.items() if values}
    kept = ("AdministratorArns", "ReaderAccountIds", "AliasName")
    deploy_stack(name, _DIRECTORY / "kms-key.yml", parameters, kept=kept)
    key = aws.parameter("/pmp/bootstrap/kms_key_arn")
    deploy_stack("pmp-terraform-state", _DIRECTORY / "terraform-state.yml", {"KmsKeyArn": key})
    say(f"bootstrap: state bucket {aws.parameter('/pmp/bootstrap/state_bucket_name')} under {key}")


def own_principal_arn() -> str:
    """Return the ARN of the caller's role or user as key policies compare it: with its path, without a session.

    Raises:
        UserError: the caller is neither, or its role cannot be looked up.
    """
    arn = str(aws.client("sts").get_caller_identity()["Arn"])
    session = re.fullmatch(r"arn:[^:]+:sts::\d{12}:assumed-role/([^/]+)/[^/]+", arn)
    if session:
        found = _role_arn(session[1])
        if found is None:
            raise UserError(
                f"your session's role {session[1]} is not found by iam:GetRole, which tells its path: name it by "
                "--administrator-arn arn:aws:iam::<account>:role/<path>/<name>"
            )
        return found
    if re.fullmatch(r"arn:[^:]+:iam::\d{12}:(root|user/.+)", arn):
        return arn
    raise UserError(
        f"{arn} is neither a role nor a user: name those who apply the account layer by --administrator-arn"
    )


def _require_principal(arn: str) -> None:
    """Refuse an administrator that no caller will ever be.

    Raises:
        UserError: it is not the ARN of a role, a user or the root, or there is no such role.
    """
    match = re.fullmatch(r"arn:[^:]+:iam::(?:\d{12}|\*):(root|(?:role|user)/\S+)", arn)
    if not match:
        raise UserError(
            f"--administrator-arn {arn} is not the ARN of an IAM role, a user or the root: a session's role is written "
            "arn:aws:iam::<account>:role/<path>/<name>"
        )
    if match[1].startswith("role/") and not set("*?") & set(arn):
        found = _role_arn(match[1].rpartition("/")[2])
        if found != arn:
            known = f"; the role of that name is {found}" if found else ""
            raise UserError(f"--administrator-arn {arn} does not exist{known}")


def _role_arn(name: str) -> str | None:
    """Return the ARN of a role, path included; None where there is none or it may not be read."""
    try:
        return str(aws.client("iam").get_role(RoleName=name)["Role"]["Arn"])
    except ClientError as error:
        if aws.error_code(error) in {"NoSuchEntity", "AccessDenied"}:
            return None
        raise


def deploy_stack(name: str, template: Path, parameters: dict[str, str], *, kept: Sequence[str] = ()) -> None:
    """Create ``name`` from ``template``, or update it.

    Args:
        name: of the stack.
        template: its file.
        parameters: values by the template's parameters.
        kept: parameters that an update leaves as they are where ``parameters`` has none: without a word
            CloudFormation would set them back to their defaults.

    Raises:
        UserError: the deployment failed, or the stack's status allows no update.
    """
    cloudformation = aws.client("cloudformation")
    request: dict[str, Any] = {
        "StackName": name,
        "TemplateBody": template.read_text(),
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
    }
    status = _status(cloudformation, name)
    if status is not None:
        request["Parameters"] += [
            {"ParameterKey": key, "UsePreviousValue": True} for key in kept if key not in parameters
        ]
    if status in {"ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"}:
        raise UserError(f"stack {name} is in {status}, so its creation failed: delete it and run again")
    with step(f"stack {name} from bootstrap/{template.name}"):
        if status is None:
            cloudformation.create_stack(**request, OnFailure="DELETE")
            _wait(cloudformation, "stack_create_complete", name)
        elif _update(cloudformation, request):
            _wait(cloudformation, "stack_update_complete", name)


def _status(cloudformation: Any, name: str) -> str | None:
    try:
        status = cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return None if status == "DELETE_COMPLETE" else str(status)


def _update(cloudformation: Any, request: dict[str, Any]) -> bool:
    try:
        cloudformation.update_stack(**request)
    except ClientError as error:
        if "No updates are to be performed" in str(error):
            return False
        raise
    return True


def _wait(cloudformation: Any, waiter: str, name: str) -> None:
    try:
        cloudformation.get_waiter(waiter).wait(
            StackName=name, WaiterConfig=_POLL_EMULATED if aws.is_emulated() else _POLL
        )
    except WaiterError as error:
        reason = _first_failure(cloudformation, name) or str(error)
        raise UserError(f"stack {name} failed: {reason}") from error


def _first_failure(cloudformation: Any, name: str) -> str:
    try:
        events = cloudformation.describe_stack_events(StackName=name)["StackEvents"]
    except ClientError:
        return ""
    failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
    if not failed:
        return ""
    first = failed[-1]  # events come newest first
    return f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', first['ResourceStatus'])}"
