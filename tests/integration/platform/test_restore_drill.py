"""A dropped table is restored to the instant before, and nobody who was erased stays back."""

from dataclasses import replace
from pathlib import Path

import pytest

from checks.restore_drill import Outcome, drill, report, require
from ops.errors import UserError


def test_lost_table_is_restored_without_those_who_were_erased(tmp_path: Path) -> None:
    found = drill(tmp_path, events=2000, seconds=0)
    require(found)
    # Five were erased before the backup, five and two before the instant, five and more after it.
    assert found.before.number >= 5 + 6 + 6 + 2
    assert found.back >= 5
    assert found.replay["erased"] >= 5
    assert found.erased >= 15 + 2
    assert not found.replay["known"], "what the database knows is not read"
    assert found.lost_seconds > 0
    assert found.after.refused > 0, "an event needs the table that was dropped"
    assert "**still there after the replay** | 0 |" in report(found, 0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"missing": 1}, "1 writes from before the restored instant are missing"),
        ({"left": 2}, "2 erased people are there after the replay"),
        ({"differing": 3}, "3 current choices differ from their events"),
        ({"back": 0}, "the drill has shown nothing"),
    ],
)
def test_drill_fails_where_a_restore_did(change: dict[str, int], sentence: str) -> None:
    require(Outcome(1, back=1))
    with pytest.raises(UserError, match=sentence):
        require(replace(Outcome(1, back=1), **change))  # type: ignore[arg-type]
