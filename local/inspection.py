"""Look into the running platform by hand: a session in the database, the function's log, a Python shell."""

import code
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Never

from local import function
from local.instance import clean_environment
from local.platform import Platform
from ops.errors import UserError

if TYPE_CHECKING:
    from ops.api import Api

_PAUSE_SECONDS = 0.5
_HISTORY_SECONDS = 600
_HISTORY_LINES = 20
_RUNTIME_LINES = ("START RequestId", "END RequestId", "REPORT RequestId", "INIT_START")
"""What Lambda itself writes around each invocation."""


def psql(platform: Platform, environment: str, statement: str) -> Never:
    """Become psql, logged in as the schema's owner; run ``statement`` if there is one, else read from the terminal.

    Raises:
        UserError: the environment is not deployed, or psql is not installed.
    """
    prefix = f"/pmp/{environment}/foundation"
    account = platform.account
    login = account.secret(account.parameter(f"{prefix}/database_migrator_secret_arn"))
    # The password is in psql's environment alone: an argument would show in every process list.
    variables = {name: value for name, value in clean_environment().items() if not name.startswith("PG")} | {
        "PGHOST": account.parameter(f"{prefix}/database_host"),
        "PGPORT": account.parameter(f"{prefix}/database_port"),
        "PGDATABASE": account.parameter(f"{prefix}/database_name"),
        "PGUSER": login["username"],
        "PGPASSWORD": login["password"],
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": str(platform.instance.ca_file),
        "PGOPTIONS": "-c search_path=pmp",
    }
    sys.stdout.flush()
    command = ["psql", "--no-psqlrc", *(["--set", "ON_ERROR_STOP=1", "--command", statement] if statement else [])]
    try:
        os.execvpe("psql", command, variables)  # noqa: S606 - no shell is needed
    except FileNotFoundError:
        raise UserError("psql is not on PATH: run 'make install', or install it") from None


def follow_function(platform: Platform, environment: str, *, follow: bool = True) -> None:
    """Print the function's log as it comes, beginning with its newest lines, until Ctrl-C."""
    platform.account.require_running()
    logs = platform.account.session("admin").client("logs")
    group = f"/aws/lambda/{function.name(environment)}"
    # Events of one millisecond may arrive between two questions: ask for it again, and skip what was shown.
    since, shown = int((time.time() - _HISTORY_SECONDS) * 1000), set[str]()
    first = True
    while True:
        try:
            pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, startTime=since)
            events = [event for page in pages for event in page["events"]]
        except logs.exceptions.ResourceNotFoundException:
            raise UserError(f"environment {environment} has no function: 'make up' deploys local") from None
        new = [event for event in events if _identity(event) not in shown]
        lines = [text for event in sorted(new, key=lambda one: int(one["timestamp"])) if (text := line_of(event))]
        for text in lines[-_HISTORY_LINES:] if first else lines:
            print(text, flush=True)
        if not follow:
            return
        if events:
            since = max(int(event["timestamp"]) for event in events)
            shown = {_identity(event) for event in events if event["timestamp"] == since}
        first = False
        time.sleep(_PAUSE_SECONDS)


def logged_today(platform: Platform, environment: str) -> Iterator[dict[str, Any]]:
    """Yield the documents that the function has logged since midnight (UTC).

    Raises:
        UserError: the emulated account does not run.
    """
    platform.account.require_running()
    logs = platform.account.session("admin").client("logs")
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=f"/aws/lambda/{function.name(environment)}", startTime=int(midnight.timestamp() * 1000)
    )
    for page in pages:
        for event in page["events"]:
            with contextlib.suppress(ValueError):
                document = json.loads(str(event["message"]))
                if isinstance(document, dict):
                    yield document


def _identity(event: dict[str, Any]) -> str:
    return f"{event['logStreamName']} {event['timestamp']} {event['message']}"


def line_of(event: dict[str, Any]) -> str:
    """Return a log event for people: time (UTC), level, message and fields, a traceback on lines of its own.

    Empty for the lines that Lambda itself writes around each invocation.
    """
    text = str(event["message"]).rstrip("\n")
    if text.startswith(_RUNTIME_LINES):
        return ""
    clock = f"{datetime.fromtimestamp(int(event['timestamp']) / 1000, UTC):%H:%M:%S.%f}"[:-3]
    try:
        fields = json.loads(text)
    except ValueError:
        return f"{clock}  {text}"
    if not isinstance(fields, dict):
        return f"{clock}  {text}"
    level, message = fields.pop("level", ""), fields.pop("message", "")
    traceback = str(fields.pop("traceback", "")).rstrip("\n")
    fields.pop("time", None)
    rest = "  ".join(f"{name}={value}" for name, value in fields.items() if value != "")
    return f"{clock}  {level:<7} {message}  {rest}" + (f"\n{traceback}" if traceback else "")


def shell(platform: Platform, environment: str) -> None:
    """Open a Python shell with a client of the API, and a function that invokes the Lambda itself."""
    client = platform.account.session("admin").client("lambda")
    api: Api = platform.api(environment)

    def ask(method: str, path: str, document: object = None) -> Any:
        answer = api.ask(method, path, document)
        print(answer.status)
        try:
            return answer.json()
        except ValueError:
            return answer.body

    def invoke(event: dict[str, Any]) -> Any:
        answer = client.invoke(FunctionName=function.name(environment), Payload=json.dumps(event).encode())
        return json.loads(answer["Payload"].read() or b"null")

    banner = (
        f"{api.url}\n"
        'ask("POST", "/v1/users", {"email": "ada@example.com"})  asks the API, with all scopes\n'
        'invoke({"task": "housekeeping"})                         invokes the function with an event\n'
        "Ctrl-D ends it."
    )
    names = {"ask": ask, "invoke": invoke, "api": api, "aws": platform.account.session("admin")}
    code.interact(banner=banner if sys.stdin.isatty() else "", local=names, exitmsg="")
