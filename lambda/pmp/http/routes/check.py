"""The question before every message: may we?"""

import json
from typing import Any

from pmp import email
from pmp.http.messages import Request, Response


def check_consents(request: Request, connection: Any) -> Response:
    """POST /v1/check: up to 1,000 pairs in one statement."""
    checks = [
        {**check, "user": {"email": email.sought(check["user"]["email"])}} if "email" in check["user"] else check
        for check in request.body["checks"]
    ]
    ((results,),) = connection.run("SELECT pmp.check_consents(:checks)", checks=json.dumps(checks))
    return Response(200, {"results": results})
