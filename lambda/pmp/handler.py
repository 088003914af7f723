"""The function's entry point: tells the kinds of event apart, and imports only what the kind needs."""

from typing import Any

from pmp import logging


def handler(event: dict[str, Any], context: Any) -> dict[str, Any] | None:
    """Answer one invocation.

    Args:
        event: an HTTP API request (payload version 2.0), an S3 notification, or ``{"task": …}``.
        context: Lambda's own, with ``aws_request_id`` and ``get_remaining_time_in_millis()``.

    Returns:
        An HTTP API response for a request, else nothing.

    Raises:
        ValueError: an event of no known kind. What goes wrong in a notification or task is raised, so that Lambda
            counts and retries it; what goes wrong in a request becomes a problem document.
    """
    request_id = getattr(context, "aws_request_id", "")
    if "http" in event.get("requestContext", {}):
        from pmp.http.router import answer

        return answer(event, request_id)
    task = event.get("task")
    logging.bind(request_id=request_id, task=task or "notification")
    try:
        _work(event, task, context)
    except Exception as error:
        logging.log("invocation failed", level="error", error=error)
        raise
    return None


def _work(event: dict[str, Any], task: str | None, context: Any) -> None:
    if task is None and ("Records" in event or event.get("Event") == "s3:TestEvent"):
        from pmp import imports

        imports.handle_notification(event, context)
    elif task == "refresh_vendors":
        from pmp import vendors

        vendors.refresh()
        vendors.report()
    elif task == "housekeeping":
        from pmp import housekeeping

        housekeeping.run(context)
    elif task == "import":
        from pmp import imports

        imports.run(event["job"], context)
    elif task == "export":
        from pmp import exports

        exports.run(event["job"], context)
    else:
        raise ValueError(f"event of unknown kind, keys {sorted(event)}: expected an HTTP request, S3 records or a task")
