"""The body of a message: a batch of CloudEvents 1.0 in JSON.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md#4-json-batch-format
"""

import json
from typing import Any

CONTENT_TYPE = "application/cloudevents-batch+json; charset=utf-8"
MOST = 100
"""Changes in a message."""


def body(items: list[dict[str, Any]], api_url: str) -> bytes:
    """The changes as CloudEvents.

    Args:
        items: ``{"id", "type", "subject", "time", "data", "place"}``, as ``pmp.told_events`` returns them.
        api_url: the API's address, the source of all of them.
    """
    return json.dumps([_event(item, api_url) for item in items], ensure_ascii=False, separators=(",", ":")).encode()


def _event(item: dict[str, Any], api_url: str) -> dict[str, Any]:
    number, sequence = item["place"]
    return {
        "specversion": "1.0",
        "id": item["id"],
        "source": f"{api_url}/v1",
        "type": f"pmp.{item['type']}",
        "subject": item["subject"],
        "time": item["time"],
        "datacontenttype": "application/json",
        # An extension: https://github.com/cloudevents/spec/blob/main/cloudevents/extensions/sequence.md. It compares as
        # text in the order of the feed.
        "sequence": f"{number:019}.{sequence:019}",
        "data": item["data"],
    }
