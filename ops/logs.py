"""Search an environment's logs in CloudWatch: the lines of one request, and who read a user's data (docs/adr/0411)."""

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from ops import aws
from ops.errors import UserError

_GATEWAY, _FUNCTION, _DATABASE = "gateway", "function", "database"
_ID = re.compile(r"[\w=-]{8,64}", re.ASCII).fullmatch
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_TAIL = 12
"""Digits of a user's id in the audit record."""
_BACKEND = re.compile(r"\[(\d+)\]")
"""The process id in a line of PostgreSQL: on RDS ``…@pmp:[4711]:``, on a laptop ``[4711] …@pmp``."""
_NEAR = timedelta(seconds=1)
"""PostgreSQL writes an error and its statement as two lines."""
_STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?")


class Line(NamedTuple):
    """A line of a log.

    Attributes:
        at: when it was written.
        source: ``gateway``, ``function`` or ``database``.
        text: as it is in the log.
    """

    at: datetime
    source: str
    text: str

    @property
    def fields(self) -> dict[str, Any]:
        """The line's JSON object; empty if it is none."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Span(NamedTuple):
    """From when to when to search."""

    since: datetime
    until: datetime

    @classmethod
    def of(cls, since: str | None, until: str | None, *, default: timedelta) -> "Span":
        """Read two instants.

        Args:
            since: RFC 3339; None: ``default`` before ``until``.
            until: RFC 3339; None: now.
            default: see ``since``.

        Raises:
            UserError: one is not an instant with an offset, or they are in the wrong order.
        """
        end = _instant("--until", until) if until else datetime.now(UTC)
        begin = _instant("--since", since) if since else end - default
        if begin >= end:
            raise UserError(f"--since {begin:%Y-%m-%dT%H:%M:%SZ} is not before --until {end:%Y-%m-%dT%H:%M:%SZ}")
        return cls(begin, end)


def _instant(option: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UserError(f"{option} '{text}' is not an instant: write it as 2026-11-26T12:00:00Z")
    return found.astimezone(UTC)


def trace(environment: str, identifier: str, span: Span, postgres_log: Path | None = None) -> list[Line]:
    """Collect what gateway, function and PostgreSQL wrote about one request, in the order of time.

    Args:
        environment: where it was asked.
        identifier: the ``request_id`` of its problem document or line; for jobs, that of the invocation.
        span: when to look.
        postgres_log: PostgreSQL's log file; None for its log group, as on AWS.

    Raises:
        UserError: the id has an impossible form, or nothing is found.
    """
    if not _ID(identifier):
        raise UserError(f"'{identifier}' is not the id of a request: a problem document has it as request_id")
    lines = list(_search(_groups(environment)[_GATEWAY], _GATEWAY, identifier, span))
    invocations = {str(found) for line in lines if (found := line.fields.get("functionRequestId"))} - {"-", ""}
    for name in (identifier, *sorted(invocations)):
        lines += _search(_groups(environment)[_FUNCTION], _FUNCTION, name, span)
    if postgres_log is None:
        group = f"/aws/rds/instance/{aws.parameter(f'/pmp/{environment}/foundation/database_identifier')}/postgresql"
        own = list(_search(group, _DATABASE, identifier, span))
        for line in list(own):
            if backend := _BACKEND.search(line.text):
                near = Span(line.at - _NEAR, line.at + _NEAR)
                own += _search(group, _DATABASE, f"[{backend[1]}]", near)
    else:
        own = _of_file(postgres_log, identifier, span)
    lines = sorted(dict.fromkeys(lines + own))
    if not lines:
        raise UserError(
            f"no log of {environment} has {identifier} between {span.since:%Y-%m-%dT%H:%M:%SZ} and "
            f"{span.until:%Y-%m-%dT%H:%M:%SZ}: give --since; lines reach CloudWatch within about a minute"
        )
    return lines


def _groups(environment: str) -> dict[str, str]:
    return {_GATEWAY: f"/aws/apigateway/pmp-{environment}", _FUNCTION: f"/aws/lambda/pmp-{environment}"}


def _search(group: str, source: str, term: str, span: Span) -> Iterator[Line]:
    """Yield the lines of a log group that have a term.

    Pattern: https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html.

    Raises:
        UserError: the group does not exist.
    """
    logs = aws.client("logs")
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=group,
        filterPattern=f'"{term}"',
        startTime=int(span.since.timestamp() * 1000),
        endTime=int(span.until.timestamp() * 1000),
    )
    try:
        for page in pages:
            for event in page["events"]:
                at = datetime.fromtimestamp(int(event["timestamp"]) / 1000, UTC)
                yield Line(at, source, str(event["message"]).rstrip("\n"))
    except logs.exceptions.ResourceNotFoundException:
        raise UserError(
            f"there is no log group {group}: is the environment deployed in this account and region?"
        ) from None


def _of_file(path: Path, identifier: str, span: Span) -> list[Line]:
    """The records of PostgreSQL's log file with the id, and those of the same process a moment before."""
    records: list[Line] = []
    for text in path.read_text(errors="replace").splitlines():
        if stamp := _STAMP.match(text):
            records.append(Line(datetime.fromisoformat(stamp[0]).replace(tzinfo=UTC), _DATABASE, text))
        elif records:  # a statement of several lines
            records[-1] = records[-1]._replace(text=f"{records[-1].text}\n{text}")
    records = [record for record in records if span.since <= record.at <= span.until]
    found = [(record, _BACKEND.search(record.text)) for record in records if identifier in record.text]
    near = [(record.at, backend[0]) for record, backend in found if backend]
    return [
        record
        for record in records
        if identifier in record.text
        or any(backend in record.text and abs(record.at - at) <= _NEAR for at, backend in near)
    ]


class Reading(NamedTuple):
    """An answer that held data of a user, or led to a file that may.

    Attributes:
        at: when it was answered.
        client: the OAuth client; with a user's own token, the client that made the token.
        operation: ``operationId`` in the OpenAPI document.
        request: the request's id.
        file: kind and job of a file of many users; empty if the answer named the user.
    """

    at: datetime
    client: str
    operation: str
    request: str
    file: str


def readers(environment: str, user: str, span: Span) -> list[Reading]:
    """Find who read a user's data, in the order of time.

    Args:
        environment: where.
        user: the user's id. Of merged users, each id leads to the answers that had it.
        span: when to look.

    Raises:
        UserError: not a UUID.
    """
    user = user.lower()
    if not _UUID(user):
        raise UserError(f"'{user}' is not a user's id: GET /v1/users?email=… and POST /v1/users/lookup find it")
    group, tail = _groups(environment)[_FUNCTION], user[-_TAIL:]
    named = [line for line in _search(group, _FUNCTION, tail, span) if tail in line.fields.get("discloses", "").split()]
    files = [line for line in _search(group, _FUNCTION, "discloses_file", span) if "discloses_file" in line.fields]
    return sorted(map(_reading, {*named, *files}))


def _reading(line: Line) -> Reading:
    fields = line.fields
    words = (str(fields.get(name, "")) for name in ("client", "operation", "request_id", "discloses_file"))
    return Reading(line.at, *words)


def shown(rows: Iterable[tuple[str, ...]]) -> str:
    """Return rows of text as columns of equal width."""
    table = list(rows)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table
    )
