"""A client that reads and writes without a pause: ``python -m tests.pipeline.load`` with a stack's variables.

It works until its standard input ends, so the caller decides how long. It prints to standard error, because the
function logs to standard output: first "ready", then a JSON object with the number of answers, the slowest round of
two requests in seconds, and every answer that was not a success.
"""

import json
import select
import sys
import time
import uuid

from checks.gateway import Gateway


def main() -> None:
    """Work until standard input ends."""
    api = Gateway()
    user = api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"]
    print("ready", file=sys.stderr, flush=True)
    answers, slowest, failures = 0, 0.0, list[str]()
    while not select.select([sys.stdin], [], [], 0)[0]:
        started = time.monotonic()
        for answer in (
            api.get(f"/v1/users/{user}"),
            api.post("/v1/events", {"user": {"id": user}, "consents": [{"id": "sms_notifications", "enabled": True}]}),
        ):
            answers += 1
            if answer.status not in {200, 201}:
                failures.append(f"{answer.status} {answer.content!r}")
        slowest = max(slowest, time.monotonic() - started)
    print(json.dumps({"answers": answers, "slowest": slowest, "failures": failures}), file=sys.stderr)


if __name__ == "__main__":
    main()
