"""Decoded signals as the API shows them, bounded in size."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from pmp.signals import gpp, tcf
from pmp.signals.bits import Ranges, merged

MOST_VENDORS = 2000
"""Listed of one string. A Global Vendor List has about 1,100, but a string may claim 65,535."""


class Names(NamedTuple):
    """Names of one version of the Global Vendor List, by id."""

    purposes: dict[int, str]
    special_features: dict[int, str]
    vendors: dict[int, str]


_NO_NAMES = Names({}, {}, {})
NamesOf = Callable[[int], Names | None]
"""The names of a version of the list; None if PMP has no copy of that version."""


def decoded(context: dict[str, Any], names_of: NamesOf) -> dict[str, Any]:
    """The strings of a context, decoded; empty if it has none.

    Raises:
        SignalError: a string is not valid, which was refused when it was recorded.
    """
    found: dict[str, Any] = {}
    if "tc_string" in context:
        found["tc_string"] = _tc(tcf.decode(context["tc_string"]), names_of)
    if "gpp_string" in context:
        sections = [_section(section, names_of) for section in gpp.decode(context["gpp_string"])]
        found["gpp_string"] = {"sections": sections}
    return found


def _tc(tc: tcf.TcString, names_of: NamesOf) -> dict[str, Any]:
    known = names_of(tc.vendor_list_version)
    names = known or _NO_NAMES
    purposes = merged(tc.consents + tc.legitimate_interests)
    vendors = merged(tc.vendor_consents + tc.vendor_legitimate_interests + (tc.disclosed or ()))
    listed = list(islice(_each(vendors), MOST_VENDORS))
    consents, interests = _among(tc.vendor_consents, listed), _among(tc.vendor_legitimate_interests, listed)
    disclosed = None if tc.disclosed is None else _among(tc.disclosed, listed)
    return {
        "created": tc.created,
        "updated": tc.updated,
        "cmp": {"id": tc.cmp_id, "version": tc.cmp_version, "screen": tc.screen},
        "language": tc.language,
        "publisher_country": tc.country,
        "policy_version": tc.policy_version,
        "vendor_list_version": tc.vendor_list_version,
        "has_names": known is not None,
        "is_service_specific": tc.is_service_specific,
        "uses_non_standard_texts": tc.uses_non_standard_texts,
        "purpose_one_is_special": tc.purpose_one_is_special,
        "special_features": [
            {"id": identifier, "name": names.special_features.get(identifier)}
            for identifier in _each(tc.special_features)
        ],
        "purposes": [
            {
                "id": identifier,
                "name": names.purposes.get(identifier),
                "consent": _has(tc.consents, identifier),
                "legitimate_interest": _has(tc.legitimate_interests, identifier),
            }
            for identifier in _each(purposes)
        ],
        "vendors": [
            {
                "id": identifier,
                "name": names.vendors.get(identifier),
                "consent": identifier in consents,
                "legitimate_interest": identifier in interests,
                "disclosed": None if disclosed is None else identifier in disclosed,
            }
            for identifier in listed
        ],
        "vendors_left_out": sum(last - first + 1 for first, last in vendors) - len(listed),
        "restrictions": [
            {"purpose": one.purpose, "type": one.kind, "vendors": [list(pair) for pair in one.vendors]}
            for one in tc.restrictions
        ],
        "publisher": None
        if tc.publisher is None
        else {
            "consents": list(_each(tc.publisher.consents)),
            "legitimate_interests": list(_each(tc.publisher.legitimate_interests)),
            "custom_consents": list(_each(tc.publisher.custom_consents)),
            "custom_legitimate_interests": list(_each(tc.publisher.custom_legitimate_interests)),
        },
    }


def _section(section: gpp.Section, names_of: NamesOf) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": section.id, "name": section.name}
    content = section.content
    if isinstance(content, tcf.TcString):
        return shown | {"tc_string": _tc(content, names_of)}
    if content is None:
        return shown | {"text": section.text}
    return shown | {
        "version": content.version,
        "fields": content.fields,
        "opt_outs": content.opt_outs,
        "gpc": content.gpc,
    }


def _each(ranges: Ranges) -> Iterator[int]:
    for first, last in ranges:
        yield from range(first, last + 1)


def _has(ranges: Ranges, identifier: int) -> bool:
    return any(first <= identifier <= last for first, last in ranges)


def _among(ranges: Ranges, listed: list[int]) -> set[int]:
    """Those of the listed ids, which are in ascending order, that are in the ranges."""
    most = listed[-1] if listed else 0
    return {identifier for first, last in ranges for identifier in range(first, min(last, most) + 1)}
