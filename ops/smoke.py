"""Test an environment from outside: through its own domain, with a token, as an API client does.

The people of the test have addresses of their own (`addresses`) and are erased when it ends, however it ends; what a
killed test left is erased by the next one. Their events stay, as all events do, without anybody's address: two from the
API, and as many as the test imports.
"""

import contextlib
import gzip
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from ops import aws, clients, http
from ops.api import Api
from ops.errors import UserError
from ops.layers import Version
from ops.output import say

DEFAULT_EVENTS = 100_000
LEAST_EVENTS = 4
"""Two people with two events each: one before the last, so that folding has something to fold."""
_USERS = 10
_READY_SECONDS = 90  # a first start, a cold function and its first connection
_VENDOR_SECONDS = 60
_IMPORT_SECONDS = 300
_EMAIL, _SMS = "email_notifications", "sms_notifications"
FOLDED = [{"id": _EMAIL, "enabled": False}, {"id": _SMS, "enabled": True}]
"""The consents after two events: email on, then email off and text messages on."""


def addresses() -> list[str]:
    """Return the addresses of the test's people. They are the same every time, so that a later test can erase them.

    No person can have one: example.com is reserved (RFC 2606, section 3).
    """
    return [f"pmp-smoke-test+{number}@example.com" for number in range(_USERS + 1)]


def connect(environment: str) -> Api:
    """Return a client of an environment's API with a token for all scopes of the smoke test's client.

    Raises:
        UserError: the environment is not deployed, or issues no token.
    """
    url = aws.parameter(f"/pmp/{environment}/service/api_url")
    token_url = aws.parameter(f"/pmp/{environment}/foundation/token_url")
    return Api(url, http.fetch_token(token_url, *clients.credentials(environment, clients.SMOKE)))


def smoke(environment: str, events: int, version: Version | None = None) -> None:
    """Run every check, and stop at the first failure.

    Args:
        environment: the environment whose API is tested.
        events: number of lines in the import, at least `LEAST_EVENTS`.
        version: the version that must be running; None means the one that the service layer recorded.

    Raises:
        UserError: a check failed.
    """
    if events < LEAST_EVENTS:
        raise UserError(f"--events {events}: give at least {LEAST_EVENTS}")
    expected = version or Version.deployed(environment)
    api = connect(environment)
    _check("release", lambda: _release(api, environment, expected))
    _check("ready", lambda: _ready(api))
    _check("token", lambda: _requires_token(api))
    _check("vendors", lambda: _vendors(api))
    with _people(api) as emails:
        _check("contract", lambda: _contract(api, emails[0]))
        _check("import", lambda: _import(api, emails[1:], events))
    say(
        f"smoke of {environment}: passed, {api.url} runs {expected.release[:12]}, lambda {expected.code_sha256[:12]}",
        "bold",
    )


def _check(name: str, run: Callable[[], str]) -> None:
    started = time.monotonic()
    found = run()
    say(f"  ✓ {name:<9} {time.monotonic() - started:5.1f} s  {found}")


def _until(seconds: float, attempt: Callable[[], Any], failure: Callable[[], str]) -> Any:
    """Call ``attempt`` at growing intervals until its result is truthy, and return that result.

    Raises:
        UserError: no attempt succeeded in time; the message is ``failure``'s result.
    """
    deadline, pause = time.monotonic() + seconds, 0.2
    while not (found := attempt()):
        if time.monotonic() > deadline:
            raise UserError(failure())
        time.sleep(pause)
        pause = min(2.0, pause * 1.5)
    return found


def _release(api: Api, environment: str, expected: Version) -> str:
    last: list[str] = ["nothing"]
    wanted = {"environment": environment, "release": expected.release, "code_sha256": expected.code_sha256}

    def attempt() -> bool:
        try:
            answer = api.ask("GET", "/v1/health", anonymous=True)
        except UserError as error:
            last[0] = str(error)
            return False
        last[0] = f"{answer.status} {answer.body.decode(errors='replace')[:300]}"
        return answer.status == 200 and wanted.items() <= answer.json().items()

    _until(
        _READY_SECONDS,
        attempt,
        lambda: f"{api.url}/v1/health does not show {environment} {expected.release} {expected.code_sha256}: {last[0]}",
    )
    return f"commit {expected.release[:12]}, lambda {expected.code_sha256[:12]}"


def _ready(api: Api) -> str:
    found = api.ask("GET", "/v1/ready", anonymous=True)
    checks = found.json().get("checks", {}) if found.status in {200, 503} else {}
    if checks.get("database") != "ok":
        raise UserError(f"GET {api.url}/v1/ready answered {found.status} {found.body.decode(errors='replace')[:300]}")
    if checks.get("boto3") != "ok":
        raise UserError(
            f"boto3 of the Lambda runtime is {checks.get('boto3')}: imports and exports need 1.36 or later. Update the "
            "runtime (AWS does so by itself unless its version is pinned), or add boto3 to lambda/requirements.in"
        )
    return "database reachable, boto3 recent enough"


def _requires_token(api: Api) -> str:
    status = api.ask("GET", "/v1/users", anonymous=True).status
    if status != 401:
        raise UserError(f"GET {api.url}/v1/users without a token answered {status} instead of 401")
    api.expect(200, "GET", "/v1/users")
    return "401 without one, 200 with"


def _vendors(api: Api) -> str:
    last: list[str] = ["nothing"]

    def attempt() -> Any:
        answer = api.ask("GET", "/v1/vendors?limit=5")
        last[0] = f"{answer.status} {answer.body.decode(errors='replace')[:300]}"
        return answer.status == 200 and answer.json()["items"]

    items = _until(_VENDOR_SECONDS, attempt, lambda: f"GET {api.url}/v1/vendors lists none: {last[0]}")
    one = items[0]["id"]
    api.expect(200, "GET", f"/v1/vendors/{one}")
    return f"list fetched, vendor {one} answers"


@contextlib.contextmanager
def _people(api: Api) -> Iterator[list[str]]:
    """Yield the addresses of the test's people, whom the API does not know before and does not know afterwards.

    Raises:
        UserError: somebody could not be erased.
    """
    emails = addresses()
    _erase(api, emails)
    try:
        yield emails
    except BaseException:
        # What failed first is what has to be read; the next test erases whom this one cannot.
        with contextlib.suppress(UserError):
            _erase(api, emails)
        raise
    _erase(api, emails)


def _erase(api: Api, emails: Iterable[str]) -> None:
    for email in emails:
        for user in api.expect(200, "GET", f"/v1/users?{urlencode({'email': email})}")["items"]:
            api.expect(200, "DELETE", f"/v1/users/{user['id']}")


def _new_user(api: Api, email: str) -> str:
    user = api.expect(201, "POST", "/v1/users", {"email": email})
    if user.get("email") != email or user.get("consents") != []:
        raise UserError(f"POST {api.url}/v1/users answered {user}: expected the email and no consents")
    return str(user["id"])


def _require_folded(api: Api, user: str) -> None:
    found = api.expect(200, "GET", f"/v1/users/{user}")["consents"]
    if found != FOLDED:
        raise UserError(f"GET {api.url}/v1/users/{user} folds to {found}, expected {FOLDED}")


def _contract(api: Api, email: str) -> str:
    user = _new_user(api, email)
    for consents in ([{"id": _EMAIL, "enabled": True}], FOLDED):
        api.expect(201, "POST", "/v1/events", {"user": {"id": user}, "consents": consents})
    _require_folded(api, user)
    api.expect(200, "DELETE", f"/v1/users/{user}")
    api.expect(410, "GET", f"/v1/users/{user}")
    return "POST users and events, folded on reading, erased"


def _lines(users: list[str], events: int) -> Iterator[bytes]:
    """Yield events, oldest first: email on and off in turn; each user's last event has the consents `FOLDED`."""
    start = datetime.now(UTC) - timedelta(seconds=events // 100 + 60)
    last_round = events - len(users)
    for number in range(events):
        consents = FOLDED if number >= last_round else [{"id": _EMAIL, "enabled": number // len(users) % 2 == 0}]
        event = {
            "id": str(uuid.uuid4()),
            "user": {"id": users[number % len(users)]},
            "consents": consents,
            "occurred_at": (start + timedelta(milliseconds=10 * number)).isoformat(),
        }
        yield json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _import(api: Api, emails: list[str], events: int) -> str:
    users = [_new_user(api, email) for email in emails[: events // 2]]
    content = gzip.compress(b"".join(_lines(users, events)), compresslevel=1, mtime=0)
    job = api.expect(
        201,
        "POST",
        "/v1/imports",
        {"format": "ndjson", "compression": "gzip", "sha256": hashlib.sha256(content).hexdigest()},
    )
    upload = job["upload"]
    answer = http.request(upload["method"], upload["url"], headers=upload["headers"], body=content)
    if answer.status != 200:
        said = answer.body.decode(errors="replace")[:300]
        raise UserError(f"the upload of {len(content)} bytes was answered {answer.status}: {said}")
    last: dict[str, Any] = {}

    def attempt() -> bool:
        last.update(api.expect(200, "GET", f"/v1/imports/{job['id']}"))
        return last["state"] in {"succeeded", "failed", "cancelled"}

    _until(_IMPORT_SECONDS, attempt, lambda: f"import {job['id']} did not end in time: {last}")
    counts = {name: last.get(name) for name in ("accepted", "skipped", "rejected")}
    if last["state"] != "succeeded" or counts != {"accepted": events, "skipped": 0, "rejected": 0}:
        raise UserError(f"import {job['id']} of {events} lines: {last['state']}, {counts}, {last.get('error')}")
    for user in users:
        _require_folded(api, user)
    return f"{events:,} events in {len(content):,} bytes uploaded, imported on S3's notification, folded"
