"""Tasks: the function's work outside of requests, which one invocation hands over to the next."""

import json
import os
from typing import Any

HAND_OVER_SECONDS = 60
"""Time left of an invocation at which it passes its task on."""

MOST_INVOCATIONS = 1000
"""Invocations after which a task is given up; at 900 s each, more than ten days."""


def begin(payload: dict[str, str], context: Any = None) -> None:
    """Have a fresh invocation of this function do a task, without waiting for it.

    Args:
        payload: ``{"task": "import"|"export", "job"}``, see ``pmp.handler``.
        context: Lambda's, where the task follows another one: the same version of the function does it.
    """
    import boto3

    boto3.client("lambda").invoke(
        FunctionName=getattr(context, "invoked_function_arn", None) or os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        InvocationType="Event",
        Payload=json.dumps(payload).encode(),
    )


def is_late(context: Any) -> bool:
    """Whether it is time to hand over."""
    return bool(context.get_remaining_time_in_millis() < HAND_OVER_SECONDS * 1000)
