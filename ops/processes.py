"""Run programs that must be allowed to shut down cleanly (Terraform, Sqitch), and stream their output."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from ops.errors import InterruptedRunError, UserError


def run(
    command: Sequence[str | Path],
    *,
    directory: Path,
    environment: Mapping[str, str],
    show: Callable[[str], None] | None = None,
    stdin: str = "",
) -> tuple[int, list[str]]:
    """Run ``command`` until it ends.

    The first SIGINT or SIGTERM is forwarded once, as SIGINT, and we wait until the program ends: a second signal would
    make Terraform give up without saving its state, and a killed Terraform leaves its lock. The program leads its own
    process group, so that the terminal's Ctrl-C does not reach it as well.

    Args:
        command: program and arguments; never a secret.
        directory: the working directory.
        environment: all environment variables of the program.
        show: called with each line of output, standard output and error together, without the line ending.
        stdin: text for standard input; may hold secrets.

    Returns:
        Exit status (negative: the signal that ended it) and all lines of output.

    Raises:
        UserError: the program is not installed.
        InterruptedRunError: the program ended after we received a signal.
    """
    with _interruptible() as interrupts:
        try:
            process = subprocess.Popen(
                command,
                cwd=directory,
                env=dict(environment),
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                process_group=0,
            )
        except FileNotFoundError:
            raise UserError(f"{command[0]} is not on PATH: run 'make install', or install it") from None
        interrupts.forward_to(process)
        if process.stdin:
            process.stdin.write(stdin)
            process.stdin.close()
        lines = []
        for line in process.stdout or ():
            lines.append(line.rstrip("\n"))
            if show:
                show(lines[-1])
        status = process.wait()
    if interrupts.happened:
        raise InterruptedRunError
    return status, lines


class _Interrupts:
    def __init__(self) -> None:
        self.happened = False
        self._process: subprocess.Popen[str] | None = None

    def forward_to(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        if self.happened:
            self._forward()

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self.happened:
            self.happened = True
            self._forward()

    def _forward(self) -> None:
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)


@contextmanager
def _interruptible() -> Iterator[_Interrupts]:
    interrupts = _Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = {number: signal.signal(number, interrupts.handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupts
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
