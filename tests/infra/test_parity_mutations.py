"""``make parity`` sees a stand-in that is wrong: each fault is reported under the right argument.

No real module is needed: the stand-ins are compared with a copy of them that has one fault. Most of the faults are
wrong references, which a plan shows only as unknown.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from checks.parity.comparison import compare
from checks.parity.graph import Graph, deployed, updated
from checks.planning import LAYERS, Planner, planner
from local.registry.server import STAND_INS

# Three zones with a NAT gateway each, and interface endpoints.
ENVIRONMENT = "prod"


class Mutation(NamedTuple):
    """A fault: ``old`` is replaced by ``new`` in a file of a stand-in, and ``argument`` of a ``type`` then differs."""

    name: str
    file: str
    old: str
    new: str
    type: str
    argument: str
    update: bool = False
    alone: bool = False

    @property
    def layer(self) -> str:
        """The layer that calls the module."""
        return "service" if self.file.startswith(("lambda/", "apigateway-v2/")) else "foundation"

    @property
    def difference(self) -> tuple[str, str]:
        """What the comparison has to report."""
        return self.type, self.argument


MUTATIONS = [
    Mutation(**entry) for entry in yaml.safe_load(Path(__file__).with_name("parity_mutations.yaml").read_text())
]


def together(layer: str) -> list[Mutation]:
    """Return as many faults of a layer as one plan can show: each differs in another argument."""
    chosen: dict[tuple[str, str], Mutation] = {}
    for mutation in MUTATIONS:
        if mutation.layer == layer and not mutation.update and not mutation.alone:
            chosen.setdefault(mutation.difference, mutation)
    return list(chosen.values())


class Right:
    """What each layer deploys with the stand-ins as they are, and what an update of it does."""

    def __init__(self, planning: Planner) -> None:
        self.planning = planning
        self._first: dict[str, tuple[Graph, dict[str, Any]]] = {}
        self._update: dict[str, Graph] = {}

    def first(self, layer: str) -> Graph:
        """Return the first deployment."""
        if layer not in self._first:
            self._first[layer] = deployed(self.planning, layer, ENVIRONMENT)
        return self._first[layer][0]

    def update(self, layer: str) -> Graph:
        """Return the update."""
        if layer not in self._update:
            first = self.first(layer)
            self._update[layer] = updated(self.planning, first, self._first[layer][1], layer, ENVIRONMENT)
        return self._update[layer]


@pytest.fixture(scope="module")
def right(plans: Planner) -> Right:
    """The stand-ins as they are."""
    return Right(plans)


@contextmanager
def wrong(account: str, mutations: list[Mutation]) -> Iterator[Planner]:
    """Plan with stand-ins that have the faults."""
    with tempfile.TemporaryDirectory(prefix="pmp-mutation-") as directory:
        modules = Path(directory, "modules")
        shutil.copytree(STAND_INS, modules)
        for mutation in mutations:
            file = modules / "terraform-aws-modules" / mutation.file
            text = file.read_text()
            assert mutation.old in text, f"{mutation.file} has no '{mutation.old}' to change"
            file.write_text(text.replace(mutation.old, mutation.new))
        with planner(account, modules=modules) as planning:
            yield planning


def first_differences(right: Right, account: str, mutations: list[Mutation]) -> set[tuple[str, str]]:
    """Return type and argument of what differs in a first deployment with the faults."""
    layer = mutations[0].layer
    with wrong(account, mutations) as planning:
        graph, _ = deployed(planning, layer, ENVIRONMENT, right.planning.schemas(layer))
    return {(found.type, found.argument) for found in compare(right.first(layer), graph)}


def test_enough_faults_are_tried() -> None:
    assert len(MUTATIONS) >= 40
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("layer", LAYERS)
def test_faults_at_once_are_all_seen_and_nothing_else(layer: str, right: Right, account: str) -> None:
    mutations = together(layer)
    assert first_differences(right, account, mutations) == {mutation.difference for mutation in mutations}


@pytest.mark.nightly
@pytest.mark.parametrize("mutation", [m for m in MUTATIONS if not m.update], ids=lambda mutation: mutation.name)
def test_each_fault_is_seen(mutation: Mutation, right: Right, account: str) -> None:
    assert mutation.difference in first_differences(right, account, [mutation])


@pytest.mark.nightly
@pytest.mark.parametrize("mutation", [m for m in MUTATIONS if m.update], ids=lambda mutation: mutation.name)
def test_each_fault_of_an_update_is_seen(mutation: Mutation, right: Right, account: str) -> None:
    layer = mutation.layer
    with wrong(account, [mutation]) as planning:
        first, state = deployed(planning, layer, ENVIRONMENT, right.planning.schemas(layer))
        assert compare(right.first(layer), first) == [], "the first deployment differs already"
        update = updated(planning, first, state, layer, ENVIRONMENT)
    found = compare(right.update(layer), update, (right.first(layer), first))
    assert mutation.difference in {(difference.type, difference.argument) for difference in found}


@pytest.mark.nightly
@pytest.mark.parametrize("layer", LAYERS)
def test_an_update_changes_something_and_equals_itself(layer: str, right: Right) -> None:
    first, update = right.first(layer), right.update(layer)
    assert update.resources
    assert compare(update, update, (first, first)) == []
