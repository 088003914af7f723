"""The word list finds the phrases it is there for, and leaves plain English alone."""

from pathlib import Path

import pytest

from checks.lint.english import stumbling


@pytest.mark.parametrize(
    ("line", "phrase"),
    [
        ("# x is no file", "is no file"),
        ("# the key stands twice in it", "stands twice"),
        ("# null: for ever", "for ever"),
        ("# mend the cause", "mend"),
        ("# begin anew", "anew"),
        ("# does the like by name", "the like"),
        ("# the program has ended in good order", "has ended in good order"),
    ],
)
def test_a_phrase_of_the_list_is_found(tmp_path: Path, line: str, phrase: str) -> None:
    (tmp_path / "a.py").write_text(f"\n{line}\n")
    [finding] = stumbling(tmp_path, [Path("a.py")])
    assert finding.startswith(f"a.py:2: '{phrase}': write ")


@pytest.mark.parametrize(
    "line",
    [
        "# there is no such file",
        "# it is no longer needed",
        "# recommend, commends, amendment",
        "# 'is no file' as quoted (english: ok)",
    ],
)
def test_plain_english_passes(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.py").write_text(line)
    assert list(stumbling(tmp_path, [Path("a.py")])) == []


def test_other_files_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text("is no file")
    assert list(stumbling(tmp_path, [Path("a.lock")])) == []
