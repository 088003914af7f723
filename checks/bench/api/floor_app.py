"""The floor: the same SQL in one transaction over a bare pg8000 connection, and nothing around it."""

import json
import os
import ssl
from typing import Any

import pg8000.native

CONNECTION = pg8000.native.Connection(
    "pmp_app",
    host=os.environ["PMP_DATABASE_HOST"],
    port=int(os.environ["PMP_DATABASE_PORT"]),
    database="pmp",
    password="-",
    ssl_context=ssl.create_default_context(),
    timeout=10,
)


def handler(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """Answer a GET with a user, and any other request with a new event."""
    CONNECTION.run("BEGIN")
    if event["requestContext"]["http"]["method"] == "GET":
        ((document,),) = CONNECTION.run("SELECT pmp.get_user(:id)", id=event["rawPath"].rsplit("/", 1)[1])
    else:
        body = json.loads(event["body"])
        ((document,),) = CONNECTION.run(
            "SELECT pmp.create_event(gen_random_uuid(), :user, :choices, NULL, 'floor')",
            user=body["user"]["id"],
            choices=json.dumps(body["consents"]),
        )
    CONNECTION.run("COMMIT")
    status = 200 if event["requestContext"]["http"]["method"] == "GET" else 201
    return {"statusCode": status, "body": json.dumps(document)}
