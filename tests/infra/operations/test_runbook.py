"""Alarms, runbook, dashboard and log messages use the same names."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks.lint.rules import anchors
from ops import dashboard
from ops.settings import ROOT

ALARMS = ROOT / "modules/alarms"
RUNBOOK = ROOT / "docs/runbook.md"


def text_of(folder: Path) -> str:
    return "\n".join(file.read_text() for file in sorted(folder.glob("*.tf")))


def alarm_names() -> dict[str, str]:
    """Return the severity of every alarm, by name."""
    found = dict(re.findall(r"^ +([a-z][a-z-]+) += \{\n +severity +\= \"(\w+)\"", text_of(ALARMS), re.MULTILINE))
    # The alarms of modules/heartbeat go to the addresses for critical alarms.
    outside = re.findall(r'alarm_name += "\$\{var\.name\}-([a-z-]+)"', text_of(ROOT / "modules/heartbeat"))
    return found | dict.fromkeys(outside, "critical")


def sections() -> dict[str, str]:
    """Return the text of every third-level section of the runbook, by its heading."""
    parts = re.split(r"^### (.+)$", RUNBOOK.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_alarms_and_runbook_sections_match() -> None:
    assert len(alarm_names()) == 43
    assert set(sections()) == set(alarm_names())
    assert set(sections()) <= anchors(RUNBOOK.read_text())


@pytest.mark.parametrize("name", sorted(alarm_names()))
def test_runbook_section_names_severity_and_actions(name: str) -> None:
    section = sections()[name]
    assert section.strip().startswith(f"*{alarm_names()[name]}* · ")
    assert len(section.split()) > 25


def messages_of_filters() -> Iterator[tuple[str, list[str]]]:
    """Yield each message that a metric filter matches, and the fields that the filter reads from it."""
    found: dict[str, list[str]] = {}
    pattern = r'\$\.message = \\"([^"\\]+)\\".*?value = "([^"]+)"'
    for message, value in re.findall(pattern, (ALARMS / "logs.tf").read_text()):
        found.setdefault(message, []).extend(re.findall(r"^\$\.(\w+)$", value))
    yield from found.items()


@pytest.mark.parametrize(("message", "fields"), list(messages_of_filters()), ids=str)
def test_function_logs_the_messages_that_filters_match(message: str, fields: list[str]) -> None:
    calls = [
        (call, file.read_text())
        for file in (ROOT / "lambda/pmp").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and call.args[0].value == message
    ]
    assert calls, f"nothing in lambda/pmp logs {message!r}"
    for field in fields:
        # Fields may come in a dictionary that the same file builds.
        assert any(
            field in [keyword.arg for keyword in call.keywords]
            or (None in [keyword.arg for keyword in call.keywords] and f'"{field}"' in text)
            for call, text in calls
        ), f"{message!r} is logged without {field}"


def test_every_alarm_metric_is_on_the_dashboard() -> None:
    watched = set(re.findall(r'metric +\= "(\w+)"', text_of(ALARMS)))
    drawn = set(re.findall(r'name = "(\w+)"', text_of(ROOT / "modules/dashboard")))
    # Not drawn: a ratio of drawn metrics, a count of failures, a time that the API's latency includes, the whole of
    # which errors are a share, a counter that rises over months, and the jobs of AWS Backup, one a day.
    assert watched - drawn == {
        "DBLoadRelativeToNumVCPUs",
        "DatabaseConnectionsSetupFailed",
        "Duration",
        "Invocations",
        "MaximumUsedTransactionIDs",
        "NumberOfBackupJobsCompleted",
        "NumberOfBackupJobsFailed",
        "NumberOfCopyJobsCompleted",
        "NumberOfCopyJobsFailed",
    }


def test_dashboard_draws_thresholds_of_existing_alarms() -> None:
    drawn = set(re.findall(r'alarm += "([a-z-]+)"', text_of(ROOT / "modules/dashboard")))
    assert len(drawn) == 13
    assert drawn <= set(alarm_names()), "modules/dashboard draws the threshold of an alarm that does not exist"


def test_dashboard_picture_matches_the_planned_dashboard() -> None:
    assert dashboard.PICTURE.read_text() == dashboard.draw(dashboard.planned_body()), "run 'make dashboard'"
