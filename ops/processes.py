"""Run programs that must be allowed to end in good order (Terraform, Sqitch), their output shown as it comes."""

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
    """Run ``command`` to its end.

    A first SIGINT or SIGTERM is handed on once, as SIGINT, and the program's end is waited for: a second one would make
    Terraform give up without saving its state, and a killed one leaves its lock behind. So that the terminal's Ctrl-C
    does not reach it as well, the program leads a process group of its own.

    Args:
        command: program and arguments; never a secret.
        directory: where it runs.
        environment: its whole environment.
        show: gets each line of output, standard output and error together, without the line's end.
        stdin: text for its standard input; may hold secrets.

    Returns:
        Exit status (negative: the signal that ended it) and all lines of output.

    Raises:
        UserError: the program is not installed.
        InterruptedRunError: it ended after a signal to us.
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
