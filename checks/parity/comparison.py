"""Compare the resources that two sources of modules plan, and read the list of known differences."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from checks.inventory import resource_type
from checks.parity.graph import Graph, Resources

KNOWN = Path(__file__).parent / "differences.yaml"

ONLY_STAND_INS = "only in stand-ins"
ONLY_REAL = "only in real modules"

# Pairs settle in two or three rounds: ids of ids, such as a route's table.
_ROUNDS = 6

_FIELDS = {"type", "argument", "stand_in", "real", "reason"}


class Difference(NamedTuple):
    """One difference between the plans of the two sources, with normalized values.

    ``argument`` is an argument's name, or ``only in stand-ins`` / ``only in real modules`` for a whole resource.
    """

    type: str
    argument: str
    address: str
    stand_in: Any
    real: Any


class Known(NamedTuple):
    """An accepted difference and the reason.

    ``stand_in`` and ``real`` are the values; a text may hold ``*`` for what differs between environments.
    """

    type: str
    argument: str
    stand_in: Any
    real: Any
    reason: str

    def matches(self, difference: Difference) -> bool:
        """Tell whether this is the difference: same type and argument, and both values as they are listed."""
        return (
            (self.type, self.argument) == (difference.type, difference.argument)
            and _like(difference.stand_in, self.stand_in)
            and _like(difference.real, self.real)
        )


def _like(value: Any, pattern: Any) -> bool:
    if isinstance(value, dict) and isinstance(pattern, dict):
        return value.keys() == pattern.keys() and all(_like(value[name], pattern[name]) for name in value)
    if isinstance(value, list) and isinstance(pattern, list):
        return len(value) == len(pattern) and all(_like(*pair) for pair in zip(value, pattern, strict=True))
    if isinstance(value, str) and isinstance(pattern, str):
        # Square brackets are keys of resources in a reference, not sets of characters.
        return fnmatchcase(value, pattern.replace("[", "[[]"))
    return bool(value == pattern)


def load(file: Path = KNOWN) -> list[Known]:
    """Read the list of known differences.

    Raises:
        ValueError: an entry has no type, argument, values or reason.
    """
    entries = yaml.safe_load(file.read_text()) or []
    for entry in entries:
        if set(entry) != _FIELDS or not all(entry[name] for name in ("type", "argument", "reason")):
            raise ValueError(f"{file.name}: each entry needs {', '.join(sorted(_FIELDS))}, not {entry}")
    return [Known(**entry) for entry in entries]


def normalized(value: Any, named: Callable[[str], str] = str) -> Any:
    """Return a value without distinctions that AWS does not make: spacing in JSON, null or empty, order of lists.

    Args:
        value: an argument's value.
        named: replaces the references in a text.
    """
    if isinstance(value, dict):
        return {key: kept for key, item in value.items() if (kept := normalized(item, named)) is not None} or None
    if isinstance(value, list):
        # Most lists of AWS are sets, so two lists that differ only in order count as equal.
        items = [kept for item in value if (kept := normalized(item, named)) is not None]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) or None
    if isinstance(value, str):
        if value[:1] in {"{", "["}:
            try:
                return normalized(json.loads(value), named)
            except json.JSONDecodeError:
                return named(value)
        return named(value) or None
    return value


def compare(stand_ins: Graph, real: Graph, before: tuple[Graph, Graph] | None = None) -> list[Difference]:
    """Return the differences, sorted by type.

    Args:
        stand_ins: plan with the stand-ins.
        real: plan with the real modules.
        before: for an update, both graphs of what is deployed, because an update may refer to what it does not change.
    """
    deployed = paired(*before) if before else {}
    pairs = paired(stand_ins, real, deployed)
    return list(_differences(*_named(stand_ins, real, deployed | pairs), pairs))


def paired(stand_ins: Graph, real: Graph, deployed: dict[str, str] | None = None) -> dict[str, str]:
    """Return the address with the stand-ins for each address with the real modules.

    Resources are paired by similarity, because the sources' addresses differ. A reference is equal if it leads to the
    same attribute of a pair, so pairs follow from pairs: the first round compares only the types that are referred to.
    """
    pairs: dict[str, str] | None = None
    ours, theirs = _canonical(stand_ins, resource_type), _canonical(real, resource_type)
    for _ in range(_ROUNDS):
        found = {other: one for kind in ours for one, other in _pairs(ours[kind], theirs.get(kind, {}))}
        if found == pairs:
            break
        pairs = found
        ours, theirs = _named(stand_ins, real, (deployed or {}) | pairs)
    return pairs or {}


def _named(stand_ins: Graph, real: Graph, pairs: dict[str, str]) -> tuple[dict[str, Resources], dict[str, Resources]]:
    return _canonical(stand_ins, str), _canonical(real, lambda address: pairs.get(address, f"real {address}"))


def _canonical(graph: Graph, name: Callable[[str], str]) -> dict[str, Resources]:
    by_type: dict[str, Resources] = defaultdict(dict)
    for address, values in graph.resources.items():
        by_type[resource_type(address)][address] = normalized(values, lambda text: graph.named(text, name)) or {}
    return dict(sorted(by_type.items()))


def _differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _distance(one: str, other: str, ours: Resources, theirs: Resources) -> tuple[int, int, str, str]:
    # Resources of PMP's own modules have equal addresses; those of a registry module share at least its call.
    same_start = sum(1 for _ in takewhile(lambda ends: ends[0] == ends[1], zip(one, other, strict=False)))
    return len(_differing(ours[one], theirs[other])), -same_start, one, other


def _pairs(ours: Resources, theirs: Resources) -> Iterator[tuple[str, str]]:
    free, taken = set(ours), set(theirs)
    for _, _, one, other in sorted(_distance(a, b, ours, theirs) for a in ours for b in theirs):
        if one in free and other in taken:
            free.remove(one)
            taken.remove(other)
            yield one, other


def _differences(
    ours: dict[str, Resources], theirs: dict[str, Resources], pairs: dict[str, str]
) -> Iterator[Difference]:
    for kind in sorted(ours.keys() | theirs.keys()):
        mine, their = ours.get(kind, {}), theirs.get(kind, {})
        matched = {one: other for other, one in pairs.items() if one in mine}
        for one, other in sorted(matched.items()):
            for name in _differing(mine[one], their[other]):
                yield Difference(kind, name, one, mine[one].get(name), their[other].get(name))
        for address in sorted(mine.keys() - matched.keys()):
            yield Difference(kind, ONLY_STAND_INS, address, mine[address], None)
        for address in sorted(their.keys() - set(matched.values())):
            yield Difference(kind, ONLY_REAL, address, None, their[address])
