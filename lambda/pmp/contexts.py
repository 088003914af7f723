"""The context of an event, the proof of its choices: one rule for the API and for imports."""

import json
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

from pmp.schema import Errors
from pmp.specification import SCHEMAS

LARGEST_BYTES = 8192
"""Of a context as JSON, in UTF-8 and without blanks."""

_SCHEMA = {"$ref": "#/components/schemas/NewContext"}


def written(context: dict[str, Any]) -> str:
    """The context as JSON, the same for equal contexts."""
    return json.dumps(context, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def errors(context: Any, at: str) -> Errors:
    """What is wrong with a context; empty if nothing is.

    Args:
        context: parsed from JSON.
        at: JSON Pointer to it.
    """
    return SCHEMAS.errors(context, _SCHEMA, at) or further_errors(context, at)


def further_errors(context: dict[str, Any], at: str) -> Errors:
    """What its schema cannot say, of a context that is valid by the schema."""
    if len(written(context).encode()) > LARGEST_BYTES:
        return [{"pointer": at, "detail": f"has more than {LARGEST_BYTES} bytes of JSON in all"}]
    found: Errors = []
    if "ip" in context and not _is_address(context["ip"]):
        found.append({"pointer": f"{at}/ip", "detail": "must be an IPv4 or IPv6 address"})
    if "tc_string" in context or "gpp_string" in context:
        found += _signal_errors(context, at)
    return found


def _is_address(text: str) -> bool:
    for family in (AF_INET, AF_INET6):
        try:
            inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return True
    return False


def _signal_errors(context: dict[str, Any], at: str) -> Errors:
    from pmp.signals import gpp, tcf
    from pmp.signals.bits import SignalError

    found: Errors = []
    for name, what, decode in (("tc_string", "TC", tcf.decode), ("gpp_string", "GPP", gpp.decode)):
        if name in context:
            try:
                decode(context[name])
            except SignalError as error:
                found.append({"pointer": f"{at}/{name}", "detail": f"is not a valid {what} string: {error}"})
    return found
