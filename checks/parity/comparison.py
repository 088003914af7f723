"""Compare the resources that two sources of modules plan, and read the list of known differences."""

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from checks.inventory import resource_type

KNOWN = Path(__file__).parent / "differences.yaml"

Resources = dict[str, dict[str, Any]]


class Difference(NamedTuple):
    """One difference between the plans of the two sources.

    ``argument`` is an argument's name, or ``only in stand-ins`` / ``only in real modules`` for a whole resource.
    """

    type: str
    argument: str
    address: str
    stand_in: Any
    real: Any


class Known(NamedTuple):
    """An accepted difference and the reason."""

    type: str
    argument: str
    reason: str


def load(file: Path = KNOWN) -> list[Known]:
    """Read the list of known differences.

    Raises:
        ValueError: an entry has no type, argument or reason.
    """
    entries = yaml.safe_load(file.read_text()) or []
    for entry in entries:
        if set(entry) != {"type", "argument", "reason"} or not all(entry.values()):
            raise ValueError(f"{file.name}: each entry needs type, argument and reason, not {entry}")
    return [Known(**entry) for entry in entries]


def normalized(value: Any) -> Any:
    """Return a value without distinctions that AWS does not make: spacing in JSON, null or empty, order of lists."""
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := normalized(item)) is not None} or None
    if isinstance(value, list):
        # Most lists of AWS are sets, so two lists that differ only in order count as equal.
        items = [kept for item in value if (kept := normalized(item)) is not None]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) or None
    if isinstance(value, str):
        if value[:1] in {"{", "["}:
            try:
                return normalized(json.loads(value))
            except json.JSONDecodeError:
                return value
        return value or None
    return value


def compare(stand_ins: Resources, real: Resources) -> Iterator[Difference]:
    """Yield the differences by type. Resources are paired by similarity, because the sources' addresses differ."""
    by_type: dict[str, tuple[Resources, Resources]] = defaultdict(lambda: ({}, {}))
    for side, resources in enumerate((stand_ins, real)):
        for address, values in resources.items():
            arguments = normalized(values) or {}
            by_type[resource_type(address)][side][address] = arguments
    for kind, (ours, theirs) in sorted(by_type.items()):
        yield from _compare_type(kind, ours, theirs)


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _distance(pair: tuple[str, str], ours: Resources, theirs: Resources) -> tuple[int, int, tuple[str, str]]:
    one, other = pair
    # Resources of PMP's own modules have equal addresses; those of a registry module share at least its call.
    same_start = sum(1 for _ in takewhile(lambda ends: ends[0] == ends[1], zip(one, other, strict=False)))
    return len(_differing(ours[one], theirs[other])), -same_start, pair


def _compare_type(kind: str, ours: Resources, theirs: Resources) -> Iterator[Difference]:
    ours, theirs = dict(ours), dict(theirs)
    while ours and theirs:
        one, other = min(((a, b) for a in ours for b in theirs), key=lambda pair: _distance(pair, ours, theirs))
        mine, their = ours.pop(one), theirs.pop(other)
        for name in _differing(mine, their):
            yield Difference(kind, name, one, mine.get(name), their.get(name))
    for address, values in ours.items():
        yield Difference(kind, "only in stand-ins", address, values, None)
    for address, values in theirs.items():
        yield Difference(kind, "only in real modules", address, None, values)
