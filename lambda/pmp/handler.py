"""The function's entry point: dispatches by kind of event, and imports only what that kind needs."""

import json
from typing import Any

from pmp import logging


def handler(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    """Answer one invocation.

    Args:
        event: an HTTP API request (payload version 2.0), one message of the jobs queue, which holds an S3 notification
            or a task on a job, one of the deliveries queue, or the ``{"task": …}`` of a schedule.
        context: Lambda's context object, with ``aws_request_id`` and ``get_remaining_time_in_millis()``.

    Returns:
        An HTTP API response for a request, otherwise None.

    Raises:
        ValueError: the event is of an unknown kind.
        Exception: a message or task failed; the queue, or Lambda, delivers it again. Errors of requests become problem
            documents instead.
    """
    request_id = getattr(context, "aws_request_id", "")
    if "http" in event.get("requestContext", {}):
        from pmp.http.router import answer

        return answer(event, request_id)
    logging.bind(request_id=request_id, task=event.get("task", "message"))
    try:
        if "Records" in event:
            (record,) = event["Records"]
            if record.get("eventSourceARN", "").endswith("-deliveries"):
                # A link of the chain that is lost comes from the schedule, not from the queue.
                _work(json.loads(record["body"]), request_id, context)
            else:
                from pmp import tasks

                with tasks.held(record) as message:
                    _work(message, request_id, context)
        else:
            _work(event, request_id, context)
    except Exception as error:
        logging.log("invocation failed", level="error", error=error)
        raise
    return None


def _work(event: dict[str, Any], request_id: str, context: Any) -> None:
    task = event.get("task")
    logging.bind(request_id=request_id, task=task or "notification")
    # S3 sends a test event when its notifications are set.
    if "Records" in event or event.get("Event") == "s3:TestEvent":
        from pmp import imports

        imports.handle_notification(event, context)
    elif task == "refresh_vendors":
        from pmp import database, vendors

        connection = database.verified()
        vendors.refresh(connection)
        vendors.report(connection)
    elif task == "housekeeping":
        from pmp import database, housekeeping

        housekeeping.run(database.verified(), context)
    elif task == "import":
        from pmp import imports

        imports.run(event["job"], context)
    elif task == "export":
        from pmp import database, exports

        exports.run(database.verified(), event["job"], context)
    elif task == "scheduled_export":
        from pmp import database, export_schedules

        export_schedules.run(database.verified(), event["schedule"])
    elif task == "deliver":
        from pmp import database
        from pmp.deliveries import dispatcher

        dispatcher.run(database.verified(), event["chain"], event["link"])
    elif task == "deliveries":
        from pmp import database
        from pmp.deliveries import dispatcher

        dispatcher.tick(database.verified())
    else:
        raise ValueError(
            f"unknown kind of event, keys {sorted(event)}: expected a request, a notification of S3 or a task"
        )
