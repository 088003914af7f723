"""Run the stages of ``make test`` one after another, then print a table of their times and counts.

The stages that can fail fastest come first, and the first failure ends the run: later stages take minutes. With
arguments after ``--`` (``python -m checks.stages unit -- -k name``) only that stage's command runs, without a table.
The targets ``make test-<stage>`` do that.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from ops.settings import ROOT

_PYTEST = (sys.executable, "-m", "pytest")

COMMAND_BY_STAGE: dict[str, tuple[str, ...]] = {
    "lint": (sys.executable, "-m", "checks.lint"),
    "unit": (*_PYTEST, "tests/unit"),
    "db": (sys.executable, "-m", "checks.database"),
    "terraform": (sys.executable, "-m", "checks.terraform"),
    "infra": (*_PYTEST, "tests/infra", "-m", "not nightly"),
    "integration": (*_PYTEST, "tests/integration"),
    "pipeline": (*_PYTEST, "tests/pipeline", "-m", "not e2e"),
    "terratest": (sys.executable, "-m", "checks.terratest"),
    "e2e": (*_PYTEST, "tests/e2e"),
}

# pytest's summary, with or without its ruler, or the plain line at the end of PMP's own runners.
_PYTEST_SUMMARY = re.compile(r"^(?:=+ )?(?P<counts>\d+ (?:passed|failed|error|skipped|deselected).*) in [\d.]+s")
_PLAIN_SUMMARY = re.compile(r"^(?P<counts>\d+ passed, \d+ failed(?:, \d+ skipped)?)$")
_PG_PROVE_SUMMARY = re.compile(r"^Files=\d+, Tests=(?P<passed>\d+),")
_COUNT = re.compile(r"(\d+) (passed|failed|error|skipped)")
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Result:
    """The result of one stage; ``status`` is its exit code, None if it has not run."""

    stage: str
    status: int | None = None
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)

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


def run(stage: str) -> Result:
    """Run one stage, show its output as it comes, and add up the summary lines in it."""
    result = Result(stage)
    started = time.monotonic()
    command = COMMAND_BY_STAGE[stage]
    print(f"\n━━ {stage}", flush=True)
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            result.counts += counts_in(line)
    result.status = process.returncode
    result.seconds = time.monotonic() - started
    return result


def table(results: list[Result]) -> str:
    """Return one line per stage with its time and counts, and a machine-readable last line with the sum."""
    lines = [f"{'stage':<12} {'result':<8} {'time':>8} {'passed':>7} {'failed':>7} {'skipped':>7}"]
    for result in results:
        counts = "".join(f" {result.counts[word]:>7}" for word in ("passed", "failed", "skipped"))
        lines.append(f"{result.stage:<12} {result.verdict:<8} {_duration(result.seconds):>8}{counts}")
    total = sum((result.counts for result in results), Counter[str]())
    # A stage that broke before any of its tests ran counts as one failure: otherwise the sum would look green.
    broken = sum(1 for result in results if result.status and not result.counts["failed"])
    lines.append(f"{'all':<12} {'':<8} {_duration(sum(result.seconds for result in results)):>8}")
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
    results = [Result(stage) for stage in stages]
    try:
        for index, stage in enumerate(stages):
            results[index] = run(stage)
            if results[index].status:
                break
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        print(f"\n{table(results)}", flush=True)
    sys.exit(1 if any(result.status for result in results) else 0)


if __name__ == "__main__":
    main()
