"""Deploy the two CloudFormation stacks that everything else needs: the state's key, then the state's bucket."""

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


def bootstrap() -> None:
    """Create or update both stacks; an unchanged stack is left alone.

    Raises:
        UserError: a stack failed; the message quotes CloudFormation's first reason.
    """
    deploy_stack("pmp-kms-key", _DIRECTORY / "kms-key.yml", {})
    key = aws.parameter("/pmp/bootstrap/kms_key_arn")
    deploy_stack("pmp-terraform-state", _DIRECTORY / "terraform-state.yml", {"KmsKeyArn": key})
    say(f"bootstrap: state bucket {aws.parameter('/pmp/bootstrap/state_bucket_name')} under {key}")


def deploy_stack(name: str, template: Path, parameters: dict[str, str]) -> None:
    """Create ``name`` from ``template``, or update it.

    Raises:
        UserError: the deployment failed, or the stack's status allows no update.
    """
    cloudformation = aws.client("cloudformation")
    request = {
        "StackName": name,
        "TemplateBody": template.read_text(),
        "Parameters": [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
    }
    status = _status(cloudformation, name)
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
