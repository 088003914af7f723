"""Requests and readers are found in the logs, and nothing else is."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from ops import aws, logs
from ops.__main__ import application
from ops.errors import UserError

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
REQUEST = "VK6zkhpNjoEEMTQ="
INVOCATION = "0d1e6c64-76d3-49eb-9d7b-c2ad37b154e6"
USER = "eb2419ce-a105-4444-83c2-476baebe0fe5"
OTHER = "64ceca06-233a-4e3e-845a-bbd417ff2b5e"


class AbsentError(Exception):
    """What boto3 raises for a log group that does not exist."""


class Logs:
    """CloudWatch Logs as far as it is used: a quoted pattern is a substring."""

    exceptions = SimpleNamespace(ResourceNotFoundException=AbsentError)

    def __init__(self, events: dict[str, list[tuple[float, Any]]]) -> None:
        self.events = events
        """By group: seconds after noon, and the message."""

    def get_paginator(self, operation: str) -> "Logs":
        assert operation == "filter_log_events"
        return self

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        if asked["logGroupName"] not in self.events:
            raise AbsentError
        term = asked["filterPattern"].strip('"')
        for seconds, message in self.events[asked["logGroupName"]]:
            text = message if isinstance(message, str) else json.dumps(message)
            at = int((NOON.timestamp() + seconds) * 1000)
            if term in text and asked["startTime"] <= at <= asked["endTime"]:
                yield {"events": [{"timestamp": at, "message": text + "\n"}]}


def backend(number: int, rest: str) -> str:
    return f"2026-11-26 12:00:01 UTC:10.0.0.9(4711):pmp_app@pmp:[{number}]:{rest}"


EVENTS: dict[str, list[tuple[float, Any]]] = {
    "/aws/apigateway/pmp-prod": [
        (1.1, {"requestId": REQUEST, "functionRequestId": INVOCATION, "status": "500"}),
        (1.2, {"requestId": "another=", "functionRequestId": OTHER, "status": "200"}),
    ],
    "/aws/lambda/pmp-prod": [
        (0.9, f"START RequestId: {INVOCATION} Version: 7"),
        (1.05, {"message": "request failed", "request_id": REQUEST, "traceback": "Traceback …"}),
        (1.06, {"message": "request", "request_id": REQUEST, "status": 500}),
        (1.07, f"REPORT RequestId: {INVOCATION} Duration: 12.1 ms"),
        (1.3, {"message": "request", "request_id": "another=", "status": 200}),
    ],
    "/aws/rds/instance/pmp-prod-r1/postgresql": [
        (1.0, backend(77, "ERROR:  division by zero")),
        (1.0, backend(77, f"STATEMENT:  SELECT pmp.get_user($1) /*{REQUEST}*/")),
        (1.0, backend(78, "LOG:  duration: 612 ms")),
        (9.0, backend(77, "LOG:  disconnection")),
    ],
}
SPAN = logs.Span(NOON - timedelta(hours=1), NOON + timedelta(hours=1))


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Logs:
    found = Logs({name: list(events) for name, events in EVENTS.items()})
    monkeypatch.setattr(aws, "client", lambda service: found if service == "logs" else None)
    monkeypatch.setattr(aws, "parameter", {"/pmp/prod/foundation/database_identifier": "pmp-prod-r1"}.__getitem__)
    return found


def test_trace_collects_the_lines_of_one_request_in_order(cloud: Logs) -> None:
    found = logs.trace("prod", REQUEST, SPAN)
    assert [(line.source, (line.at - NOON).total_seconds()) for line in found] == [
        ("function", 0.9), ("database", 1.0), ("database", 1.0), ("function", 1.05), ("function", 1.06),
        ("function", 1.07), ("gateway", 1.1),
    ]  # fmt: skip
    assert "ERROR:  division by zero" in found[1].text
    assert all("another" not in line.text and "[78]" not in line.text for line in found)


def test_trace_reads_the_log_of_a_laptops_server(cloud: Logs, tmp_path: Path) -> None:
    file = tmp_path / "postgres.log"
    file.write_text(
        "2026-11-26 12:00:01.000 UTC [77] pmp_app@pmp ERROR:  division by zero\n"
        f"2026-11-26 12:00:01.000 UTC [77] pmp_app@pmp STATEMENT:  SELECT 1 / 0\n\t/*{REQUEST}*/\n"
        "2026-11-26 12:00:01.000 UTC [78] pmp_app@pmp LOG:  another\n"
        "2026-11-26 12:00:05.000 UTC [77] pmp_app@pmp LOG:  later\n"
    )
    found = [line.text for line in logs.trace("prod", REQUEST, SPAN, file) if line.source == "database"]
    assert [text.partition("pmp_app@pmp ")[2] for text in found] == [
        "ERROR:  division by zero",
        f"STATEMENT:  SELECT 1 / 0\n\t/*{REQUEST}*/",
    ]


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ('x" ?a', "is not the id of a request"),
        ("ada@example.com", "is not the id of a request"),
        ("unknown-id", "no log of prod has unknown-id"),
    ],
)
def test_trace_says_what_is_wrong(cloud: Logs, identifier: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        logs.trace("prod", identifier, SPAN)


def test_absent_log_group_is_named(cloud: Logs) -> None:
    del cloud.events["/aws/lambda/pmp-prod"]
    with pytest.raises(UserError, match="no log group /aws/lambda/pmp-prod"):
        logs.trace("prod", REQUEST, SPAN)


def line(seconds: float, client: str, **more: str) -> tuple[float, Any]:
    return seconds, {
        "message": "request",
        "client": client,
        "operation": "getUser",
        "request_id": f"of {client}",
        **more,
    }


def test_readers_are_those_whose_answers_named_the_user_and_all_files(cloud: Logs) -> None:
    cloud.events["/aws/lambda/pmp-prod"] = [
        line(3, "crm", discloses=f"{OTHER[-12:]} {USER[-12:]}"),
        line(1, "mailer", discloses=USER[-12:]),
        line(2, "warehouse", discloses_file="export 019a"),
        line(4, "other", discloses=OTHER[-12:]),
        line(5, "bad", path=f"/v1/users/{USER}"),
        line(7200, "later", discloses=USER[-12:]),
    ]
    found = logs.readers("prod", USER.upper(), SPAN)
    assert [(one.client, one.file) for one in found] == [("mailer", ""), ("warehouse", "export 019a"), ("crm", "")]


def test_readers_wants_an_id(cloud: Logs) -> None:
    with pytest.raises(UserError, match="is not a user's id"):
        logs.readers("prod", "ada@example.com", SPAN)


@pytest.mark.parametrize(
    ("since", "until", "message"),
    [
        ("yesterday", None, "--since 'yesterday' is not an instant"),
        (None, "2026-11-26T12:00:00", "--until '2026-11-26T12:00:00' is not an instant"),
        ("2026-11-26T13:00:00Z", "2026-11-26T12:00:00Z", "is not before --until"),
    ],
)
def test_span_is_of_two_instants(since: str | None, until: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        logs.Span.of(since, until, default=timedelta(days=1))


def test_commands_print_a_line_each(cloud: Logs) -> None:
    span = ["--environment", "prod", "--since", "2026-11-26T11:00:00Z", "--until", "2026-11-26T13:00:00Z"]
    printed = CliRunner().invoke(application, ["trace", REQUEST, *span])
    assert printed.exit_code == 0, printed.output
    assert printed.output.splitlines()[0].startswith("2026-11-26 12:00:00.900000  function  START RequestId")
    cloud.events["/aws/lambda/pmp-prod"] = [line(3, "crm", discloses=USER[-12:])]
    printed = CliRunner().invoke(application, ["readers", USER, *span])
    assert printed.output.splitlines() == [
        "when                  client  operation  request  file of many users",
        "2026-11-26T12:00:03Z  crm     getUser    of crm",
    ]
