"""What a failed deployment advises."""

from pathlib import Path

import pytest

from ops import migrate
from ops.lock_waits import PATIENCE_SECONDS, lock_waits

STAMP = "2026-01-01T00:00:00Z PMP <pmp@example.com>"
PLAN = f"%syntax-version=1.0.0\n%project=pmp\n\ncreate_a {STAMP} # A\n{{tag}}create_b {STAMP} # B\n"
RELEASE = f"@v1.0.0 {STAMP} # First\n"
REWRITTEN = "run 'make down', then 'make up'"
REVERT = "a deployed change must not be edited: revert the edit"


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(migrate, "_DATABASE", tmp_path)
    path = tmp_path / "sqitch.plan"
    path.write_text(PLAN.format(tag=""))
    return path


@pytest.mark.parametrize(
    "line",
    ["Script signatures diverge at change create_a", "Cannot find change 3e9a7e1d (create_a @v0.1.0) in sqitch.plan"],
)
@pytest.mark.parametrize(
    ("endpoint", "tag", "expected"),
    [
        ("", "", REVERT),
        ("", RELEASE, REVERT),
        ("https://localhost:4566", "", REWRITTEN),
        ("https://localhost:4566", RELEASE, REVERT),
    ],
)
def test_a_rewritten_change_needs_a_new_laptop_database_or_a_revert(
    line: str, endpoint: str, tag: str, expected: str, plan: Path
) -> None:
    plan.write_text(PLAN.format(tag=tag))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        assert expected in migrate.advice([line, "Failed one check"])


def test_a_change_after_the_release_may_be_rewritten_on_a_laptop(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://localhost:4566")
    plan.write_text(PLAN.format(tag=RELEASE))
    assert REWRITTEN in migrate.advice(["Script signatures diverge at change create_b"])


def test_a_lock_timeout_says_how_to_find_who_holds_the_lock() -> None:
    lines = ["  + create_b .. psql:deploy/create_b.sql:2: ERROR:  canceling statement due to lock timeout", "not ok"]
    found = "; another session holds a lock, nothing was changed: find it (docs/runbook.md#"
    assert migrate.advice(lines).startswith(found)
    blocked = "Blocked by another instance of Sqitch working on db:pg:pmp; waiting 5 seconds..."
    for end in ("ERROR:  canceling statement due to lock timeout", "Timed out waiting 5 seconds for another instance"):
        assert migrate.advice([blocked, end]).startswith("; another deployment is running, nothing was changed")
        assert migrate.is_locked_out([blocked, end])
    # It got Sqitch's lock in the end; what it waits for now is a table's.
    assert migrate.advice([blocked, *lines]).startswith(found)
    assert migrate.is_locked_out([blocked, *lines])
    assert not migrate.is_locked_out(["psql: error: connection refused"])


def test_an_index_that_is_half_built_is_not_tried_again_by_itself(plan: Path) -> None:
    script = plan.parent / "deploy" / "create_b.sql"
    script.parent.mkdir()
    lines = ["  + create_b .. psql:deploy/create_b.sql:2: ERROR:  canceling statement due to lock timeout", "not ok"]
    script.write_text("CREATE TABLE pmp.b (a int);")
    assert migrate.is_locked_out(lines)
    script.write_text("CREATE INDEX CONCURRENTLY b ON pmp.a (b);")
    assert not migrate.is_locked_out(lines)


def test_waits_for_a_lock_concern_one_request_in_two_hundred_and_end() -> None:
    pauses = list[float]()
    waits = list(lock_waits(pauses.append))
    assert waits == [0.1, 0.2, 0.4, 0.8, 0.8]
    assert [round(pause) for pause in pauses] == [20, 40, 80, 160]
    assert sum(pauses) <= PATIENCE_SECONDS


def test_a_change_that_exists_already_can_be_recorded() -> None:
    error = 'psql:deploy/define_erasure.sql:25: ERROR:  function "erase_user" already exists with same argument types'
    for lines in (["  + create_b .. ok", f"  + define_erasure @v1.0.0 .. {error}"], ["  + define_erasure .. ", error]):
        assert "'sqitch deploy --log-only --verify --to-change define_erasure'" in migrate.advice(lines)


def test_another_failure_comes_without_advice() -> None:
    assert migrate.advice(["psql: error: connection refused"]) == ""
    assert migrate.advice([]) == ""
