"""Splitting of bytes into lines: the lines do not depend on how the bytes arrive."""

import gzip
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pmp.imports import text


def pieces_of(body: bytes, size: int) -> Iterator[bytes]:
    return (body[start : start + size] for start in range(0, len(body), size))


@given(st.text(alphabet="ab\r\n\ufeff", max_size=80), st.integers(1, 9))
def test_lines_do_not_depend_on_the_size_of_the_pieces(content: str, size: int) -> None:
    body = content.encode()
    blocks = list(text.blocks(pieces_of(body, size)))
    expected = body.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    found = [line for block in blocks for line in block.lines]
    # A last line that holds only the byte order mark is not a line. The parser treats both readings alike.
    assert [line for line in found if line] == [
        line.removesuffix(b"\r") for line in expected if line.removesuffix(b"\r")
    ]
    assert not blocks or blocks[-1].end == len(body)


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=20), st.integers(1, 40))
def test_job_can_resume_after_any_block(lines: list[bytes], size: int) -> None:
    body = b"".join(line + b"\n" for line in lines)
    whole = [line for block in text.blocks(pieces_of(body, size)) for line in block.lines]
    for block in text.blocks(pieces_of(body, size)):
        rest = text.blocks(pieces_of(body[block.end :], size), start=block.end)
        assert whole[len(whole) - body[block.end :].count(b"\n") :] == [line for other in rest for line in other.lines]


def test_overlong_line_is_skipped_and_its_neighbors_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "LONGEST_LINE_BYTES", 10)
    body = b"first\n" + b"x" * 1000 + b"\nlast\n"
    for size in (1, 7, 100, 2000):
        assert [line for block in text.blocks(pieces_of(body, size)) for line in block.lines] == [
            b"first",
            None,
            b"last",
        ]


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.integers(1, 50), st.integers(0, 20))
def test_gzip_members_and_padding_are_unpacked_from_any_pieces(members: list[bytes], size: int, padding: int) -> None:
    body = b"".join(gzip.compress(member) for member in members) + bytes(padding)
    assert b"".join(text.gunzip(pieces_of(body, size))) == b"".join(members)


@given(st.binary(min_size=1, max_size=300), st.integers(1, 50), st.data())
def test_truncated_gzip_is_reported_as_incomplete(content: bytes, size: int, data: st.DataObject) -> None:
    body = gzip.compress(content)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(text.CorruptError, match="incomplete"):
        list(text.gunzip(pieces_of(body[:cut], size)))


def test_unpacked_pieces_have_at_most_one_mebibyte() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert max(map(len, text.gunzip(iter([bomb])))) <= 1 << 20
