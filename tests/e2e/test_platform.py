"""A whole life cycle of a laptop platform: up (interrupted twice), use of the printed commands, up again, crash, down.

The tests of this file use their own instance, in order, and stop at the first failure.
"""

import base64
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import psutil
import pytest

from checks import aws_requests
from checks.fuzz import tokens
from checks.judges import policies
from checks.receiver import Receiver
from ops.api import Api
from ops.settings import release
from tests.support import marks, snippets
from tests.support.libraries import exercise_libraries

ROOT = Path(__file__).resolve().parents[2]
NAME = "test"
PHASES = ["account", "foundation", "migration", "service"]

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


class Life:
    """The instance and the output of its first complete ``make up``."""

    def __init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_", "PMP_"))}
        # All tests use one commit, even if there are new commits meanwhile.
        self.environment = kept | {"PMP_INSTANCE": NAME, "CI_COMMIT_SHA": release()}
        self.directory = ROOT / ".pmp" / NAME
        self.printed = ""
        self.seconds = 0.0
        """Of that command."""
        self.broken = False

    def make(self, *arguments: str, expected: int = 0, **variables: str) -> str:
        done = subprocess.run(
            ["make", "-s", *arguments],
            cwd=ROOT,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=1200,
        )
        assert (done.returncode != 0) == (expected != 0), f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def begin_up(self) -> "subprocess.Popen[str]":
        """Start ``make up`` as in a terminal; return once its first apply has begun to create resources."""
        log = self.directory / "logs/account.log"
        earlier = _creations(log)
        process = subprocess.Popen(
            ["make", "-s", "up"],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        deadline = time.monotonic() + 300
        while _creations(log) == earlier:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                pytest.fail(f"the account's apply did not begin: {process.communicate()[0]}")
            time.sleep(0.1)
        time.sleep(1)  # in the middle of it: there are more than a hundred resources
        return process

    def variables(self, identity: str) -> dict[str, str]:
        return dict(_assignment(line) for line in self.make("credentials", f"IDENTITY={identity}").splitlines())

    def kill(self, *others: psutil.Process) -> None:
        """Kill the instance's processes and others. Many end by themselves as soon as the first ones are gone."""
        for one in [*others, *self.processes()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()

    def processes(self) -> list[psutil.Process]:
        """Return the instance's live processes: those with one of its folders in the command line or environment."""
        folders = [str(self.directory), *map(str, self.homes())]
        found = []
        for process in psutil.process_iter():
            try:
                words = [*process.cmdline(), *process.environ().values()]
                # Compare whole names: another instance's folder may begin like this one's.
                mine = any(f"{folder}/" in f"{word}/" for word in words for folder in folders)
                mine = mine and process.pid != os.getpid()
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def homes(self) -> list[Path]:
        """Return the folders of servers that refuse to run as root."""
        return [path.resolve() for path in self.directory.glob("*/*/home")]

    def ports(self) -> list[int]:
        base = int((self.directory / "port_base").read_text())
        return list(range(base, base + 20))


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    life = Life()
    life.make("down")
    yield life
    life.make("down")


@pytest.fixture(autouse=True)
def _stop_at_the_first_failure(request: pytest.FixtureRequest, life: Life) -> Iterator[None]:
    if life.broken:
        pytest.skip("an earlier step failed")
    failed = request.session.testsfailed
    yield
    life.broken = request.session.testsfailed > failed


def _done(output: str) -> dict[str, str]:
    """Return each phase's message about its work."""
    return {name.strip(): text for name, text in re.findall(r"^  ✓ (.{14})\s+[\d.]+ s  (.*)$", output, re.MULTILINE)}


def _creations(log: Path) -> int:
    return log.read_text(errors="replace").count(": Creating...") if log.exists() else 0


def _open_ports(ports: list[int]) -> list[int]:
    found = []
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                found.append(port)
    return found


def _states(life: Life) -> dict[str, int]:
    """Return the number of versions of every state in the bucket."""
    script = (
        "import boto3, json; s3 = boto3.client('s3'); "
        "bucket = boto3.client('ssm').get_parameter(Name='/pmp/bootstrap/state_bucket_name')['Parameter']['Value']; "
        "keys = [v['Key'] for v in s3.list_object_versions(Bucket=bucket)['Versions']]; "
        "print(json.dumps({k: keys.count(k) for k in keys if k.endswith('.tfstate')}))"
    )
    environment = life.environment | life.variables("admin")
    done = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", script], env=environment, check=True, capture_output=True, text=True
    )
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


def test_sigkill_during_an_apply_leaves_a_journal(life: Life) -> None:
    process = life.begin_up()
    make = psutil.Process(process.pid)
    life.kill(make, *make.children(recursive=True))
    process.communicate()
    assert list((life.directory / "journal").glob("account-*.json"))


def test_ctrl_c_during_an_apply_stops_cleanly(life: Life) -> None:
    process = life.begin_up()
    os.killpg(process.pid, signal.SIGINT)
    output = process.communicate(timeout=300)[0]
    assert process.returncode != 0
    assert "started" in _done(output)["aws"]
    assert "undid the interrupted apply of account" in _done(output)["aws"]
    assert "interrupted: 'make up' continues from here" in output
    assert [line for line in output.splitlines() if "error" in line or "Traceback" in line] == []


def test_up_deploys_everything_and_passes_the_smoke_test(life: Life) -> None:
    started = time.monotonic()
    life.printed = life.make("up")
    life.seconds = time.monotonic() - started
    done = _done(life.printed)
    assert "passed" in done["smoke test"]
    assert set(PHASES) <= set(done)
    assert not [name for name in PHASES if done[name] == "unchanged"]


def test_printed_commands_work_unchanged(life: Life) -> None:
    commands = re.findall(r"^  (curl .*)$", life.printed, re.MULTILINE)
    assert len(commands) == 3
    answers = []
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env=life.environment, capture_output=True, text=True, check=True
        )
        answers.append(json.loads(done.stdout))
    assert answers[0]["status"] == "ok"
    assert answers[1]["email"] == "ada@example.com"
    assert answers[2]["id"] == 1


def test_script_commands_print_only_their_answer(life: Life) -> None:
    assert re.fullmatch(r"https://localhost:\d+\n", life.make("url"))
    token = life.make("token")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", token)
    claims = _claims(life.make("token", "SCOPE=pmp/read"))
    assert claims["scope"] == "pmp/read"
    assert set(_claims(token)["scope"].split()) == {"pmp/check", "pmp/read", "pmp/write", "pmp/admin"}
    for identity in ("admin", "gitlab", "plan"):
        variables = life.variables(identity)
        assert variables["AWS_ENDPOINT_URL"].startswith("https://127.0.0.1:")
        assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"} <= set(variables)


@pytest.mark.parametrize("title", snippets.snippets(snippets.FIRST_CALLS))
def test_each_client_of_the_guide_reaches_the_api(life: Life, title: str, tmp_path: Path) -> None:
    if program := snippets.missing(title):
        pytest.skip(f"{program} is not installed")
    exported = dict(_assignment(line) for line in life.make("env").splitlines())
    for output in snippets.run(snippets.FIRST_CALLS, title, tmp_path, exported):
        assert json.loads(output)["email"].endswith("@example.com")


def test_generated_clients_work_and_are_the_same_again(life: Life, tmp_path: Path) -> None:
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    exported = dict(_assignment(line) for line in life.make("env").splitlines())
    exercise_libraries(tmp_path, exported, lambda: life.make("clients"))


def test_the_document_names_the_address_that_it_was_read_from(life: Life) -> None:
    url = life.make("url").strip()
    assert json.loads(_get(life, "/v1/openapi.json"))["servers"] == [{"url": url}]


def test_a_change_is_told_through_queue_and_function(life: Life) -> None:
    api = Api(life.make("url").strip(), life.make("token").strip(), life.directory / "ca/authority.pem")
    receiver = Receiver()
    try:
        made = api.expect(201, "POST", "/v1/subscriptions", {"url": receiver.url})
        user = api.expect(201, "POST", "/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"})
        choice = {"user": {"id": user["id"]}, "consents": [{"id": "email_notifications", "enabled": False}]}
        event = api.expect(201, "POST", "/v1/events", choice)
        receiver.wait(lambda told: event["id"] in [one["id"] for one in told.events], 60)
        api.expect(204, "DELETE", f"/v1/subscriptions/{made['id']}")
    finally:
        receiver.close()


def test_a_users_token_opens_the_users_routes_only(life: Life) -> None:
    api = Api(life.make("url").strip(), life.make("token").strip(), life.directory / "ca/authority.pem")
    user = api.expect(201, "POST", "/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"})
    asked = {"user": {"id": user["id"]}, "purpose": "preferences"}
    token = api.expect(201, "POST", "/v1/tokens", asked)["token"]
    own = Api(api.url, token, api.authority)
    assert own.expect(200, "GET", "/v1/me")["id"] == user["id"]
    own.expect(401, "GET", f"/v1/users/{user['id']}")
    api.expect(401, "GET", "/v1/me")


def _assignment(line: str) -> tuple[str, str]:
    name, _, value = shlex.split(line.removeprefix("export "))[0].partition("=")
    return name, value


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return claims


def test_tokens_not_issued_for_the_api_are_refused(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in life.variables("admin").items():
        monkeypatch.setenv(name, value)
    genuine, url, bundle = life.make("token").strip(), life.make("url").strip(), life.directory / "ca/authority.pem"
    parameter = boto3.Session().client("ssm").get_parameter(Name="/pmp/local/foundation/token_url")
    token_url = parameter["Parameter"]["Value"]
    expired = tokens.expired(genuine, token_url, bundle)
    with tokens.of_another_audience(genuine, token_url, bundle) as stranger:
        refusable = tokens.forged(genuine) | {"another audience": stranger, "expired": expired}
        assert tokens.accepted(url, genuine, refusable, bundle) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["token", "SCOPE=pmp/everything"], "no token for scope 'pmp/everything'"),
        (["credentials", "IDENTITY=root"], "IDENTITY='root' is not known"),
        (["url", "ENVIRONMENT=production"], "environment 'production' does not exist: use dev, staging, prod, local"),
        (["url", "ENVIRONMENT=prod"], "SSM has no parameter /pmp/prod/service/api_url"),
    ],
)
def test_wrong_argument_gives_a_one_line_error(life: Life, arguments: list[str], message: str) -> None:
    lines = life.make(*arguments, expected=1).splitlines()
    # 'credentials' also prints a command that fails, for the shell that evaluates its output.
    errors = [line for line in lines if not re.match(r"make(\[\d+\])?: ", line) and line != "false"]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {message}")


def test_platform_listens_only_on_loopback_and_stays_under_2_gib(life: Life) -> None:
    status = life.make("status")
    memory = re.search(r"memory: (\d+) MiB of at most 2048 MiB", status)
    assert memory
    assert 50 < int(memory[1]) < 2048
    addresses = {
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port in life.ports()
    }
    assert addresses <= {"127.0.0.1", "::1"}


MARK = "zqplatform"
UPLOADED = f"imports/Ada.{MARK}@{MARK}.example.ndjson"


def test_marked_people_use_the_platform(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they leave is searched below, after new plans were made; the database logs every statement meanwhile."""
    for name, value in life.variables("admin").items():
        monkeypatch.setenv(name, value)
    api = Api(life.make("url").strip(), life.make("token").strip(), life.directory / "ca/authority.pem")
    ada, grace = f"Ada.{MARK}@{MARK}.example", f"grace.{MARK}@{MARK}.example"
    choice = {"consents": [{"id": "email_notifications", "enabled": True}], "context": {"form": f"form of {MARK}"}}
    _python(life, _LOG_STATEMENTS, "SET", "= 0")
    try:
        user = api.expect(201, "POST", "/v1/users", {"email": ada, "external_ids": {"crm": MARK}})
        api.expect(201, "POST", "/v1/events", choice | {"user": {"email": ada}})
        assert api.expect(200, "GET", f"/v1/users?email={quote(ada)}")["items"][0]["id"] == user["id"]
        api.expect(422, "POST", "/v1/users", {"email": ada})
        for path in (f"/v1/users/{MARK}", f"/v1/users?cursor={MARK}", f"/v1/{MARK}"):
            assert 400 <= api.ask("GET", path).status < 500
        api.expect(422, "POST", "/v1/events", {MARK: MARK})
        token = api.expect(201, "POST", "/v1/tokens", {"user": {"id": user["id"]}, "purpose": "preferences"})["token"]
        assert Api(api.url, token, api.authority).expect(200, "GET", "/v1/me")["id"] == user["id"]

        parameter = boto3.client("ssm").get_parameter(Name="/pmp/local/foundation/imports_bucket_name")
        lines = [choice | {"user": {"email": grace}, "occurred_at": "2026-01-01T00:00:00Z"}, {MARK: MARK}]
        body = "".join(json.dumps(line) + "\n" for line in lines).encode()
        boto3.client("s3").put_object(Bucket=parameter["Parameter"]["Value"], Key=UPLOADED, Body=body)
        ended: list[dict[str, Any]] = []
        deadline = time.monotonic() + 120
        while not ended and time.monotonic() < deadline:
            jobs = api.expect(200, "GET", "/v1/imports?limit=5")["items"]
            ended = [job for job in jobs if MARK in json.dumps(job) and job["state"] in ("succeeded", "failed")]
            time.sleep(0.5)
        assert [(job["accepted"], job["rejected"]) for job in ended] == [(1, 1)]
        (gone,) = api.expect(200, "GET", f"/v1/users?email={quote(grace)}")["items"]
        api.expect(200, "DELETE", f"/v1/users/{gone['id']}")
    finally:
        _python(life, _LOG_STATEMENTS, "RESET", "")


@pytest.mark.parametrize("layer", ["foundation", "service"])
def test_second_plan_shows_only_known_gaps(life: Life, layer: str) -> None:
    done = subprocess.run(
        [ROOT / ".venv/bin/python", "-m", "ops", "plan", layer, "--refuse-changes"],
        cwd=ROOT,
        env=life.environment | life.variables("gitlab"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_state_plan_log_or_metric_holds_what_marked_people_left(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in life.variables("admin").items():
        monkeypatch.setenv(name, value)
    s3, logs, cloudwatch = boto3.client("s3"), boto3.client("logs"), boto3.client("cloudwatch")
    bucket = boto3.client("ssm").get_parameter(Name="/pmp/bootstrap/state_bucket_name")["Parameter"]["Value"]
    states = [
        (
            version["Key"],
            s3.get_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])["Body"].read(),
        )
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
        for version in page.get("Versions", [])
    ]
    groups = [
        group["logGroupName"]
        for page in logs.get_paginator("describe_log_groups").paginate()
        for group in page["logGroups"]
    ]
    messages = [
        event["message"]
        for group in groups
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        for event in page["events"]
    ]
    metrics = [one for page in cloudwatch.get_paginator("list_metrics").paginate() for one in page["Metrics"]]
    assert [key for key, content in states if marks.holds(content, MARK)] == []
    assert [line for line in messages if marks.holds(line.encode(), MARK)] == []
    assert [metric for metric in metrics if marks.holds(json.dumps(metric).encode(), MARK)] == []
    # What the platform is for: uploaded files, and the queues that tell of them. The database is elsewhere.
    services = life.directory / "aws/services"
    kept = [life.directory / "aws/s3", services / "s3.json", services / "sqs.json"]
    # The emulator's own records name objects of S3, as CloudTrail would with data events, which PMP does not switch on.
    records = [life.directory / "requests.jsonl", life.directory / "iam.jsonl"]
    assert marks.holders(life.directory, MARK, [*kept, *records]) == []
    assert not any(marks.holds(path.read_bytes().replace(UPLOADED.encode(), b""), MARK) for path in records)

    # All of it was there to be found.
    layers = ("account", "foundation", "service")
    assert {key.rpartition("/")[2] for key, _ in states} >= {f"{layer}.tfstate" for layer in layers}
    plans = life.directory / "build/plans"
    assert len(list(plans.glob("*/plan.json"))) >= len(layers)
    assert (plans / "foundation-local/plan.tfplan").exists()
    assert (plans / "service-local/plan.tfplan").exists()
    assert any('"operation": "eraseUser"' in line for line in messages)
    assert "SELECT pmp.erase_user(" in (life.directory / "logs/postgres-local.log").read_text(errors="replace")
    assert MARK in _get(life, f"/v1/users?email={quote(f'ada.{MARK}@{MARK}.example')}")
    assert marks.holders(life.directory / "aws/s3", MARK)


def test_second_up_is_quick_and_changes_nothing(life: Life) -> None:
    before, started = _states(life), time.monotonic()
    done = _done(life.make("up"))
    assert time.monotonic() - started < life.seconds / 2
    assert [done[name].split(";")[0] for name in PHASES] == ["unchanged"] * len(PHASES)
    assert _states(life) == before


_RELOAD = """
import sys
from pathlib import Path
from rich.console import Console
from local import instance
from local.platform import Platform
from local.reload import Reload
Reload(Platform(instance.current(), Console()), Path(sys.argv[1])).once()
"""


_FUNCTION_LOG = """
from rich.console import Console
from local import inspection, instance
from local.platform import Platform
inspection.follow_function(Platform(instance.current(), Console()), "local", follow=False)
"""


def _python(life: Life, script: str, *arguments: str) -> str:
    command = [str(ROOT / ".venv/bin/python"), "-c", script, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=life.environment, check=True, capture_output=True, text=True)
    return str(done.stdout)


def _reload(life: Life, sources: Path) -> str:
    return _python(life, _RELOAD, str(sources))


def _running_code(life: Life) -> tuple[str, str]:
    """Return the digests of the zip that the function has, and that it says it has."""
    client = boto3.Session().client("lambda")
    code = client.get_function_configuration(FunctionName="pmp-local")["CodeSha256"]
    return base64.b64decode(code).hex(), json.loads(_get(life, "/v1/health"))["code_sha256"]


def test_a_reload_is_live_at_once_and_up_returns_to_the_tree(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in life.variables("admin").items():
        monkeypatch.setenv(name, value)
    original = _running_code(life)
    assert original[0] == original[1]
    for name in ("lambda", "db"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    code, script = tmp_path / "lambda/pmp/instants.py", tmp_path / "db/deploy/define_reads.sql"
    code.write_text(f"{code.read_text()}\n# edited\n")
    script.write_text(f"{script.read_text()}-- edited\n")
    said = _reload(life, tmp_path)
    assert "define_reads, lambda " in said
    edited = _running_code(life)
    assert edited[0] == edited[1] != original[0]
    assert "nothing has changed" in _reload(life, tmp_path)

    # Back to the tree, in both ways.
    assert "define_reads, lambda " in life.make("reload")
    assert _running_code(life) == original
    shutil.copytree(ROOT / "db", tmp_path / "db", dirs_exist_ok=True)
    assert "define_reads" not in _reload(life, tmp_path)
    assert _running_code(life) == edited
    done = _done(life.make("up"))
    assert done["service plan"] == "planned"
    assert _running_code(life) == original


def test_the_functions_log_shows_requests(life: Life) -> None:
    _get(life, "/v1/users?limit=1")
    shown = _python(life, _FUNCTION_LOG)
    assert re.search(r"info +request  .*operation=listUsers .*status=200", shown)


def test_the_functions_log_shows_tracebacks(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in life.variables("admin").items():
        monkeypatch.setenv(name, value)
    boto3.Session().client("lambda").invoke(FunctionName="pmp-local", Payload=b'{"task": "nothing"}')
    shown = _python(life, _FUNCTION_LOG)
    assert re.search(r"error +invocation failed  .*task=nothing .*ValueError: unknown kind of event", shown)
    assert "handler.py" in shown.partition("invocation failed")[2]


_LOG_STATEMENTS = """
import sys
from rich.console import Console
from local import instance
from local.platform import Platform
cluster = Platform(instance.current(), Console()).environment("local").cluster
cluster.psql(f"ALTER SYSTEM {sys.argv[1]} log_min_duration_statement {sys.argv[2]}")
cluster.psql("SELECT pg_reload_conf()")
"""


def test_a_request_and_a_users_readers_are_found_in_the_logs(life: Life) -> None:
    user = json.loads(_post(life, "/v1/users", {"email": "traced@example.com"}))["id"]
    _get(life, f"/v1/users/{user}/consents")
    _python(life, _LOG_STATEMENTS, "SET", "= 0")
    try:
        operations = [line.split()[2] for line in life.make("readers", f"USER_ID={user}").splitlines()]
        with pytest.raises(subprocess.CalledProcessError) as refused:
            _get(life, f"/v1/users/{uuid.uuid4()}")
    finally:
        _python(life, _LOG_STATEMENTS, "RESET", "")
    request = json.loads(refused.value.stdout)["request_id"]
    found = life.make("trace", f"REQUEST={request}")
    assert re.search(rf"  function  .*{request}.*\"operation\": \"getUser\"", found)
    assert re.search(rf"  database  .*pmp\.get_user.*/\*{request}\*/", found)
    assert operations[:3] == ["operation", "createUser", "listUserConsents"]


def test_psql_is_the_schemas_owner(life: Life) -> None:
    assert "pmp_migrator" in life.make("psql", 'SQL=SELECT current_user, "email" FROM subject LIMIT 1')


def test_up_recovers_after_a_crash_of_everything(life: Life) -> None:
    user = json.loads(_post(life, "/v1/users", {"email": "crash@example.com"}))
    subprocess.run([ROOT / ".venv/bin/python", "-c", _SNAPSHOT], env=life.environment, cwd=ROOT, check=True)
    life.kill()
    done = _done(life.make("up"))
    assert "started" in done["aws"]
    assert "started" in done["database"]
    assert json.loads(_get(life, f"/v1/users/{user['id']}"))["email"] == "crash@example.com"


# The emulator saves its state once a minute, too.
_SNAPSHOT = "from local.account import Account; from local.instance import current; Account(current()).save()"


def _get(life: Life, path: str) -> str:
    return _curl(life, path)


def _post(life: Life, path: str, body: dict[str, str]) -> str:
    return _curl(life, path, "--json", json.dumps(body))


def _curl(life: Life, path: str, *options: str) -> str:
    token = life.make("token").strip()
    command = ["curl", "--silent", "--show-error", "--fail-with-body", "--cacert"]
    command += [str(life.directory / "ca/authority.pem"), "--header", f"Authorization: Bearer {token}"]
    url = life.make("url").strip()
    return subprocess.run([*command, *options, url + path], check=True, capture_output=True, text=True).stdout


def test_aws_would_accept_every_request_of_the_deployment(life: Life) -> None:
    lines = (life.directory / "requests.jsonl").read_text().splitlines()
    assert len(aws_requests.counts(lines)) >= 20, "the record lacks services that every deployment uses"
    assert aws_requests.recorded_violations(lines) == []
    assert policies.findings(policies.documents(lines)) == set(policies.explained())


def test_down_leaves_nothing(life: Life) -> None:
    ports = life.ports()
    assert _open_ports(ports)
    homes = life.homes()
    life.make("down")
    assert life.processes() == []
    assert _open_ports(ports) == []
    assert not life.directory.exists()
    assert not [path for path in homes if path.exists()]
    assert not (ROOT / f".pmp/{NAME}.lock").exists()
    assert "nothing was running" in life.make("down")
