"""POST /v1/check: may these users be contacted?"""

import json
from typing import Any

from pmp import people
from pmp.http.limits import limits
from pmp.http.messages import Request, Response


def check_consents(request: Request, connection: Any) -> Response:
    """POST /v1/check: up to 1,000 pairs of user and consent, in one statement."""
    moments = limits(request.body, where="pointer")
    checks = [{**check, "user": _lookup_form(check["user"])} for check in request.body["checks"]]
    ((results,),) = connection.run(
        "SELECT pmp.check_consents(:checks, :as_of, :known_at)", checks=json.dumps(checks), **moments
    )
    # The users' ids are for the audit record alone.
    about = [user for result in results if (user := result.pop("user")) is not None]
    return Response(200, {"results": results}, about=about)


def _lookup_form(user: dict[str, Any]) -> dict[str, str]:
    name = people.asked(user)
    if name is None:
        return user
    return {"email": name.value} if name.kind == "email" else name._asdict()
