"""The snippets of a page, one in each section, run as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ops.settings import ROOT

FIRST_CALLS = ROOT / "docs" / "clients.md"
LIBRARIES = ROOT / "clients" / "README.md"

_SECTION = re.compile(r"^## (?P<title>[^\n]+)\n+```(?P<language>\w+)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)

# By the language of a block: the name of its file, and the programs that run it with their variables.
_RUNS: dict[str, tuple[str, list[str], list[dict[str, str]]]] = {
    "sh": ("first.sh", ["bash", "-eu", "-o", "pipefail"], [{}]),
    "python": ("first.py", ["python"], [{}]),
    "js": ("first.mjs", ["node"], [{}]),
    # Without C, Go has a resolver of its own.
    "go": ("first.go", ["go", "run"], [{}, {"CGO_ENABLED": "0"}]),
    "java": ("First.java", ["java"], [{}]),
}
_PROGRAMS = {"curl": "curl", "wget": "wget", "HTTPie": "http", "Go": "go", "Node": "node", "Java": "javac"}


def snippets(page: Path) -> dict[str, tuple[str, str]]:
    """Return language and code of each section that begins with a snippet, by the section's title."""
    return {found["title"]: (found["language"], found["code"]) for found in _SECTION.finditer(page.read_text())}


def path() -> str:
    """Return the search path, with the programs of this Python's environment first."""
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def missing(title: str) -> str | None:
    """Return the program that the section needs and that is not installed, or None."""
    program = _PROGRAMS.get(title)
    return program if program and not shutil.which(program, path=path()) else None


def run(
    page: Path, title: str, directory: Path, variables: Mapping[str, str], programs: Path | None = None
) -> list[str]:
    """Run a section's snippet in ``directory``; return the output of each run.

    Args:
        page: where the snippet is.
        title: of its section.
        directory: the working directory.
        variables: exported to it.
        programs: folder with a ``python`` of its own; None for this environment's.

    Raises:
        RuntimeError: it failed; the message has its output.
    """
    language, code = snippets(page)[title]
    name, command, settings = _RUNS[language]
    (directory / name).write_text(code)
    outputs = []
    for setting in settings:
        environment = {**os.environ, **variables, **setting, "PATH": f"{programs}:{path()}" if programs else path()}
        done = subprocess.run(
            [*command, name], cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            raise RuntimeError(f"{title} {setting or ''}: {done.stdout}\n{done.stderr}")
        outputs.append(done.stdout)
    return outputs
