"""The fault matrix has every fault, and names tests that exist."""

import ast

import pytest

from checks.faults.kinds import FAULTS
from checks.faults.report import ELSEWHERE, REPORT
from ops.settings import ROOT


@pytest.mark.parametrize("name", [name for _, names, _ in ELSEWHERE for name in names])
def test_named_test_exists(name: str) -> None:
    path, function = name.split("::")
    tree = ast.parse((ROOT / path).read_text())
    assert function in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}


def test_every_fault_is_in_the_document() -> None:
    """``make faults ARGS=--write`` writes it again."""
    text = REPORT.read_text()
    for fault in FAULTS:
        assert f"\n| {fault.name} | " in text
        assert f"\n- **{fault.name}**: {fault.how}.\n" in text
    for name, _, what in ELSEWHERE:
        assert f"\n| {name} | " in text
        assert f" | {what} |\n" in text
