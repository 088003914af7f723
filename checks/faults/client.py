"""A client of the deployed API, in the place of an execution environment: see ``checks.load.fleet``.

Its ``handler`` sends the request that a payload of API Gateway describes, and returns what came back as a function's
answer. ``PMP_CLIENT_ADDRESS`` is the API's address and port, ``SSL_CERT_FILE`` its certificate authority.
"""

import http.client
import os
import ssl
from typing import Any

_SECONDS = 30
"""As long as an HTTP API waits for its function, and a little longer."""


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Send one request over a connection of its own.

    Raises:
        OSError: nobody answered.
        http.client.HTTPException: what came back is not HTTP.
    """
    address, port = os.environ["PMP_CLIENT_ADDRESS"].rsplit(":", 1)
    context = ssl.create_default_context()  # honors SSL_CERT_FILE
    connection = http.client.HTTPSConnection(address, int(port), timeout=_SECONDS, context=context)
    query = event["rawQueryString"]
    target = event["rawPath"] + (f"?{query}" if query else "")
    try:
        body = event.get("body")
        connection.request(event["requestContext"]["http"]["method"], target, body, event["headers"])
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    finally:
        connection.close()
    headers = {"Retry-After": answer.getheader("Retry-After", "")}
    return {"statusCode": answer.status, "headers": headers, "body": text}
