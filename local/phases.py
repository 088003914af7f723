"""Run steps in the order of their dependencies, independent ones in parallel, and show progress and times."""

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from ops.errors import InterruptedRunError, UserError

Report = Callable[[str], None]
Run = Callable[[Report], str]


@dataclass(frozen=True)
class Phase:
    """One step. ``run`` receives a function that shows its progress, and returns what it did in a few words."""

    name: str
    run: Run
    after: Sequence[str] = field(default=())


class PhaseFailedError(UserError):
    """A phase failed; the message begins with its name."""


_Outcome = tuple[str, float, str | BaseException]
_Outcomes = queue.SimpleQueue[_Outcome | None]


def run(phases: Sequence[Phase], console: Console, interrupt: Callable[[], None]) -> dict[str, float]:
    """Run all ``phases``, each as soon as its predecessors are done; return seconds by phase name.

    After the first failure, or Ctrl-C, the running phases may end and no other is started: half-written Terraform state
    is worse than half a minute of waiting. ``interrupt`` is called once on Ctrl-C to ask the running programs to stop.

    Raises:
        PhaseFailedError: a phase failed (the first one, if several did).
        InterruptedRunError: Ctrl-C.
    """
    outcomes: _Outcomes = queue.SimpleQueue()
    waiting, seconds = list(phases), dict[str, float]()
    failure: PhaseFailedError | None = None
    interrupted = False
    with _Display(console) as display, _interrupts_into(outcomes):
        running: set[str] = set()
        while waiting or running:
            if failure or interrupted:
                waiting = []
            for phase in [one for one in waiting if set(one.after) <= set(seconds)]:
                waiting.remove(phase)
                running.add(phase.name)
                _start(phase, outcomes, display)
            if not running:
                break
            outcome = outcomes.get()
            if outcome is None:
                if not interrupted:
                    interrupted = True
                    display.say("  stopping: Terraform is saving its state, this can take half a minute …")
                    interrupt()
                continue
            name, taken, result = outcome
            running.discard(name)
            display.finish(name, taken, result)
            if isinstance(result, BaseException):
                failure = failure or _failed(name, result)
            else:
                seconds[name] = taken
    if interrupted:
        raise InterruptedRunError
    if failure:
        raise failure
    return seconds


@contextlib.contextmanager
def _interrupts_into(outcomes: _Outcomes) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM into a None in ``outcomes``, because an exception could interrupt any statement."""
    handlers = {
        number: signal.signal(number, lambda *_: outcomes.put(None)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _failed(name: str, error: BaseException) -> PhaseFailedError:
    text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    failure = PhaseFailedError(f"{name}: {text}")
    failure.__cause__ = error
    return failure


def _start(phase: Phase, outcomes: _Outcomes, display: "_Display") -> None:
    report = display.begin(phase.name)

    def work() -> None:
        started = time.monotonic()
        try:
            result: str | BaseException = phase.run(report)
        except BaseException as error:  # noqa: BLE001 - the caller reports it, and must learn of every end
            result = error
        outcomes.put((phase.name, time.monotonic() - started, result))

    # Not a daemon: a phase that is saving state must end before the program may.
    threading.Thread(target=work, name=phase.name).start()


class _Display:
    """A spinner per running phase on a terminal; one line per finished phase everywhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[phase]:<14}"),
            TimeElapsedColumn(),
            TextColumn("{task.description}", style="dim"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> "_Display":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def begin(self, name: str) -> Report:
        task = self._progress.add_task("", phase=name, total=None)
        self._tasks[name] = task

        def report(text: str) -> None:
            width = max(20, self._console.width - 34)
            self._progress.update(task, description=text[:width])

        return report

    def finish(self, name: str, taken: float, result: str | BaseException) -> None:
        self._progress.remove_task(self._tasks.pop(name))
        mark, text = ("✗", "failed") if isinstance(result, BaseException) else ("✓", result)
        self.say(f"  {mark} {name:<14} {taken:6.1f} s  {text}")
