"""Phone numbers and external ids in the bodies of requests."""

from typing import Any

from pmp import people
from pmp.http.problems import invalid


def new_identifiers(body: dict[str, Any], at: str) -> dict[str, str | None]:
    """The identifiers in ``phone`` and ``external_ids``, by kind, as they are stored; None removes one.

    Args:
        body: valid by the document.
        at: JSON Pointer to it.

    Raises:
        Problem: 422 for what a schema cannot say.
    """
    found: dict[str, str | None] = {}
    errors: list[dict[str, str]] = []
    if "phone" in body:
        try:
            found["phone"] = None if body["phone"] is None else people.normalize_phone(body["phone"])
        except ValueError as error:
            errors.append({"pointer": f"{at}/phone", "detail": str(error)})
    for namespace, value in (body.get("external_ids") or {}).items():
        try:
            found[f"external:{namespace}"] = value if value is None else people.external_id(value)
        except ValueError as error:
            errors.append({"pointer": f"{at}/external_ids/{namespace}", "detail": str(error)})
    if errors:
        raise invalid(errors)
    return found
