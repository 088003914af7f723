"""What a file is, told by its content; and which files are refused as a whole, with what to do."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pmp.imports import containers, form
from pmp.imports.errors import FileError
from pmp.imports.form import Form

HEADER = "email,email_notifications"
CSV = f"{HEADER}\r\nada@example.com,true\r\nbob@example.com,false\r\n"
NDJSON = b'{"user": {"email": "ada@example.com"}}\n{"user": {"email": "bob@example.com"}}\n'


def reader(body: bytes, size: int = 1 << 20) -> containers.Read:
    return lambda start: (body[place : place + size] for place in range(start, len(body), size))


def examined(body: bytes, size: int = 1 << 20) -> Form:
    seen = bytearray()
    found = form.examine(reader(body, size), lambda: len(body), observe=seen.extend)
    # Its SHA-256 is that of the whole object.
    assert bytes(seen) == body
    return Form(**found.document())


def lines_of(body: bytes, size: int = 1 << 20) -> list[bytes]:
    found = examined(body, size)
    blocks = form.contents(found, reader(body, size), len(body), found.body, lambda: None)
    return [line for block in blocks for line in block.lines if line and line.strip()]


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED, streamed: bool = False) -> bytes:
    target: Any = _Stream() if streamed else io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, content in members:
            with archive.open(name, "w", force_zip64=streamed) as member:
                member.write(content)
    return bytes(target.getvalue())


class _Stream(io.RawIOBase):
    """A pipe: ``zipfile`` writes sizes into data descriptors, behind each member."""

    def __init__(self) -> None:
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def getvalue(self) -> bytes:
        return bytes(self._written)


def tarred() -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        info = tarfile.TarInfo("events.ndjson")
        info.size = len(NDJSON)
        archive.addfile(info, io.BytesIO(NDJSON))
    return target.getvalue()


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "body",
    [
        NDJSON,
        b"\xef\xbb\xbf" + NDJSON,
        NDJSON.replace(b"\n", b"\r\n"),
        NDJSON.replace(b"\n", b"\r"),
        b"\n \n" + NDJSON.rstrip(),
        NDJSON.decode().encode("utf-16"),
        NDJSON.decode().encode("utf-16-be").join([b"\xfe\xff", b""]),
        gzip.compress(NDJSON, mtime=0),
        gzip.compress(NDJSON[:50], mtime=0) + gzip.compress(NDJSON[50:], mtime=0) + bytes(700),
        gzip.compress(NDJSON, mtime=0) + b"\x1f",
        gzip.compress(NDJSON.decode().encode("utf-16"), mtime=0),
        zipped(("events.ndjson", NDJSON)),
        zipped(("events.ndjson", NDJSON), method=zipfile.ZIP_STORED),
        zipped(("events.ndjson", NDJSON), streamed=True),
        zipped(("events.ndjson", NDJSON), method=zipfile.ZIP_STORED, streamed=True),
        zipped(("a/", b""), ("a/events.ndjson", NDJSON), ("__MACOSX/a/._events.ndjson", b"x"), ("a/.DS_Store", b"x")),
        b"[" + NDJSON.rstrip().replace(b"\n", b",") + b"]",
        b"\xef\xbb\xbf [\n" + NDJSON.rstrip().replace(b"\n", b"\n,\n") + b"\n]\n",
    ],
)
def test_same_lines_in_any_form(body: bytes, size: int) -> None:
    assert lines_of(body, size) == NDJSON.splitlines()


@pytest.mark.parametrize(
    ("text", "delimiter", "line"),
    [
        (CSV, ",", 1),
        (CSV.replace(",", ";"), ";", 1),
        (CSV.replace(",", "\t"), "\t", 1),
        (CSV.replace(",", "|"), "|", 1),
        ("sep=;\r\n" + CSV.replace(",", ";"), ";", 2),
        ("sep=\t\r\n" + CSV.replace(",", "\t"), "\t", 2),
        ('"sep=:"\n\n' + CSV.replace(",", ":"), ":", 3),
        ("\n\n" + CSV, ",", 3),
        (CSV.replace("\r\n", "\r"), ",", 1),
        ('"a;b\n;c;;",' + CSV, ",", 2),
        ("email", ",", 1),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_dialect_is_told_by_the_header(text: str, delimiter: str, line: int, encoding: str) -> None:
    body = text.encode(encoding)
    found = examined(body)
    assert (found.format, found.delimiter, found.body_line) == ("csv", delimiter, line)
    assert found.header is not None
    assert found.header in text
    assert found.header.endswith(HEADER.replace(",", delimiter)) or text == found.header
    assert len(lines_of(body)) == text.count("@")


REFUSED: list[tuple[bytes, str]] = [
    (b"PAR1\x15\x04", "a Parquet file: turn it into NDJSON, see docs/imports.md"),
    (b"\x28\xb5\x2f\xfd\0", r"a Zstandard file \(.zst\): unpack it"),
    (bz2.compress(NDJSON), "a bzip2 file: unpack it"),
    (lzma.compress(NDJSON), "an xz file: unpack it"),
    (tarred(), "the file is a tar archive: unpack it"),
    (gzip.compress(tarred()), "the gzip file holds a tar archive: unpack it"),
    (gzip.compress(gzip.compress(NDJSON)), "the gzip file holds another compressed file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (zipped(), "an empty ZIP archive"),
    (zipped(("a.csv", b"a"), ("b.csv", b"b")), "the ZIP archive holds 2 files: upload each on its own"),
    (zipped(("[Content_Types].xml", b""), ("xl/sheet.xml", b"")), "an Office document .* save it as CSV UTF-8"),
    (zipped(("a", NDJSON), method=zipfile.ZIP_BZIP2), "method 12, of which only deflate is read"),
    (zipped(("a", NDJSON))[:-30], "the ZIP archive is damaged or incomplete"),
    (zipped(("a", NDJSON), method=zipfile.ZIP_STORED).replace(b"bob", b"bib"), "the ZIP archive is damaged"),
    (zipped(*((f"{'x' * 200}{number}", b"") for number in range(6000))), "too many files"),
    (b"<!DOCTYPE html>", "HTML or XML"),
    (b"{\n", "JSON object over several lines"),
    (CSV.encode("utf-16-le"), r"UTF-16LE without a byte order mark.*iconv -f UTF-16LE"),
    (CSV.encode("utf-16-be"), r"UTF-16BE without a byte order mark"),
    (CSV.encode("utf-32"), "UTF-32"),
    (CSV.replace("bob", "bøb").encode("cp1252"), "line 3 has byte 0xF8, which is not UTF-8.*Windows-1252.*CSV UTF-8"),
    (NDJSON + bytes(range(256)), "the file is not text: byte 0x80 on line"),
    (CSV.encode() + "é".encode()[:1], "ends in the middle of a character"),
    (CSV.encode("utf-16")[:-1], "breaks its rules"),
    (gzip.compress(NDJSON)[:-1], "incomplete"),
    (gzip.compress(NDJSON)[:-8] + b"12345678", "corrupt"),
    (b"[" + NDJSON, "comma or ] is missing"),
    (b"email," * 200_000 + b"\n", "no header"),
    (b"x" * (2 << 20), "no header"),
    (b" " * (2 << 20), "blanks"),
    (b"email\0,x\n", "NUL"),
]


@pytest.mark.parametrize(("body", "message"), REFUSED, ids=range(len(REFUSED)))
def test_file_is_refused_by_name_with_advice(body: bytes, message: str) -> None:
    with pytest.raises(FileError, match=message):
        examined(body)


def test_encrypted_archive_is_refused() -> None:
    body = bytearray(zipped(("a.csv", CSV.encode())))
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        struct.pack_into("<H", body, body.index(signature) + flags, 1)
    with pytest.raises(FileError, match="encrypted: upload it without a password"):
        examined(bytes(body))


def test_garbage_after_gzip_is_a_warning() -> None:
    for size in (1, 1000):
        body = gzip.compress(NDJSON) + bytes(3) + b"garbage"
        assert examined(body, size).warnings == ["ignored 7 bytes after the end of the gzip file"]
        assert lines_of(body, size) == NDJSON.splitlines()
    assert examined(gzip.compress(NDJSON)).warnings == []


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), st.integers(1, 50), st.integers(0, 20))
def test_gzip_members_and_padding_are_unpacked_from_any_pieces(members: list[bytes], size: int, padding: int) -> None:
    body = b"".join(gzip.compress(member) for member in members) + bytes(padding)
    assert b"".join(containers.gunzip(reader(body, size)(0))) == b"".join(members)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300), st.integers(1, 50), st.data())
def test_truncated_gzip_is_reported_as_incomplete(content: bytes, size: int, data: st.DataObject) -> None:
    body = gzip.compress(content)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(FileError, match="incomplete"):
        list(containers.gunzip(reader(body[:cut], size)(0)))


@pytest.mark.parametrize("body", [gzip.compress(bytes(50_000_000)), zipped(("bomb", bytes(50_000_000)))])
def test_unpacked_pieces_have_at_most_one_mebibyte(body: bytes) -> None:
    container = containers.identify(body)
    pieces: Iterator[bytes] = containers.unpack(container, iter([body]), reader(body), len(body), lambda _: None)
    assert max(map(len, pieces)) <= 1 << 20
