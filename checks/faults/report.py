"""The fault matrix, and which tests show the faults that it does not make."""

import platform
import textwrap
from collections.abc import Sequence

from checks.faults.kinds import FAULTS, RATE
from checks.faults.measure import SUCCESS, Row
from ops.errors import UserError
from ops.settings import ROOT

REPORT = ROOT / "docs" / "bench" / "faults.md"


def table(rows: Sequence[Row]) -> str:
    """Return the figures as Markdown."""
    columns = (
        *("fault", "requests", "2xx", "4xx", "5xx", "of them without Retry-After", "unanswered", "no environment"),
        *("acknowledged events", "of them readable", "of the others, recorded", "sent again, recorded"),
        *("projection differs", "first read, s", "first event, s"),
    )
    lines = [f"| {' | '.join(columns)} |", f"|---|{'--:|' * (len(columns) - 1)}"]
    for row in rows:
        first = ("none" if seconds is None else f"{seconds:.2f}" for seconds in row.recovery)
        again = sum(count for status, count in row.statuses.items() if status in SUCCESS)
        values = (
            *(row.requests, row.answers[2], row.answers[4], row.answers[5], row.bare.total()),
            *(row.unanswered, row.refused, row.audit.acknowledged, row.audit.readable, row.audit.recorded),
            *(f"{again} of {row.repeated}", row.after.differing, *first),
        )
        lines.append(f"| {row.fault.name} | {' | '.join(map(str, values))} |")
    return "\n".join(lines)


_COLUMNS = """\
*unanswered*: the environment ended. *no environment*: none was idle. *of the others, recorded*: events whose client got
no success although they are recorded. *first read*, *first event*: seconds from the repair to the first success; after
the rotation PgBouncer waits for a second between two log-ins (`server_login_retry`). Some faults have two or
four writers besides the mix, which send the next event as soon as one is answered."""


def write(rows: Sequence[Row], server: str, seconds: float) -> None:
    """Write docs/bench/faults.md. A fault that was not measured keeps the row that it has there.

    Args:
        rows: what was measured.
        server: PostgreSQL's version.
        seconds: how long each fault lasted.

    Raises:
        UserError: a fault was never measured.
    """
    head, made = table(rows).splitlines()[:2], "\n".join(f"- **{fault.name}**: {fault.how}." for fault in FAULTS)
    lines = {**_by_name(REPORT.read_text()), **_by_name(table(rows))}
    if lacking := [fault.name for fault in FAULTS if fault.name not in lines]:
        raise UserError(f"{REPORT} has no row of {', '.join(lacking)} to keep: measure all faults, without --only")
    text = textwrap.fill(
        f"`make faults` with Python {platform.python_version()} and PostgreSQL {server}: {RATE} requests of "
        f"[the mix](load.md) a second, and each fault for {seconds:g} seconds. A request beside a fault is answered, "
        "or refused with 5xx and Retry-After, or gets no answer because its environment ended; API Gateway then "
        "answers 5xx without Retry-After, as it does where no environment is idle. After the repair, each event that "
        "was not acknowledged is sent again under its id: it is recorded once, also where its first request had "
        "recorded it. The program fails if an acknowledged event is lost, the projection differs from a replay, a "
        "5xx of the function lacks Retry-After, or a request is not counted. Rows may be of several runs.",
        120,
    )
    whole = "\n".join([*head, *(lines[fault.name] for fault in FAULTS)])
    parts = ("# Faults", text, whole, _COLUMNS, "How each fault is made:", made, _elsewhere())
    REPORT.write_text("\n\n".join(parts))


def _by_name(text: str) -> dict[str, str]:
    """Return the lines of tables in a document by what is in their first column."""
    return {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines() if line.startswith("| ")}


ELSEWHERE = (
    (
        "apply killed",
        ("tests/e2e/test_platform.py::test_sigkill_during_an_apply_leaves_a_journal",
         "tests/unit/local/test_deployment.py::test_interrupted_apply_is_undone"),
        "the next apply undoes the interrupted one, then does it",
    ),
    (
        "apply killed in a job: its state lock stays",
        ("tests/pipeline/test_promotion.py::test_stale_lock_names_its_holder_and_can_be_released",),
        "the next job names the holder and the command that releases the lock",
    ),
    (
        "migration killed",
        ("tests/pipeline/test_migration.py::test_a_killed_run_heals",
         "tests/pipeline/test_migration.py::test_a_change_without_its_record_is_recorded_by_the_advice"),
        "the next run ends what the killed one began, or says how",
    ),
    (
        "two pipelines at once",
        ("tests/pipeline/test_shape.py::test_promotion_jobs_are_exclusive_and_uninterruptible",
         "tests/pipeline/test_migration.py::test_a_second_deployment_waits_for_the_first",
         "tests/pipeline/test_promotion.py::test_older_commit_cannot_apply_over_a_newer_one"),
        "jobs of one environment wait for each other, migrations as well; an older commit is refused",
    ),
    (
        "migration that finds a long transaction, under load",
        ("tests/pipeline/test_migration.py::test_blocked_migration_gives_way_and_gives_up_while_the_api_keeps_serving",),
        "the migration gives up; no request of two clients fails",
    ),
    (
        "token expired, at the gateway",
        ("tests/e2e/test_platform.py::test_tokens_not_issued_for_the_api_are_refused",),
        "401",
    ),
    (
        "import's worker killed",
        ("tests/integration/imports/test_faults.py::test_killed_worker_loses_and_repeats_no_event",),
        "the next one goes on, and records each event once",
    ),
)  # fmt: skip
"""Fault, tests as pytest names them, and what they show."""

NOT_SHOWN = (
    "Not shown: AWS's own switch of an alias. The emulated Lambda draws a version for each request, as AWS documents."
)


def _elsewhere() -> str:
    lines = ["Faults that other tests show:", "", "| fault | tests | what they show |", "|---|---|---|"]
    for fault, tests, what in ELSEWHERE:
        named = ", ".join(f"`{test}`" for test in tests)
        lines.append(f"| {fault} | {named} | {what} |")
    return "\n".join([*lines, "", NOT_SHOWN, ""])
