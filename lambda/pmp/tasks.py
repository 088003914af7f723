"""Tasks: the function's work outside requests, which one invocation hands over to the next."""

import json
import os
from typing import Any

HAND_OVER_SECONDS = 60
"""An invocation hands its task over when it has less time left than this."""

MOST_INVOCATIONS = 1000
"""Invocations after which a task is given up: more than ten days at 900 s each."""


def begin(payload: dict[str, str], context: Any = None) -> None:
    """Start another invocation of this function that does a task, without waiting for it.

    Args:
        payload: ``{"task": "import"|"export", "job"}``, see ``pmp.handler``.
        context: Lambda's context object if a task is handed over: the same version of the function continues it.
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
