import io
import os
import signal
import threading
import time

import pytest
from rich.console import Console

from local import phases
from local.phases import Phase, Report
from ops.errors import InterruptedRunError, UserError


class Trace:
    """Phases that record when they begin and end."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def phase(self, name: str, *after: str, seconds: float = 0.0, error: BaseException | None = None) -> Phase:
        def run(report: Report) -> str:
            self.events.append(f"+{name}")
            report("at work")
            time.sleep(seconds)
            self.events.append(f"-{name}")
            if error:
                raise error
            return f"did {name}"

        return Phase(name, run, after)


def _run(given: list[Phase], console: Console | None = None) -> dict[str, float]:
    return phases.run(given, console or Console(file=io.StringIO()), lambda: None)


def test_phase_waits_for_its_predecessors() -> None:
    trace = Trace()
    _run([trace.phase("b", "a"), trace.phase("a", seconds=0.05), trace.phase("c", "a", "b")])
    assert trace.events == ["+a", "-a", "+b", "-b", "+c", "-c"]


def test_independent_phases_run_at_the_same_time() -> None:
    all_at_work = threading.Barrier(4)

    def run(_: Report) -> str:
        all_at_work.wait(10)
        return ""

    assert set(_run([Phase(name, run) for name in "abcd"])) == set("abcd")


def test_each_phase_is_timed() -> None:
    seconds = _run([Trace().phase("a", seconds=0.1), Trace().phase("b")])
    assert seconds["a"] >= 0.1
    assert 0 <= seconds["b"] < seconds["a"]


def test_failure_lets_running_phases_end_and_starts_no_more() -> None:
    trace = Trace()
    given = [
        trace.phase("slow", seconds=0.3),
        trace.phase("bad", error=UserError("port 1 is taken")),
        trace.phase("next", "slow"),
    ]
    with pytest.raises(phases.PhaseFailedError, match=r"^bad: port 1 is taken$"):
        _run(given)
    assert trace.events[-1] == "-slow"
    assert "+next" not in trace.events


def test_unexpected_error_is_reported_with_its_type() -> None:
    with pytest.raises(phases.PhaseFailedError, match=r"^a: KeyError: 'x'$"):
        _run([Trace().phase("a", error=KeyError("x"))])


def test_each_phase_prints_one_line_with_its_time() -> None:
    output = io.StringIO()
    with pytest.raises(phases.PhaseFailedError):
        _run([Trace().phase("a"), Trace().phase("b", "a", error=UserError("no"))], Console(file=output))
    lines = output.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].split()[:2] == ["✓", "a"]
    assert lines[0].endswith("s  did a")
    assert lines[1].split()[:2] == ["✗", "b"]


def test_interrupt_is_passed_on_once_and_running_phases_end() -> None:
    stop = threading.Event()
    asked: list[int] = []
    ended: list[bool] = []

    def work(_: Report) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        ended.append(stop.wait(30))
        time.sleep(0.2)
        ended.append(True)
        return ""

    def interrupt() -> None:
        asked.append(1)
        stop.set()
        # An impatient second Ctrl-C.
        os.kill(os.getpid(), signal.SIGINT)

    trace = Trace()
    with pytest.raises(InterruptedRunError):
        phases.run([Phase("a", work), trace.phase("b", "a")], Console(file=io.StringIO()), interrupt)
    assert asked == [1]
    assert ended == [True, True]
    assert trace.events == []
