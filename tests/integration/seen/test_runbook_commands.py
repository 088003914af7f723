"""Every command of the two pages is of a kind that is run or judged here, or is listed with the reason why not.

What has more than one word and is marked as code must be in one of them: a new command without a test fails.
"""

import ast
import json
import os
import re
import shlex
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import jmespath  # type: ignore[import-untyped]
import pytest
from botocore import xform_name
from botocore.model import ListShape, Shape, StructureShape
from botocore.session import Session
from botocore.validate import validate_parameters
from pmp.http.document import match

from checks.gateway import Gateway
from checks.stack import Stack
from ops.settings import ROOT
from tests.integration.seen.conftest import Seen

PAGES = "\n".join((ROOT / "docs" / page).read_text() for page in ("runbook.md", "operations.md"))

TEXTS = {
    # What a log or an answer says, and settings.
    "password authentication failed", "database unavailable", "request failed", "import ended", "vendors not read",
    "stopped: failed", "enabled: true", "enabled: false", "not sent: … is not public", "retired_instances = 1",
    "another session holds a lock, nothing was changed", "--most-active 8",
}  # fmt: skip

ELSEWHERE = {
    "python -m ops": "tests/infra/operations/test_aws_guide.py reads the options of each; they run in tests/pipeline "
    "(migrate, rollback), tests/integration/platform/test_restore_drill.py (replay-erasures) and tests/e2e (others)",
    "make": "test_aws_guide.py; sizing runs in tests/infra/operations/test_sizing_and_costs.py, restore-drill in "
    "tests/integration/platform/test_restore_drill.py",
    "curl -i https://<domain>/v1/ready": "needs the domain; tests/infra and tests/e2e ask /v1/ready",
    "dig NS <zone>": "needs the zone; ops/dns.py asks the same, see tests/unit/ops/test_dns.py",
    "\\password": "asks for the password; the role logs in with one in test_readonly_logs_in_and_reads",
    "aws ssm start-session": "needs the runner and AWS's session plugin",
    "aws lambda invoke": "is named without the event; tests/e2e invokes the function",
    "aws s3 sync": "is the CLI's own, made of many requests",
    "aws rds wait": "a waiter of botocore: see test_waiters_exist",
    "restores = ": "settings; tests/infra/foundation plans each form of them",
    "{ ": "settings; tests/infra/foundation plans each form of them",
    "aurora = ": "settings; tests/infra/foundation/test_aurora.py plans them",
    "instance_class = ": "a setting; modules/database/tests plan it",
}
"""Beginnings of commands that are run elsewhere, or cannot be run here: where, or why."""


def collapsed(text: str) -> str:
    """``text`` on one line, without what only a shell or a table needs."""
    return " ".join(text.replace("\\\n", " ").replace(r"\|", "|").split())


def commands() -> Iterator[str]:
    """Yield what the pages mark as code and has more than one word: in lines of blocks, and in sentences."""
    block = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
    for kind, content in block.findall(PAGES):
        parts = content.split("$ ")[1:] if kind == "console" else [content]
        yield from map(collapsed, parts)
    for span in re.findall(r"`([^`]+)`", block.sub("", PAGES)):
        text = collapsed(span)
        if " " in text or "(" in text:
            yield text


def of_kind(*beginnings: str) -> list[str]:
    return sorted({text for text in commands() if text.startswith(beginnings)})


SQL = of_kind("SELECT ", "VACUUM", "EXPLAIN", "DROP ", "ALTER ", "pg_", "age(")
QUERIES = of_kind("filter ")
LOGINS = of_kind("psql ")
REQUESTS = of_kind("GET ", "POST ", "PATCH ", "PUT ", "DELETE ")
AWS = [text for text in of_kind("aws ") if not text.startswith(tuple(ELSEWHERE))]


def unknown(texts: Iterator[str]) -> set[str]:
    known = {*SQL, *LOGINS, *QUERIES, *REQUESTS, *AWS, *TEXTS}
    return {text for text in texts if text not in known and not text.startswith(tuple(ELSEWHERE))}


def test_every_command_has_a_test_or_a_reason() -> None:
    assert unknown(commands()) == set()
    assert unknown(iter(["aws sqs purge-queue", "systemctl restart pmp"])) == {
        "aws sqs purge-queue",
        "systemctl restart pmp",
    }


def test_every_reason_is_still_needed() -> None:
    found = list(commands())
    assert [begin for begin in ELSEWHERE if not any(text.startswith(begin) for text in found)] == []
    assert TEXTS - set(found) == set()


def runnable(text: str, pid: str) -> str:
    """A statement of the runbook with what an operator fills in."""
    text = text.rstrip("…; ")
    if text.startswith("EXPLAIN"):
        text += " SELECT * FROM pmp.subject"
    elif text.startswith("VACUUM"):
        text += " pmp.event"
    elif text.startswith("age("):
        text = f"SELECT {text} FROM pg_class WHERE relkind = 'r'"
    elif text.startswith("pg_"):
        text = f"SELECT {text}"
    return re.sub(r"(pg_\w+)\(<?pid>?\)", rf"\1({pid})", text).replace("<index>", "left_behind")


@pytest.mark.parametrize("text", SQL)
def test_statement_runs_as_the_master(seen: Seen, text: str) -> None:
    """The master of RDS is a member of pg_signal_backend, as the laptop's is."""
    stack = seen.stack
    if "pg_terminate_backend" in text:
        Gateway().get("/v1/users?limit=1")  # opens a session of the function behind the pooler
        pid = stack.cluster.psql("SELECT min(pid) FROM pg_stat_activity WHERE usename = 'pmp_app'")
        assert pid
        assert stack.cluster.psql(runnable(text, pid), role="pmp_admin") == "t"
    else:
        if "<index>" in text:
            stack.cluster.psql("CREATE INDEX left_behind ON pmp.event (id)")
        stack.cluster.psql(runnable(text, "pg_backend_pid()"), role="pmp_admin")


@pytest.mark.parametrize("text", LOGINS)
def test_master_can_log_in(stack: Stack, text: str) -> None:
    text = text.replace("<host>", f"127.0.0.1 port={stack.cluster.port}")
    text = text.replace("/etc/pmp/rds-ca.pem", str(stack.authority.bundle_path))
    command = [*shlex.split(text), "--no-psqlrc", "--tuples-only", "--command", "SELECT current_user"]
    done = subprocess.run(
        command, env=os.environ | {"PGPASSWORD": "master"}, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "pmp_admin", done.stderr


def test_readonly_logs_in_and_reads(stack: Stack) -> None:
    stack.cluster.psql("ALTER ROLE pmp_readonly PASSWORD 'report'", role="pmp_admin")
    login = f"host=127.0.0.1 port={stack.cluster.port} dbname=pmp user=pmp_readonly sslmode=require"
    try:
        for statement, succeeds in (
            ("SELECT count(id) FROM subject, current_choice", True),
            ("SELECT email FROM subject", False),
            ("SELECT value FROM identifier", False),
            ("SELECT * FROM event_context", False),
            ("SELECT original FROM import_reject", False),
            ("DELETE FROM subject", False),
        ):
            done = subprocess.run(
                ["psql", login, "--no-psqlrc", "--command", statement],
                env=os.environ | {"PGPASSWORD": "report"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert (done.returncode == 0) is succeeds, done.stderr
    finally:
        stack.cluster.psql("ALTER ROLE pmp_readonly PASSWORD NULL", role="pmp_admin")


def logged() -> tuple[set[str], set[str]]:
    """Return the messages that the function logs, and the fields of its and of the gateway's lines."""
    messages, fields = (
        set[str](),
        {"time", "level", "message", "error", "traceback", "@timestamp", "@message", "@logStream"},
    )
    for file in (ROOT / "lambda/pmp").rglob("*.py"):
        text = file.read_text()
        for call in ast.walk(ast.parse(text)):
            if not isinstance(call, ast.Call) or not ast.unparse(call.func).endswith(("log", "bind")):
                continue
            if call.args and isinstance(call.args[0], ast.Constant):
                messages.add(str(call.args[0].value))
            fields |= {keyword.arg for keyword in call.keywords if keyword.arg}
            if any(keyword.arg is None for keyword in call.keywords):
                fields |= set(re.findall(r'"([a-z_]+)"', text))
    access = (ROOT / "modules/api/main.tf").read_text().partition("access_log = {")[2].partition("}")[0]
    return messages, fields | set(re.findall(r"^ +(\w+) +=", access, re.MULTILINE))


FIELD = r"@?[a-zA-Z_]\w*"
TERM = rf'{FIELD} (?:=|>|>=|<|<=|like) (?:"[^"]*"|/.*/|\d+)'
COUNT = rf"(?:count\(\)|pct\({FIELD}, \d+\))(?: as {FIELD})?"
STAGES: dict[str, Callable[[str], re.Match[str] | None]] = {
    "filter": re.compile(rf"{TERM}(?: and {TERM})*").fullmatch,
    "sort": re.compile(rf"{FIELD} (?:asc|desc)").fullmatch,
    "limit": re.compile(r"\d+").fullmatch,
    "stats": re.compile(rf"{COUNT}(?:, {COUNT})*(?: by {FIELD}(?:, {FIELD})*)?").fullmatch,
}


def problems_of_query(query: str) -> Iterator[str]:
    """Yield what is wrong with a query of Logs Insights: its grammar, a field or a message that no line has."""
    messages, fields = logged()
    fields |= set(re.findall(r" as (\w+)", query))
    regex = re.compile(r"/[^/]*/")
    expressions = regex.findall(query)
    for stage in regex.sub("/x/", query).split(" | "):
        name, _, rest = stage.partition(" ")
        if name not in STAGES or not STAGES[name](rest):
            yield f"{stage}: not a stage of Logs Insights"
        words = re.sub(r'"[^"]*"|/x/|\b(?:and|like|by|as|asc|desc|count|pct)\b', "", rest)
        yield from (f"{field}: no line has it" for field in re.findall(FIELD, words) if field not in fields)
    yield from (
        f"{text}: nothing logs it" for text in re.findall(r'message = "([^"]*)"', query) if text not in messages
    )
    for expression in expressions:
        re.compile(expression.strip("/"))


@pytest.mark.parametrize("query", QUERIES)
def test_query_asks_for_what_is_logged(query: str) -> None:
    """The emulator keeps logs and ignores queries."""
    assert list(problems_of_query(query)) == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ('filter message = "requests"', "requests: nothing logs it"),
        ('filter message = "request" | stats count() by endpoint', "endpoint: no line has it"),
        ('where message = "request"', 'where message = "request": not a stage of Logs Insights'),
    ],
)
def test_wrong_query_is_found(query: str, problem: str) -> None:
    assert problem in list(problems_of_query(query))


@pytest.mark.parametrize("text", REQUESTS)
def test_request_is_one_of_the_api(seen: Seen, text: str) -> None:
    method, path = text.split()[:2]
    path = path.replace("{id}", str(uuid.uuid4()))
    match(method, path)
    if method == "GET":
        # A client's token opens nothing of /v1/me: users have their own (../api/test_data_subjects.py).
        assert Gateway().get(path).status in ({401} if path.startswith("/v1/me") else {200, 404})


def _value(shape: Shape, text: str) -> Any:
    if isinstance(shape, ListShape):
        return [_value(shape.member, text)]
    if isinstance(shape, StructureShape):  # in the CLI's shorthand
        pairs = (pair.split("=") for pair in text.split(","))
        return {name: _value(shape.members[name], value) for name, value in pairs}
    convert: dict[str, Callable[[str], Any]] = {"integer": int, "long": int, "boolean": json.loads}
    return convert.get(shape.type_name, str)(text)


def require_complete(text: str) -> None:
    """Raise what botocore finds wrong with the requests that commands of AWS's CLI, joined by pipes, would send."""
    for one in text.split(" | "):
        _require_complete(one)


def _require_complete(text: str) -> None:
    service, name, *words = shlex.split(re.sub(r"<[^>]*>|…", "value-of-the-environment", text.removeprefix("aws ")))
    model = Session().get_service_model(service)
    shape = model.operation_model({xform_name(one, "-"): one for one in model.operation_names}[name]).input_shape
    assert shape is not None
    members = {f"--{xform_name(one, '-')}": one for one in shape.members}
    sent: dict[str, Any] = {}
    while words:
        option = words.pop(0)
        if option == "--query":
            jmespath.compile(words.pop(0))
        elif option in {"--region", "--profile", "--output"}:
            words.pop(0)
        elif option.startswith("--no-"):
            sent[members["--" + option.removeprefix("--no-")]] = False
        elif shape.members[members[option]].type_name == "boolean":
            sent[members[option]] = True
        else:
            sent[members[option]] = _value(shape.members[members[option]], words.pop(0))
    validate_parameters(sent, shape)


@pytest.mark.parametrize("text", AWS)
def test_request_of_aws_is_complete(text: str) -> None:
    require_complete(text)


def test_incomplete_request_of_aws_is_found() -> None:
    with pytest.raises(Exception, match='Missing required parameter in input: "QueueUrl"'):
        require_complete("aws sqs receive-message")


def test_waiters_exist() -> None:
    waits = of_kind("aws rds wait ")
    assert waits
    for text in waits:
        waiter = text.split()[3]
        assert waiter.replace("-", "_") in {xform_name(one) for one in Session().get_waiter_model("rds").waiter_names}
