"""POST /v1/check: may these users be contacted?"""

import json
from typing import Any

from pmp import addresses
from pmp.http.messages import Request, Response


def check_consents(request: Request, connection: Any) -> Response:
    """POST /v1/check: up to 1,000 pairs of user and consent, in one statement."""
    checks = [{**check, "user": _lookup_form(check["user"])} for check in request.body["checks"]]
    ((results,),) = connection.run("SELECT pmp.check_consents(:checks)", checks=json.dumps(checks))
    return Response(200, {"results": results})


def _lookup_form(user: dict[str, str]) -> dict[str, str]:
    return {"email": addresses.lookup_form(user["email"])} if "email" in user else user
