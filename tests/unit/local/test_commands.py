"""Commands of the laptop platform never fall back to the credentials of the shell they run in."""

import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer

from local.__main__ import application
from local.instance import clean_environment
from ops.settings import ROOT


@pytest.fixture
def real_account() -> Iterator[tuple[str, list[str]]]:
    """The address of what the shell's AWS variables lead to, and the requests that arrive there."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.path)
            self.send_response(500)
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()


STARTS = {"up", "pipeline", "accounts"}
"""Commands that create a platform; they give every program `clean_environment`."""
ARGUMENTS = {"import": ["README.md"], "trace": ["a-request-id"], "readers": ["019a8f3e-6c1f-7b3a-9d52-4f6f0e1c2a7b"]}
SAYS = {"down": "nothing was running", "logs": "has no logs yet"}
COMMANDS = sorted(typer.main.get_command(application).commands)  # type: ignore[attr-defined]


def test_every_command_is_asked() -> None:
    assert STARTS | ARGUMENTS.keys() | SAYS.keys() <= set(COMMANDS)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in STARTS])
def test_nothing_is_asked_of_the_shells_own_account(real_account: tuple[str, list[str]], command: str) -> None:
    address, seen = real_account
    instance = f"never-{secrets.token_hex(4)}"
    environment = os.environ | {
        "PMP_INSTANCE": instance,
        "AWS_ACCESS_KEY_ID": "AKIAPRODUCTION",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": address,
    }
    done = subprocess.run(
        [sys.executable, "-m", "local", command, *ARGUMENTS.get(command, [])],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert SAYS.get(command, "is not running: start it with 'make up'") in done.stdout + done.stderr
    assert done.returncode == (0 if command == "down" else 1)
    assert seen == []
    assert not (ROOT / ".pmp" / instance).exists()


def test_programs_of_the_platform_inherit_no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN", "TF_WORKSPACE"):
        monkeypatch.setenv(name, "mine")
    assert "mine" not in clean_environment().values()


@pytest.mark.parametrize("target", ["credentials", "env"])
def test_a_failed_target_ends_the_shells_list(tmp_path: Path, target: str) -> None:
    environment = os.environ | {"PMP_INSTANCE": "never-started"}
    script = 'c=$(make -s $2); eval "$c" && touch "$1/reached"'
    done = subprocess.run(["bash", "-c", script, "bash", str(tmp_path), target], cwd=ROOT, env=environment, check=False)
    assert done.returncode != 0
    assert not (tmp_path / "reached").exists()


def test_help_fits_on_a_terminal_of_80_columns() -> None:
    text = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert [line for line in text.splitlines() if len(line) > 80] == []
