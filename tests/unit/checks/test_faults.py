"""The fault matrix has every fault, and names tests that exist."""

import ast
from collections import Counter
from pathlib import Path

import pytest

from checks.faults import report
from checks.faults.kinds import FAULTS
from checks.faults.measure import Row
from checks.faults.report import ELSEWHERE, REPORT
from checks.load.ledger import Audit
from ops.errors import UserError
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


def test_only_what_was_measured_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "faults.md"
    path.write_text(REPORT.read_text())
    monkeypatch.setattr(report, "REPORT", path)
    audit = Audit(acknowledged=9, readable=9, refused=0, recorded=0, strange=0, users=1, differing=0)
    row = Row(FAULTS[1], 77, Counter({2: 77}), 0, 0, Counter(), (0.1, 0.2), audit, 0, Counter(), audit)
    report.write([row], "15.20", 4)
    old, new = REPORT.read_text().splitlines(), path.read_text().splitlines()
    assert [line for line in new if line not in old and line.startswith("| ")] == report.table([row]).splitlines()[2:]
    assert len(new) == len(old)
    report.write([row], "15.20", 4)
    assert path.read_text().splitlines() == new

    path.write_text("")
    with pytest.raises(UserError, match=f"has no row of {FAULTS[0].name}, {FAULTS[2].name}"):
        report.write([row], "15.20", 4)
