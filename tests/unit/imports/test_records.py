"""Splitting of text into records: they do not depend on how the bytes arrive, nor on where a job resumes."""

import csv
import io
import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pmp.imports import records
from pmp.imports.errors import FileError

Split = Callable[..., Iterator[records.Block]]


def pieces_of(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


def rows(pieces: Iterator[bytes], *, start: int = 0) -> Iterator[records.Block]:
    return records.rows(pieces, ";", start=start)


def found(blocks: Iterator[records.Block]) -> list[bytes | None]:
    return [line for block in blocks for line in block.lines]


def assert_resumable(split: Split, body: bytes, size: int) -> None:
    """Assert that a job that resumes after any block finds the rest."""
    blocks = list(split(pieces_of(body, size)))
    whole = [line for block in blocks for line in block.lines]
    taken = 0
    for block in blocks:
        taken += len(block.lines)
        assert found(split(pieces_of(body[block.end :], size), start=block.end)) == whole[taken:]


@settings(deadline=None)
@given(st.text(alphabet="ab\r\n\ufeff", max_size=80), st.integers(1, 9))
def test_lines_do_not_depend_on_the_size_of_the_pieces(content: str, size: int) -> None:
    body = content.encode()
    blocks = list(records.lines(pieces_of(body, size)))
    expected = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    # A last line that holds only the byte order mark is not a line. The parser treats both readings alike.
    assert [line for block in blocks for line in block.lines if line] == [
        line.removesuffix(b"\r") for line in expected if line.removesuffix(b"\r")
    ]
    assert not blocks or blocks[-1].end == len(body)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=20), st.integers(1, 40))
def test_job_can_resume_after_any_block(lines: list[bytes], size: int) -> None:
    assert_resumable(records.lines, b"".join(line + b"\n" for line in lines), size)


@pytest.mark.parametrize("split", [records.lines, rows])
def test_overlong_line_is_skipped_and_its_neighbors_are_kept(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LONGEST_RECORD_BYTES", 10)
    body = b"first\n" + b"x" * 1000 + b"\nlast\n"
    for size in (1, 7, 100, 2000):
        assert found(split(pieces_of(body, size))) == [b"first", None, b"last"]


CELLS = st.text(alphabet='ab";,\r\n é', max_size=8)


@settings(deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=12), st.sampled_from(["\n", "\r\n"]), st.integers(1, 40)
)
def test_rows_with_line_ends_in_quoted_cells_are_whole(table: list[list[str]], end: str, size: int) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows(table)
    body = text.getvalue().encode()
    whole = found(rows(pieces_of(body, size)))
    # A line end in a cell is LF or CRLF in the file, whatever it was.
    read = [next(csv.reader([row.decode()], delimiter=";", strict=True)) for row in whole if row]
    assert [[cell.replace("\r\n", "\n") for cell in row] for row in read] == [
        [cell.replace("\r\n", "\n") for cell in row] for row in table
    ]
    # Each entry is a line, so that a reject names the line on which its row begins.
    assert len(whole) == body.count(b"\n")
    assert_resumable(rows, body, size)


@settings(deadline=None)
@given(st.text(alphabet='ab";\r\n', max_size=60), st.integers(1, 30))
@example('"\n"a', 1)  # the second row is begun by the file's last line, which has no end
def test_any_csv_is_split_into_all_of_its_lines(content: str, size: int) -> None:
    body = content.encode()
    assert len(found(rows(pieces_of(body, size)))) == body.count(b"\n") + (body[-1:] not in {b"", b"\n"})
    assert_resumable(rows, body, size)


def test_quote_that_nobody_closes_costs_its_own_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_LONGEST_QUOTED_BYTES", 100)
    body = b'a;"open\n' + b"b;c\n" * 100
    assert found(rows(pieces_of(body, 50))) == [b'a;"open', *[b"b;c"] * 100]


ITEMS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


@settings(deadline=None)
@given(st.lists(ITEMS, max_size=12), st.sampled_from([None, 2]), st.integers(1, 40), st.booleans())
def test_array_is_split_into_its_items(array: list[object], indent: int | None, size: int, is_ascii: bool) -> None:
    body = json.dumps(array, indent=indent, ensure_ascii=is_ascii).encode(errors="replace")
    assert [json.loads(item or b"") for item in found(records.items(pieces_of(body, size)))] == json.loads(body)
    assert_resumable(records.items, body, size)


@settings(deadline=None)
@given(st.lists(ITEMS, min_size=1, max_size=8), st.data())
def test_cut_array_is_refused(array: list[object], data: st.DataObject) -> None:
    body = json.dumps(array).encode()
    with pytest.raises(FileError, match="array"):
        found(records.items(iter([body[: data.draw(st.integers(1, len(body) - 1))]])))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[1] x", "text after the end"),
        (b"[1 2]", "comma or ] is missing"),
        (b"[,1]", "item 1"),
        (b"[1,]", "item 2"),
        (b"[" * 200_000, "nested too deeply"),
        (b'["' + b"x" * (1 << 20) + b'"]', "longer than 1 MiB"),
        (b"[{]", "not valid JSON"),
    ],
)
def test_fault_in_an_array_is_named(body: bytes, message: str) -> None:
    with pytest.raises(FileError, match=message):
        found(records.items(pieces_of(body, 1 << 16)))


def test_small_pieces_are_gathered() -> None:
    body = bytes(range(256)) * 2000
    assert b"".join(records.gathered(pieces_of(body, 7))) == body
    assert min(map(len, list(records.gathered(pieces_of(body, 7)))[:-1])) >= 1 << 16
