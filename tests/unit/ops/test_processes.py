"""Programs shut down cleanly, and receive an interrupt exactly once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops.errors import UserError
from ops.processes import run
from ops.settings import ROOT

# A child that counts interrupts: Terraform takes a second one as the order to stop at once.
CHILD = """
import signal, time, sys
heard = []
signal.signal(signal.SIGINT, lambda *_: heard.append(1))
print("ready", flush=True)
for _ in range(100):
    time.sleep(0.02)
    if heard:
        time.sleep(0.5)
        print("heard", len(heard), flush=True)
        sys.exit(1)
"""
PARENT = """
import sys
from pathlib import Path
import os
from ops.errors import InterruptedRunError
from ops.processes import run
try:
    child = [sys.executable, "-c", sys.argv[1]]
    run(child, directory=Path("/"), environment=os.environ, show=lambda line: print(line, flush=True))
except InterruptedRunError:
    sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whole_group", [False, True])
def test_interrupt_is_forwarded_once_and_the_child_is_awaited(number: signal.Signals, whole_group: bool) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout
    assert parent.stdout.readline() == "ready\n"
    for _ in range(2):  # somebody presses Ctrl-C twice
        if whole_group:
            os.killpg(parent.pid, number)
        else:
            parent.send_signal(number)
        time.sleep(0.1)
    assert parent.stdout.read() == "heard 1\n"
    assert parent.wait(10) == 130


def test_run_returns_output_and_status() -> None:
    shown = list[str]()
    status, lines = run(
        ["sh", "-c", "cat; echo error >&2; exit 3"],
        directory=Path("/"),
        environment=os.environ,
        show=shown.append,
        stdin="one\ntwo\n",
    )
    assert (status, lines) == (3, ["one", "two", "error"])
    assert shown == lines


def test_missing_program_is_named() -> None:
    with pytest.raises(UserError, match="no-such-program is not on PATH"):
        run(["no-such-program"], directory=Path("/"), environment=os.environ)
