"""A clone on Windows, whose git writes CRLF by default, must hold the same bytes."""

import subprocess
from pathlib import Path

import pytest

from ops.settings import ROOT

CRLF = b"\r\n"


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("clone")
    command = ["git", "clone", "--quiet", "--depth", "1", "--config", "core.autocrlf=true", ROOT.as_uri()]
    subprocess.run([*command, str(directory)], check=True)
    return directory


def test_no_file_has_crlf(clone: Path) -> None:
    files = [file for file in clone.rglob("*") if file.is_file() and ".git" not in file.relative_to(clone).parts]
    assert {".sql", ".sh", ".plan"} <= {file.suffix for file in files}
    # A picture holds any bytes. git, too, calls a file binary that holds a zero byte.
    texts = {file: content for file in files if b"\0" not in (content := file.read_bytes())}
    assert [str(file.relative_to(clone)) for file, content in texts.items() if CRLF in content] == []


def test_shell_scripts_parse(clone: Path) -> None:
    for script in [*clone.rglob("*.sh"), clone / ".ci" / "run"]:
        shell = "bash" if "bash" in script.read_text().partition("\n")[0] else "sh"
        parsed = subprocess.run([shell, "-n", script], capture_output=True, text=True, check=False)
        assert (parsed.returncode, parsed.stderr) == (0, ""), script.name
