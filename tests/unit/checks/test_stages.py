"""The last lines of ``make test`` show the counts of all runners."""

import sys

import pytest

from checks import stages
from checks.stages import Result, counts_in, failure_in, run_all, table


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("===== 12 passed, 1 skipped in 3.21s =====", {"passed": 12, "skipped": 1}),
        ("== 1 failed, 2 passed, 3 errors in 0.10s (0:00:00) ==", {"failed": 4, "passed": 2}),
        ("5 passed in 0.02s", {"passed": 5}),
        ("\x1b[32m==== 5 passed in 0.02s ====\x1b[0m", {"passed": 5}),
        ("7 passed, 2 failed", {"passed": 7, "failed": 2}),
        ("Files=3, Tests=48,  1 wallclock secs ( 0.02 usr )", {"passed": 48}),
        ("a test said: 7 passed, 2 failed", {}),
        ("", {}),
    ],
)
def test_counts_are_read_from_summary_lines(line: str, counts: dict[str, int]) -> None:
    assert +counts_in(line) == counts


def test_last_line_is_the_sum() -> None:
    results = [
        Result("lint", 0, 61, counts_in("3 passed, 0 failed")),
        Result("unit", 0, 5, counts_in("4 passed in 1s")),
    ]
    lines = table(results, 62).splitlines()
    assert lines[-1] == "7 passed, 0 failed"
    assert "1:01" in lines[1]


def test_stage_that_breaks_before_its_first_test_counts_as_failed() -> None:
    assert table([Result("db", 2), Result("e2e")], 1).endswith("0 passed, 1 failed")


@pytest.mark.parametrize(
    "line",
    [
        "FAILED tests/unit/test_one.py::test_it[a b] - AssertionError: assert 1 == 2",
        "ERROR tests/unit/test_one.py - ImportError: no module",
        "ERROR tests/unit/test_one.py",
        "--- FAIL: TestNetwork (3.20s)",
    ],
)
def test_failed_tests_are_read_from_the_output(line: str) -> None:
    assert failure_in(f"\x1b[31m{line}\x1b[0m\n") == line


@pytest.mark.parametrize("line", ["ERROR: pooler error", "FAILED to start", "a test said FAILED tests/a.py::b", ""])
def test_other_lines_name_no_failed_test(line: str) -> None:
    assert failure_in(line) is None


def test_failed_tests_stand_between_the_table_and_the_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    script = "print('FAILED tests/a.py::b - assert 0'); print('== 1 failed, 2 passed in 0.10s =='); raise SystemExit(1)"
    monkeypatch.setitem(stages.COMMAND_BY_STAGE, "infra", (sys.executable, "-c", script))
    lines = table([stages.run("infra", "infra │ ")], 1).splitlines()
    assert lines[-3:] == ["infra: FAILED tests/a.py::b - assert 0", "", "2 passed, 1 failed"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replace the stages' commands by ones that end at once, unit's and infra's with a failure; return who started."""
    begun: list[str] = []

    def run(stage: str, prefix: str = "") -> Result:
        begun.append(prefix + stage)
        return Result(stage, 1 if stage in {"unit", "infra"} else 0)

    monkeypatch.setattr(stages, "run", run)
    return begun


def test_every_stage_has_its_place() -> None:
    assert {*stages._ALONE, *stages._AT_ONCE} == set(stages.COMMAND_BY_STAGE)


def test_no_long_stage_starts_after_a_short_one_failed(started: list[str]) -> None:
    assert [result.stage for result in run_all(list(stages.COMMAND_BY_STAGE), 2)] == ["lint", "unit"]
    assert started == ["lint", "unit"]


def test_stage_beside_a_failed_one_is_finished_and_no_other_starts(started: list[str]) -> None:
    ended = {result.stage for result in run_all(["db", "terraform", "infra", "e2e", "pipeline"], 2)}
    assert {"db", "e2e", "infra"} <= ended <= {"db", "e2e", "infra", "terraform"}
    assert len(ended) == len(started)


def test_one_job_runs_one_stage_after_another(started: list[str]) -> None:
    assert [result.stage for result in run_all(["pipeline", "db", "e2e"], 1)] == ["db", "pipeline", "e2e"]
    assert started == ["db", "pipeline", "e2e"]
