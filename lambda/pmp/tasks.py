"""Tasks: the function's work outside requests. Those on jobs come from a queue that invokes a few at a time (ADR 0312).

A message names an uploaded object or a job. The database knows how far a job is and who works on it, so a message that
comes twice, late or again changes nothing.
"""

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from pmp.configuration import configuration
from pmp.logging import log

HAND_OVER_SECONDS = 60
"""An invocation hands its task over when it has less time left than this."""

MOST_INVOCATIONS = 1000
"""Invocations after which a task is given up: more than ten days at 900 s each."""

HOLD_SECONDS = 100
"""How long the queue keeps a message from others after the last beat of the invocation that works on it.

Longer than a beat, a lease and a statement together: when the message of a killed invocation comes back, the lease on
its job has ended.
"""

BEAT_SECONDS = 20

LONGEST_PAUSE_SECONDS = 900

_MOST_MESSAGES = 10
"""In one request: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html."""


@lru_cache(maxsize=1)
def _queue() -> Any:
    import boto3

    return boto3.client("sqs")


def begin(payload: dict[str, str]) -> None:
    """Send a task to the queue: another invocation does it.

    Args:
        payload: ``{"task": "import"|"export", "job"}``, see ``pmp.handler``.
    """
    _queue().send_message(QueueUrl=configuration().jobs_queue_url, MessageBody=json.dumps(payload))


def begin_all(payloads: Sequence[dict[str, str]]) -> None:
    """As ``begin``, for many tasks.

    Raises:
        RuntimeError: the queue did not take all of them.
    """
    for first in range(0, len(payloads), _MOST_MESSAGES):
        entries = [
            {"Id": str(place), "MessageBody": json.dumps(payload)}
            for place, payload in enumerate(payloads[first : first + _MOST_MESSAGES])
        ]
        answer = _queue().send_message_batch(QueueUrl=configuration().jobs_queue_url, Entries=entries)
        if failed := answer.get("Failed"):
            raise RuntimeError(f"the queue refused {len(failed)} messages: {failed[0].get('Code')}")


@contextmanager
def held(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Work on a message, and keep it from other invocations as long as this process lives.

    If the process is killed, the queue delivers the message again within ``HOLD_SECONDS``. The queue's own visibility
    timeout is many times longer, because AWS wants it to outlast the function's.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html

    Args:
        record: ``{"body", "receiptHandle", "attributes": {"ApproximateReceiveCount"}, …}``, of an SQS event.

    Yields:
        The body, parsed.

    Raises:
        Exception: what the work raised. The message comes back after a pause that doubles each time, from one minute
            to a quarter of an hour.
    """
    ended = threading.Event()

    def beat() -> None:
        while True:
            _hide(record, HOLD_SECONDS)
            if ended.wait(BEAT_SECONDS):
                return

    heart = threading.Thread(target=beat, daemon=True)
    heart.start()
    try:
        yield json.loads(record["body"])
    except Exception:
        ended.set()
        heart.join()
        received = int(record["attributes"]["ApproximateReceiveCount"])
        _hide(record, min(60 << min(received - 1, 4), LONGEST_PAUSE_SECONDS))
        raise
    finally:
        ended.set()
        heart.join()


def _hide(record: dict[str, Any], seconds: int) -> None:
    try:
        _queue().change_message_visibility(
            QueueUrl=configuration().jobs_queue_url, ReceiptHandle=record["receiptHandle"], VisibilityTimeout=seconds
        )
    except Exception as error:  # noqa: BLE001 - the queue's own visibility timeout still holds
        log("message not hidden", level="warning", error=error)


def is_late(context: Any) -> bool:
    """Whether it is time to hand over."""
    return bool(context.get_remaining_time_in_millis() < HAND_OVER_SECONDS * 1000)
