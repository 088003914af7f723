"""The fault matrix names tests that exist."""

import ast

import pytest

from checks.faults.report import ELSEWHERE
from ops.settings import ROOT


@pytest.mark.parametrize("name", [name for _, names, _ in ELSEWHERE for name in names])
def test_named_test_exists(name: str) -> None:
    path, function = name.split("::")
    tree = ast.parse((ROOT / path).read_text())
    assert function in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
