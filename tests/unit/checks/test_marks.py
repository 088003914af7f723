"""What the end-to-end canary finds, and that it looks everywhere."""

import base64
import gzip
import io
import json
import zipfile
from pathlib import Path

import pytest

from tests.support.marks import holders, holds

MARK = "zqmarked"


def zipped(name: str, content: bytes) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return output.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"value": f"ADA.{MARK.upper()}@example.com"}).encode(),
        *(base64.b64encode(b"x" * before + MARK.encode() + b"y" * after) for before in range(4) for after in range(4)),
        zipped("tfstate", MARK.encode()),
        zipped(f"{MARK}.txt", b""),
        gzip.compress(zipped("plan", base64.b64encode(b"a" + MARK.encode() + b"b"))),
        b"\x00\xff" + MARK.encode(),
    ],
)
def test_mark_is_found(content: bytes) -> None:
    assert holds(content, MARK)


@pytest.mark.parametrize(
    "content", [b"", b"zqmarke d", base64.b64encode(b"zqmarke d"), zipped("a", b"b"), b"PK\x05\x06"]
)
def test_other_content_has_no_mark(content: bytes) -> None:
    assert not holds(content, MARK)


def test_files_are_found_by_name_and_content_except_in_folders_that_are_left_out(tmp_path: Path) -> None:
    for name, text in {"logs/a.log": MARK, "s3/b": MARK, f"plans/{MARK}.json": "", "c": "nothing"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert holders(tmp_path, MARK, [tmp_path / "s3"]) == ["logs/a.log", f"plans/{MARK}.json"]
