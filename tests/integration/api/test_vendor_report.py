"""Each scheduled run logs how many seconds the vendor list is overdue; the staleness alarm reads this."""

import json
from typing import Any

import pytest
from pmp.handler import handler

from checks.gateway import Context
from checks.stack import Stack


def overdue(capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    handler({"task": "refresh_vendors"}, Context())
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return next(line["overdue_seconds"] for line in lines if line["message"] == "vendor list checked")


def test_overdue_seconds_are_0_if_fresh_and_ten_days_without_a_copy(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nothing is fetched, because the next attempt is a day away.
    stack.cluster.psql(
        "DELETE FROM pmp.upstream_cache; INSERT INTO pmp.upstream_cache "
        "(url, next_attempt_at, fetched_at, fresh_until, version, document) "
        "VALUES ('https://vendors.test/list.json', now() + interval '1 day', now(), now() + interval '1 hour', 1, '{}')"
    )
    from pmp.configuration import configuration

    stack.cluster.psql(f"UPDATE pmp.upstream_cache SET url = '{configuration().vendor_list_url}'")
    assert overdue(capsys) == 0
    stack.cluster.psql("UPDATE pmp.upstream_cache SET fresh_until = now() - interval '2 hours'")
    assert 7200 <= overdue(capsys) < 7300
    stack.cluster.psql(
        "UPDATE pmp.upstream_cache SET version = NULL, document = NULL, fetched_at = NULL, fresh_until = NULL"
    )
    assert overdue(capsys) == 864_000
    stack.cluster.psql("DELETE FROM pmp.upstream_cache")
