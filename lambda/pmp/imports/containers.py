"""What an object is packed in, told by its first bytes: nothing, gzip, or a ZIP archive of one file.

The object's name does not matter. Other containers are refused by name before a line of them is read.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Literal

from pmp.imports.errors import FileError

if TYPE_CHECKING:
    import zipfile

Container = Literal["none", "gzip", "zip"]
Read = Callable[[int], Iterator[bytes]]
"""Reads an object from an offset to its end."""

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_WINDOW = 31  # zlib: a gzip header and trailer around the largest window
_PIECE_BYTES = 1 << 20
_HEAD_BYTES = 4096
_LARGEST_DIRECTORY_BYTES = 1 << 20
"""Of a ZIP archive: some 10,000 files."""

_ENCRYPTED = 1
_METHODS = {0: "stored", 8: "deflated"}

_UNPACK = "unpack it and upload the file in it, plain, gzip or zip"
_DATABASE = "export a table as CSV or NDJSON and upload that"
# https://en.wikipedia.org/wiki/List_of_file_signatures
_REFUSED = [
    (0, b"PAR1", "a Parquet file", "turn it into NDJSON, see docs/imports.md, and upload that"),
    (0, b"Obj\x01", "an Avro file", "turn it into NDJSON and upload that"),
    (0, b"ORC", "an ORC file", "turn it into NDJSON and upload that"),
    (0, b"ARROW1", "an Arrow file", "turn it into NDJSON and upload that"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard file (.zst)", _UNPACK),
    (0, b"BZh", "a bzip2 file", _UNPACK),
    (0, b"\xfd7zXZ\0", "an xz file", _UNPACK),
    (0, b"\x04\x22\x4d\x18", "an LZ4 file", _UNPACK),
    (0, b"\xff\x06\0\0sNaPpY", "a Snappy file", _UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0, b"PK\x05\x06", "an empty ZIP archive", "put the file in it"),
    (0, b"PK\x07\x08", "a ZIP archive in several parts", _UNPACK),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Office file (.xls, .doc)", "save it as CSV UTF-8 and upload that"),
    (0, b"SQLite format 3\0", "an SQLite database", _DATABASE),
    (0, b"PGDMP", "a dump of pg_dump", _DATABASE),
    (0, b"%PDF-", "a PDF", "upload the data that it was made of"),
    (0, b"\0\0\0\x01Bud1", "a .DS_Store, which macOS leaves in folders", "upload the file beside it"),
    (0, b"bplist00", "a property list of macOS", "upload the file beside it"),
    (0, b"-----BEGIN PGP", "encrypted by PGP", "decrypt it before the upload; the bucket encrypts what it holds"),
    (0, b"age-encryption.org/", "encrypted by age", "decrypt it before the upload; the bucket encrypts what it holds"),
]


def beginning(chunks: Iterator[bytes], size: int = _HEAD_BYTES) -> bytes:
    """At least the first ``size`` bytes, or all if there are fewer."""
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= size:
            break
    return bytes(head)


def identify(head: bytes, holder: str = "the file is") -> Container:
    """What an object is packed in.

    Args:
        head: its first bytes, at least 262 of them if there are so many.
        holder: beginning of the message.

    Raises:
        FileError: it is of a kind that is not taken.
    """
    if head.startswith(_GZIP):
        return "gzip"
    if head.startswith(_ZIP):
        return "zip"
    for offset, magic, name, advice in _REFUSED:
        if head.startswith(magic, offset):
            raise FileError(f"{holder} {name}: {advice}")
    return "none"


def unpack(
    container: Container, chunks: Iterator[bytes], read: Read, size: int, warn: Callable[[str], None]
) -> Iterator[bytes]:
    """The bytes of the file itself, in pieces of at most 1 MiB, however much the object expands.

    Args:
        container: from ``identify``.
        chunks: the object's bytes; a ZIP archive is read by ``read`` instead, because its list of files is at its end.
        read: reads the object.
        size: of the object, in bytes.
        warn: takes a sentence about what was ignored.

    Raises:
        FileError: damaged, truncated, or not one file.
    """
    if container == "gzip":
        return gunzip(chunks, warn)
    if container == "zip":
        return _unzip(read, size)
    return chunks


def gunzip(chunks: Iterator[bytes], warn: Callable[[str], None] = lambda _: None) -> Iterator[bytes]:
    """Decompress a gzip file of one or more members. What follows the last member is ignored, as by gzip(1).

    Raises:
        FileError: damaged or truncated.
    """
    inflater, consumed, held = zlib.decompressobj(_WINDOW), 0, b""
    chunks = iter(chunks)
    for chunk in chunks:
        data, held = held + chunk, b""
        while data:
            if inflater.eof:
                # Between members. Some writers pad the end of the file with zeros.
                data = data.lstrip(b"\0")
                if len(data) < len(_GZIP) and _GZIP.startswith(data):
                    held = data
                    break
                if not data.startswith(_GZIP):
                    warn(_ignored(len(data) + sum(map(len, chunks))))
                    return
                inflater = zlib.decompressobj(_WINDOW)
            try:
                piece = inflater.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise FileError(
                    f"the gzip file is corrupt within the 1 MiB after byte {consumed}: {error}; upload it again"
                ) from error
            if piece:
                yield piece
            data = inflater.unused_data if inflater.eof else inflater.unconsumed_tail
        consumed += len(chunk)
    # zlib may still hold output that did not fit into the last piece.
    while not inflater.eof and (piece := inflater.decompress(b"", _PIECE_BYTES)):
        yield piece
    if not inflater.eof:
        raise FileError(
            f"the gzip file ends in the middle of a member after {consumed} bytes: the upload is incomplete"
        )
    if held:
        warn(_ignored(len(held)))


def _ignored(count: int) -> str:
    return f"ignored {count} bytes after the end of the gzip file"


def _unzip(read: Read, size: int) -> Iterator[bytes]:
    """The one file in a ZIP archive: stored or deflated, with or without data descriptor and ZIP64."""
    import struct
    import zipfile

    damaged = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError)
    file = _Ranges(read, size)
    try:
        file.most = _LARGEST_DIRECTORY_BYTES
        with zipfile.ZipFile(file) as archive:
            file.most = None
            with archive.open(_only_member(archive)) as member:
                while piece := member.read(_PIECE_BYTES):
                    yield piece
    except FileError:
        raise
    except damaged as error:
        raise FileError(f"the ZIP archive is damaged or incomplete ({type(error).__name__}); upload it again") from None


def _only_member(archive: "zipfile.ZipFile") -> "zipfile.ZipInfo":
    members = [
        member
        for member in archive.infolist()
        # What macOS adds to an archive is not a file of the user.
        if not member.is_dir()
        and not member.filename.startswith("__MACOSX/")
        and not member.filename.endswith(".DS_Store")
    ]
    if any(member.filename == "[Content_Types].xml" for member in members):
        raise FileError("the file is an Office document (.xlsx, .docx): save it as CSV UTF-8 and upload that")
    if any(member.filename == "mimetype" for member in members):
        raise FileError("the file is an OpenDocument file (.ods): save it as CSV UTF-8 and upload that")
    if len(members) != 1:
        raise FileError(f"the ZIP archive holds {len(members)} files: upload each on its own, plain, gzip or zip")
    member = members[0]
    if member.flag_bits & _ENCRYPTED:
        raise FileError("the ZIP archive is encrypted: upload it without a password; the bucket encrypts what it holds")
    if member.compress_type not in _METHODS:
        raise FileError(
            f"the ZIP archive is compressed by method {member.compress_type}, of which only deflate is read: make it "
            "again with the usual method, or upload the file in it"
        )
    return member


class _Ranges:
    """An object in S3 as a file that can be seeked, for ``zipfile``: bytes that follow each other take one request.

    Args:
        read: reads the object.
        size: its bytes.
    """

    def __init__(self, read: Read, size: int) -> None:
        self.most: int | None = None
        """More bytes are refused."""
        self._read, self._size, self._position = read, size, 0
        self._chunks: Iterator[bytes] | None = None
        self._rest = b""

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        target = offset + (0, self._position, self._size)[whence]
        if target < 0:
            raise ValueError("before the start of the file")
        if target != self._position:
            self._position, self._chunks, self._rest = target, None, b""
        return target

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._position)
        count = left if count < 0 else min(count, left)
        if self.most is not None and count > self.most:
            raise FileError("the ZIP archive holds too many files: upload each on its own, plain, gzip or zip")
        if self._chunks is None:
            self._chunks, self._rest = self._read(self._position) if count else iter(()), b""
        parts, missing = [], count
        while missing and (chunk := self._rest or next(self._chunks, b"")):
            parts.append(chunk[:missing])
            self._rest = chunk[missing:]
            missing -= len(parts[-1])
        self._position += count - missing
        return b"".join(parts)

    def close(self) -> None:
        self._chunks = None
