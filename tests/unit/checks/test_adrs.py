"""Architecture decision records have the required form, and the index and all references match them."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import date
from itertools import groupby, pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ADRS = ROOT / "docs/adr"

_HEAD = re.compile(r"# (?P<number>\d{4}) (?P<title>\S.*)\n\n- Status: (?P<status>.+)\n- Date: (?P<date>.+)\n\n")
_STATUS = re.compile(r"Accepted|Superseded by \d{4}")
_SECTIONS = re.compile(r"Context Decision (Evidence )?(Alternatives )?Consequences")
_INDEX_ROW = re.compile(
    r"^\| (?P<number>\d{4}) \| \[(?P<title>.+)\]\((?P<file>.+)\) \| (?P<status>.+) \| (?P<date>.+) \|$", re.MULTILINE
)


def records(folder: Path) -> list[Path]:
    """Return the records' files in the order of their numbers."""
    return sorted(file for file in folder.glob("*.md") if file.name != "README.md")


def file_name(number: str, title: str) -> str:
    """Return the name of a record's file: its number and its title in lower case, joined by hyphens."""
    return f"{number}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}.md"


def is_date(text: str) -> bool:
    """Return True if the text is a valid date in the form YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def problems_of(file: Path) -> Iterator[str]:
    """Yield the faults in the form of one record."""
    text = file.read_text(encoding="utf-8")
    head = _HEAD.match(text)
    if not head:
        yield f"{file.name}: must begin with '# NNNN title', '- Status: …' and '- Date: …'"
        return
    if file.name != file_name(head["number"], head["title"]):
        yield f"{file.name}: its title requires the name {file_name(head['number'], head['title'])}"
    if not _STATUS.fullmatch(head["status"]):
        yield f"{file.name}: status {head['status']!r} must be 'Accepted' or 'Superseded by NNNN'"
    if not is_date(head["date"]):
        yield f"{file.name}: date {head['date']!r} must be YYYY-MM-DD"
    sections = " ".join(re.findall(r"^## (.+)$", text, re.MULTILINE))
    if not _SECTIONS.fullmatch(sections):
        yield f"{file.name}: its sections are {sections!r}; compare them with another record's"


def problems_in_numbers(folder: Path) -> Iterator[str]:
    """Yield numbers that repeat or leave a gap within their area (their first two digits)."""
    numbers = [file.name[:4] for file in records(folder)]
    for _, group in groupby(numbers, key=lambda number: number[:2]):
        area = list(group)
        if int(area[0][2:]) > 1:
            yield f"{area[0]}: the first number of an area must end in 00 or 01"
        for before, after in pairwise(area):
            if int(after) != int(before) + 1:
                yield f"{after}: follows {before}; numbers must be consecutive within an area"


def problems_in_index(folder: Path) -> Iterator[str]:
    """Yield differences between the index's rows and the records, in both directions."""
    rows = [match.groupdict() for match in _INDEX_ROW.finditer((folder / "README.md").read_text(encoding="utf-8"))]
    expected = [
        {**head.groupdict(), "file": file.name}
        for file in records(folder)
        if (head := _HEAD.match(file.read_text(encoding="utf-8")))
    ]
    for row in expected:
        if rows.count(row) != 1:
            yield f"{row['file']}: the index must list it exactly once, with its title, status and date"
    for row in rows:
        if row not in expected:
            yield f"index: {row['number']} is not a record with that title, file, status and date"


def problems(folder: Path) -> list[str]:
    """Return all faults in a folder of records."""
    form = [problem for file in records(folder) for problem in problems_of(file)]
    return [*form, *problems_in_numbers(folder), *problems_in_index(folder)]


def test_records_have_the_required_form_and_are_in_the_index() -> None:
    assert records(ADRS)
    assert problems(ADRS) == []


def test_every_adr_reference_names_an_existing_record() -> None:
    references = subprocess.run(
        ["git", "-C", str(ROOT), "grep", "-hoE", r"(adr/|ADR )[0-9]{4}(-[a-z0-9-]+\.md)?"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    files = {file.name for file in records(ADRS)}
    names = files | {name[:4] for name in files}
    assert {reference for reference in references if re.split("adr/|ADR ", reference)[1] not in names} == set()


def replaced(old: str, new: str) -> Callable[[Path], None]:
    """Return a change that replaces text once in record 0001."""

    def change(folder: Path) -> None:
        (file,) = folder.glob("0001-*.md")
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    return change


def moved(number: str, new: str) -> Callable[[Path], None]:
    """Return a change that gives a record another number."""

    def change(folder: Path) -> None:
        (file,) = folder.glob(f"{number}-*.md")
        text = file.read_text(encoding="utf-8").replace(f"# {number}", f"# {new}", 1)
        file.rename(file.with_name(new + file.name[4:])).write_text(text, encoding="utf-8")

    return change


def index_row_repeated(folder: Path) -> None:
    """List record 0001 twice."""
    index = folder / "README.md"
    text = index.read_text(encoding="utf-8")
    row = _INDEX_ROW.search(text)
    assert row
    index.write_text(text.replace(row[0], f"{row[0]}\n{row[0]}"), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("- Status: Accepted\n", ""), "must begin with"),
        (replaced("- Status: Accepted", "- Status: Done"), "status 'Done'"),
        (replaced("- Date: 20", "- Date: 20."), "must be YYYY-MM-DD"),
        (replaced("-11-", "-13-"), "must be YYYY-MM-DD"),
        (replaced("# 0001 ", "# 0001 Not "), "requires the name 0001-not-"),
        (replaced("## Consequences", "## Costs"), "compare them with another record's"),
        (replaced("- Status: Accepted", "- Status: Superseded by 0003"), "list it exactly once"),
        (moved("0002", "0009"), "0009: follows 00"),
        (moved("0100", "0190"), "0190: follows 01"),
        (moved("0002", "0001"), "0001: follows 0001"),
        (moved("0001", "0050"), "0002: the first number of an area must end in"),
        (index_row_repeated, "list it exactly once"),
    ],
)
def test_broken_record_is_found(tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    folder = tmp_path / "adr"
    shutil.copytree(ADRS, folder)
    change(folder)
    assert any(message in problem for problem in problems(folder)), problems(folder)
