"""A fleet of execution environments: real processes with the real handler and a database connection each."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from checks.bench import cpu
from ops.settings import ROOT

PRELOADED = (
    "pmp.http.router",
    "pmp.database",
    "pmp.http.routes.users",
    "pmp.http.routes.events",
    "pmp.http.routes.check",
    "pmp.http.routes.service",
)
"""What the function imports at its first requests."""

_ANSWER_SECONDS = 60
_LARGEST_ANSWER = 1 << 20


class Answer(NamedTuple):
    """Of the function to an event.

    Attributes:
        status: of HTTP; 0 if the function raised an error.
        retry_after: the header Retry-After; empty without one.
        body: empty unless it was asked for; the error if the function raised one.
    """

    status: int
    retry_after: bytes
    body: bytes


@dataclass(eq=False, frozen=True)
class Environment:
    """A running execution environment."""

    pid: int
    channel: socket.socket

    def send(self, event: bytes, *, wants_body: bool = False) -> None:
        """Begin an event, JSON; the environment must be idle.

        Raises:
            OSError: the process has ended.
        """
        self.channel.send((b"?" if wants_body else b"!") + event)

    def receive(self) -> Answer:
        """Return the answer to the event that was begun.

        Raises:
            OSError: the process has ended, or does not answer.
        """
        message = self.channel.recv(_LARGEST_ANSWER)
        if not message:
            raise ConnectionResetError(f"environment {self.pid} ended")
        status, retry_after, body = message.split(b" ", 2)
        return Answer(int(status), retry_after, body)

    def ask(self, event: bytes) -> tuple[int, bytes]:
        """Send an event and wait for the status and body of its answer."""
        self.send(event, wants_body=True)
        answer = self.receive()
        return answer.status, answer.body


class Fleet:
    """Environments of one function. Use it as a context manager: its end ends them.

    Args:
        variables: the function's environment variables, such as a stack's.
        count: how many environments to start.
        folder: with the function's code.
        module: with its ``handler``.
        preloaded: modules that are imported before the environments fork.
        log: what the function logs is appended to it.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        count: int,
        *,
        folder: Path = ROOT / "lambda",
        module: str = "pmp.handler",
        preloaded: Sequence[str] = PRELOADED,
        log: Path = Path(os.devnull),
    ) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_ANSWER_SECONDS)
        self._control = ours
        script = str(Path(__file__).with_name("zygote.py"))
        with log.open("ab") as output, theirs:
            # -B: as in Lambda's folder, which is read-only.
            self._zygote = subprocess.Popen(
                [sys.executable, "-I", "-B", script, str(folder), module, str(theirs.fileno()), *preloaded],
                env={"PATH": os.environ["PATH"], **variables},
                stdin=subprocess.DEVNULL,
                stdout=output,
                pass_fds=[theirs.fileno()],
            )
        self.environments: list[Environment] = []
        """All that run, or ran and were not removed."""
        self.add(count)

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, count: int = 1) -> list[Environment]:
        """Start environments.

        Raises:
            RuntimeError: the function cannot be imported; its error is on standard error.
        """
        added = []
        for _ in range(count):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.settimeout(_ANSWER_SECONDS)
            with theirs:
                try:
                    socket.send_fds(self._control, [b"+"], [theirs.fileno()])
                    pid = self._control.recv(16)
                except OSError:
                    pid = b""
            if not pid:
                raise RuntimeError("the function's first process ended: see its error above")
            added.append(Environment(int(pid), ours))
        self.environments += added
        return added

    def warm(self, event: bytes) -> None:
        """Have each environment answer an event with 200, one after the other.

        Raises:
            RuntimeError: one answered otherwise.
        """
        for environment in self.environments:
            status, body = environment.ask(event)
            if status != 200:
                raise RuntimeError(f"a new environment answered {status}: {body.decode()[:300]}")

    def kill(self, environment: Environment) -> None:
        """Kill an environment, whatever it does, as a crash would; whoever waits for its answer gets none."""
        self.environments.remove(environment)
        os.kill(environment.pid, signal.SIGKILL)

    def cpu(self) -> float:
        """Return the CPU seconds of all environments so far, ended ones as well."""
        return cpu.with_children(self._zygote.pid)

    def close(self) -> None:
        """End all environments."""
        for environment in self.environments:
            environment.channel.close()
        self._control.close()
        try:
            self._zygote.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._zygote.kill()
            self._zygote.wait()
