"""Run the stages of ``make test``, then print a table of their times and counts, and the names of failed tests.

The stages that can fail fastest come first, alone. The others take minutes, in which they mostly wait, so two of them
run at once, each line with its stage's name. After a failure no other stage starts. With arguments after ``--``
(``python -m checks.stages unit -- -k name``) only that stage's command runs, without a table. The targets
``make test-<stage>`` do that.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from ops.settings import ROOT

_PYTEST = (sys.executable, "-m", "pytest")
# Two processes share the tests. ARGS="-n 0" runs them in this one, for example for a debugger.
_IN_TWO = (*_PYTEST, "-n", "2")

COMMAND_BY_STAGE: dict[str, tuple[str, ...]] = {
    "lint": (sys.executable, "-m", "checks.lint"),
    "unit": (*_IN_TWO, "--dist", "loadfile", "tests/unit"),
    "db": (sys.executable, "-m", "checks.database"),
    "terraform": (sys.executable, "-m", "checks.terraform"),
    "infra": (*_PYTEST, "tests/infra", "-m", "not nightly"),
    "integration": (*_IN_TWO, "tests/integration", "-m", "not nightly"),
    "pipeline": (*_PYTEST, "tests/pipeline", "-m", "not e2e"),
    "terratest": (sys.executable, "-m", "checks.terratest"),
    "e2e": (*_PYTEST, "tests/e2e"),
}
_ALONE = ("lint", "unit", "db")
_AT_ONCE = ("integration", "infra", "e2e", "terratest", "terraform", "pipeline")
"""In the order of their start: the longest first, so that all end at about the same time."""

# pytest's summary, with or without its ruler, or the plain line at the end of PMP's own runners.
_PYTEST_SUMMARY = re.compile(r"^(?:=+ )?(?P<counts>\d+ (?:passed|failed|error|skipped|deselected).*) in [\d.]+s")
_PLAIN_SUMMARY = re.compile(r"^(?P<counts>\d+ passed, \d+ failed(?:, \d+ skipped)?)$")
_PG_PROVE_SUMMARY = re.compile(r"^Files=\d+, Tests=(?P<passed>\d+),")
# pytest, its plain form without a reason, and Go.
_FAILED_TEST = re.compile(r"^(?:FAILED|ERROR) \S+\.py(?: |::|$)|^ *--- FAIL: ")
_LONGEST_NAME = 300
_COUNT = re.compile(r"(\d+) (passed|failed|error|skipped)")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Result:
    """The result of one stage; ``status`` is its exit code, None if it has not run."""

    stage: str
    status: int | None = None
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    """The lines that name a failed test and the reason."""

    @property
    def verdict(self) -> str:
        """One word for the table."""
        if self.status is None:
            return "not run"
        return "failed" if self.status else "passed"


def counts_in(line: str) -> Counter[str]:
    """Return how many tests passed, failed and were skipped by a summary line; empty for any other line."""
    line = _COLOR.sub("", line).strip()
    if match := _PG_PROVE_SUMMARY.match(line):
        return Counter(passed=int(match["passed"]))
    match = _PYTEST_SUMMARY.match(line) or _PLAIN_SUMMARY.match(line)
    if not match:
        return Counter()
    counts: Counter[str] = Counter()
    for number, word in _COUNT.findall(match["counts"]):
        counts["failed" if word == "error" else word] += int(number)
    return counts


def failure_in(line: str) -> str | None:
    """Return what a line says of a failed test, without color and not too long; None for any other line."""
    line = _COLOR.sub("", line).strip()
    return line[:_LONGEST_NAME] if _FAILED_TEST.match(line) else None


def run(stage: str, prefix: str = "") -> Result:
    """Run one stage, show its output as it comes, and collect its counts and failed tests.

    Args:
        stage: its name.
        prefix: what each line of the output begins with.
    """
    result = Result(stage)
    started = time.monotonic()
    command = COMMAND_BY_STAGE[stage]
    print(f"\n━━ {stage}", flush=True)
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(prefix + line)
            sys.stdout.flush()
            result.counts += counts_in(line)
            if failure := failure_in(line):
                result.failures.append(failure)
    result.status = process.returncode
    result.seconds = time.monotonic() - started
    return result


def run_all(stages: list[str], jobs: int) -> Iterator[Result]:
    """Run stages until one fails, and yield each result when the stage has ended.

    A stage that runs beside a failed one is finished first: a test that is interrupted may leave servers behind.

    Args:
        stages: their names, in any order.
        jobs: how many of the long stages may run at once.
    """
    alone = [stage for stage in COMMAND_BY_STAGE if stage in stages and (stage in _ALONE or jobs == 1)]
    for stage in alone:
        yield (result := run(stage))
        if result.status:
            return
    waiting = [stage for stage in _AT_ONCE if stage in stages and stage not in alone]
    running: set[Future[Result]] = set()
    with ThreadPoolExecutor(jobs) as pool:
        while running or waiting:
            while waiting and len(running) < jobs:
                stage = waiting.pop(0)
                running.add(pool.submit(run, stage, f"{stage:<11} │ "))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for ended in done:
                yield (result := ended.result())
                if result.status:
                    waiting = []


def table(results: list[Result], seconds: float) -> str:
    """Return one line per stage, the failed tests, and a machine-readable last line with the sum.

    The failed tests are repeated here because some logs keep only the end of the output.

    Args:
        results: of all stages.
        seconds: how long they took together.
    """
    lines = [f"{'stage':<12} {'result':<8} {'time':>8} {'passed':>7} {'failed':>7} {'skipped':>7}"]
    for result in results:
        counts = "".join(f" {result.counts[word]:>7}" for word in ("passed", "failed", "skipped"))
        lines.append(f"{result.stage:<12} {result.verdict:<8} {_duration(result.seconds):>8}{counts}")
    total = sum((result.counts for result in results), Counter[str]())
    # A stage that broke before any of its tests ran counts as one failure: otherwise the sum would look green.
    broken = sum(1 for result in results if result.status and not result.counts["failed"])
    lines.append(f"{'all':<12} {'':<8} {_duration(seconds):>8}")
    if failures := [f"{result.stage}: {failure}" for result in results for failure in result.failures]:
        lines += ["", *failures]
    skipped = f", {total['skipped']} skipped" if total["skipped"] else ""
    lines += ["", f"{total['passed']} passed, {total['failed'] + broken} failed{skipped}"]
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def main() -> None:
    """Run the named stages, or all; exit 1 when one failed, 130 when interrupted."""
    parser = argparse.ArgumentParser(prog="make test", description=__doc__)
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of: {' '.join(COMMAND_BY_STAGE)}")
    # Everything after "--" belongs to the stage's own command.
    words = sys.argv[1:]
    own = words[: words.index("--")] if "--" in words else words
    stages = parser.parse_args(own).stages or list(COMMAND_BY_STAGE)
    if unknown := [stage for stage in stages if stage not in COMMAND_BY_STAGE]:
        parser.error(f"no stage named {', '.join(unknown)}: there are {' '.join(COMMAND_BY_STAGE)}")
    if "--" in words:
        command = [*COMMAND_BY_STAGE[stages[0]], *words[words.index("--") + 1 :]]
        os.chdir(ROOT)
        os.execv(command[0], command)  # noqa: S606 - a command of the table above
    results = {stage: Result(stage) for stage in stages}
    started = time.monotonic()
    try:
        for result in run_all(stages, int(os.environ.get("PMP_TEST_JOBS", "2"))):
            results[result.stage] = result
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        print(f"\n{table(list(results.values()), time.monotonic() - started)}", flush=True)
    sys.exit(1 if any(result.status for result in results.values()) else 0)


if __name__ == "__main__":
    main()
