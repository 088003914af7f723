"""docs/guide.md, command by command: each answer is as it stands there."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks.gateway import token
from checks.stack import CALM, stack
from tests.support.answers import Comparison

PAGE = Path("docs/guide.md").read_text()
BLOCK = re.compile(r"^```sh\n(?P<code>.*?)^```$(\n\n^```json\n(?P<answer>.*?)^```$)?", re.MULTILINE | re.DOTALL)
LOGIN = 'eval "$(make -s env)"\n'
"""What `make env` exports on a laptop, the test exports itself."""
TOLD = {"occurred_at", "occurred", "since"}
END = "end of the block"


@pytest.fixture
def url() -> Iterator[str]:
    """Start the API of a record that nobody else writes to: the guide's people must be new."""
    with stack(settings=CALM) as running:
        server = subprocess.Popen(
            [sys.executable, "-m", "checks.gateway", "--workers", "1"],
            env=os.environ | running.environment | {"PYTHONPATH": "lambda"},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.terminate()
        server.wait(timeout=10)


class Shell:
    """A shell that runs one block after another, as the reader's terminal does."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash"],
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, code: str) -> str:
        """Return what the block printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{code}\nprintf '\\n%s\\n' '{END}'\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line == f"{END}\n":
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"the shell ended after {''.join(lines)}")

    def close(self) -> None:
        """End the shell."""
        self._process.communicate(timeout=10)


def test_each_command_of_the_guide_answers_as_shown(url: str) -> None:
    blocks = [(block["code"], block["answer"]) for block in BLOCK.finditer(PAGE)]
    assert len(blocks) == PAGE.count("\n```sh\n")
    assert PAGE.count("\n```json\n") == sum(answer is not None for _, answer in blocks)
    assert LOGIN in blocks[0][0]
    comparison = Comparison(exact=TOLD)
    shell = Shell({"PMP_URL": url, "PMP_TOKEN": token(client="demo")})
    for code, answer in blocks:
        printed = shell.run(code.replace(LOGIN, ""))
        if answer is None:
            assert printed.strip() == "", (code, printed)
            continue
        example, found = json.loads(answer), json.loads(printed)
        assert list(comparison.differences(example, found)) == [], (code, printed)
        comparison.learn(example, found)
    shell.close()
