"""The function and its queue without an emulator: executions are processes, and a thread polls.

The rules are AWS's: an execution takes one event at a time, one that finds none idle begins another, and none begins
beyond the reserved concurrency (https://docs.aws.amazon.com/lambda/latest/dg/lambda-concurrency.html). The queue hands
a message to at most so many executions as its maximum concurrency says, hides it meanwhile, and forgets it when the
execution has succeeded (https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html).
"""

import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks.bench import cpu
from checks.object_store import ObjectStore

ROOT = Path(__file__).parents[3]
VISIBILITY_SECONDS = 1800


class BusyError(Exception):
    """As many executions work as are reserved: Lambda answers 429, the gateway 503."""


class FailedError(Exception):
    """The function raised an error."""


class Function:
    """Executions of the function.

    Args:
        environment: its variables.
        reserved: how many executions there are at most.
        log: where it logs.
    """

    def __init__(self, environment: Mapping[str, str], reserved: int, log: Path) -> None:
        self._environment, self._reserved = {**os.environ, **environment}, reserved
        self._environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'lambda'}"
        self._log = log.open("ab")
        self._lock = threading.Lock()
        self._all: list[subprocess.Popen[str]] = []
        self._idle: list[subprocess.Popen[str]] = []
        self.most_at_once = 0
        """Executions that worked at the same time, at most."""

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """Return the function's answer to an event.

        Raises:
            BusyError, FailedError: see there.
        """
        with self._lock:
            if self._idle:
                execution = self._idle.pop()
            elif len(self._all) < self._reserved:
                execution = self._start()
            else:
                raise BusyError
            self.most_at_once = max(self.most_at_once, len(self._all) - len(self._idle))
        try:
            return self._exchange(execution, event)
        finally:
            with self._lock:
                self._idle.append(execution)

    def seconds(self) -> float:
        """Return the CPU seconds of all executions so far."""
        with self._lock:
            return sum(cpu.with_children(execution.pid) for execution in self._all)

    def warm(self, event: Mapping[str, Any]) -> None:
        """Let each execution answer an event, one after the other.

        On AWS a new execution brings its own processor; here it would take it from all others.
        """
        with self._lock:
            self._idle += [self._start() for _ in range(self._reserved - len(self._all))]
            for execution in self._idle:
                self._exchange(execution, event)

    def stop(self) -> None:
        """End all executions."""
        for execution in self._all:
            execution.kill()
            execution.communicate()
        self._log.close()

    def _exchange(self, execution: subprocess.Popen[str], event: Mapping[str, Any]) -> Any:
        assert execution.stdin is not None
        assert execution.stdout is not None
        execution.stdin.write(json.dumps(event) + "\n")
        execution.stdin.flush()
        answer = json.loads(execution.stdout.readline())
        if "error" in answer:
            raise FailedError(answer["error"])
        return answer["answer"]

    def _start(self) -> subprocess.Popen[str]:
        execution = subprocess.Popen(
            [sys.executable, "-m", "checks.bench.queue.execution"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=self._environment,
            cwd=ROOT,
        )
        self._all.append(execution)
        return execution


@dataclass
class _Message:
    body: str
    receipt: str = field(default_factory=lambda: uuid.uuid4().hex)
    visible_at: float = 0
    received: int = 0


class Queue:
    """The jobs queue and its event source mapping.

    Args:
        function: takes the messages.
        store: where the function sends messages and hides them.
        at_once: the maximum concurrency.
    """

    def __init__(self, function: Function, store: ObjectStore, at_once: int) -> None:
        self._function, self._store, self._at_once = function, store, at_once
        self._lock = threading.Lock()
        self._messages: dict[str, _Message] = {}
        self._working = 0
        self._is_over = threading.Event()
        self._poller = threading.Thread(target=self._poll, daemon=True)
        self._poller.start()

    def send(self, body: str) -> None:
        """Add a message."""
        message = _Message(body)
        with self._lock:
            self._messages[message.receipt] = message

    def length(self) -> int:
        """Return how many messages are left, hidden ones as well."""
        with self._lock:
            return len(self._messages)

    def stop(self) -> None:
        """Hand out no further message."""
        self._is_over.set()
        self._poller.join()

    def _poll(self) -> None:
        while not self._is_over.wait(0.02):
            while self._store.invocations:
                self.send(self._store.invocations.pop(0).decode())
            with self._lock:
                while self._store.hidden:
                    receipt, seconds = self._store.hidden.pop(0)
                    if receipt in self._messages:
                        self._messages[receipt].visible_at = time.monotonic() + seconds
                now = time.monotonic()
                visible = [message for message in self._messages.values() if message.visible_at <= now]
                for message in visible[: self._at_once - self._working]:
                    self._working += 1
                    message.visible_at, message.received = now + VISIBILITY_SECONDS, message.received + 1
                    threading.Thread(target=self._work, args=(message,), daemon=True).start()

    def _work(self, message: _Message) -> None:
        record = {
            "body": message.body,
            "receiptHandle": message.receipt,
            "attributes": {"ApproximateReceiveCount": str(message.received)},
            "eventSource": "aws:sqs",
        }
        try:
            self._function.invoke({"Records": [record]})
        except (BusyError, FailedError):
            done = False
        else:
            done = True
        with self._lock:
            self._working -= 1
            if done:
                del self._messages[message.receipt]
