"""Prove an environment from outside: through its own domain, with a token, as an API client does."""

import gzip
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import urllib3

from ci import aws, clients, http
from ci.errors import CommandError
from ci.layers import Version
from ci.output import say

DEFAULT_EVENTS = 100_000
_USERS = 10
_READY_SECONDS = 90  # a first start, a cold function and its first connection
_VENDOR_SECONDS = 60
_IMPORT_SECONDS = 300
_EMAIL, _SMS = "email_notifications", "sms_notifications"
FOLDED = [{"id": _EMAIL, "enabled": False}, {"id": _SMS, "enabled": True}]
"""What is left of: e-mail on, then e-mail off and text messages on."""


class Api:
    """The API of one environment, as its client ``smoke`` sees it."""

    def __init__(self, environment: str) -> None:
        """Find the API and fetch a token with all scopes.

        Raises:
            CommandError: the environment is not deployed, or gives no token.
        """
        self.url = aws.parameter(f"/pmp/{environment}/service/api_url")
        token_url = aws.parameter(f"/pmp/{environment}/foundation/token_url")
        self._token = fetch_token(token_url, *clients.credentials(environment, clients.SMOKE))

    def ask(self, method: str, path: str, document: object = None, *, anonymous: bool = False) -> http.Answer:
        """One request; ``document`` is sent as JSON.

        Raises:
            CommandError: the API cannot be reached.
        """
        headers = {} if anonymous else {"Authorization": f"Bearer {self._token}"}
        body = None
        if document is not None:
            headers |= {"Content-Type": "application/json"}
            body = json.dumps(document).encode()
        return http.request(method, self.url + path, headers=headers, body=body)

    def expect(self, status: int, method: str, path: str, document: object = None) -> Any:
        """One request that must be answered with ``status``; the answer's JSON, or None when it is empty.

        Raises:
            CommandError: another status; the message quotes the problem document.
        """
        answer = self.ask(method, path, document)
        if answer.status != status:
            said = answer.body.decode(errors="replace")[:300]
            raise CommandError(f"{method} {self.url}{path} answered {answer.status} instead of {status}: {said}")
        return answer.json() if answer.body else None


def fetch_token(token_url: str, client_id: str, client_secret: str) -> str:
    """A bearer token by client credentials (RFC 6749, section 4.4), with all of the client's scopes.

    Raises:
        CommandError: the server refused.
    """
    headers = urllib3.make_headers(basic_auth=f"{client_id}:{client_secret}")
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    answer = http.request(
        "POST", token_url, headers=headers, body=urlencode({"grant_type": "client_credentials"}).encode()
    )
    if answer.status != 200:
        raise CommandError(f"no token from {token_url}: {answer.status} {answer.body.decode(errors='replace')[:200]}")
    return str(answer.json()["access_token"])


def smoke(environment: str, events: int, version: Version | None = None) -> None:
    """Run every check; the first that fails ends it.

    Args:
        environment: whose API.
        events: lines of the import, at least 20.
        version: what must be running; None takes what the service layer says was deployed.

    Raises:
        CommandError: a check failed.
    """
    if events < 2 * _USERS:
        raise CommandError(f"--events {events}: give at least {2 * _USERS}")
    expected = version or Version.deployed(environment)
    api = Api(environment)
    _check("release", lambda: _release(api, environment, expected))
    _check("token", lambda: _refuses_strangers(api))
    _check("vendors", lambda: _vendors(api))
    _check("contract", lambda: _contract(api))
    _check("import", lambda: _import(api, events))
    say(
        f"smoke of {environment}: passed, {api.url} runs {expected.release[:12]}, lambda {expected.code_sha256[:12]}",
        "bold",
    )


def _check(name: str, run: Callable[[], str]) -> None:
    started = time.monotonic()
    found = run()
    say(f"  ✓ {name:<9} {time.monotonic() - started:5.1f} s  {found}")


def _until(seconds: float, attempt: Callable[[], Any], failure: Callable[[], str]) -> Any:
    """Call ``attempt`` until it gives something, at growing intervals.

    Raises:
        CommandError: nothing came in time; ``failure`` says what it was last.
    """
    deadline, pause = time.monotonic() + seconds, 0.2
    while not (found := attempt()):
        if time.monotonic() > deadline:
            raise CommandError(failure())
        time.sleep(pause)
        pause = min(2.0, pause * 1.5)
    return found


def _release(api: Api, environment: str, expected: Version) -> str:
    last: list[str] = ["nothing"]
    wanted = {"environment": environment, "release": expected.release, "code_sha256": expected.code_sha256}

    def attempt() -> bool:
        try:
            answer = api.ask("GET", "/v1/health", anonymous=True)
        except CommandError as error:
            last[0] = str(error)
            return False
        last[0] = f"{answer.status} {answer.body.decode(errors='replace')[:300]}"
        return answer.status == 200 and wanted.items() <= answer.json().items()

    _until(
        _READY_SECONDS,
        attempt,
        lambda: f"{api.url}/v1/health does not run {environment} {expected.release} {expected.code_sha256}: {last[0]}",
    )
    return f"commit {expected.release[:12]}, lambda {expected.code_sha256[:12]}"


def _refuses_strangers(api: Api) -> str:
    status = api.ask("GET", "/v1/users", anonymous=True).status
    if status != 401:
        raise CommandError(f"GET {api.url}/v1/users without a token answered {status} instead of 401")
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


def _new_user(api: Api) -> str:
    email = f"smoke+{uuid.uuid4()}@example.com"
    user = api.expect(201, "POST", "/v1/users", {"email": email})
    if user.get("email") != email or user.get("consents") != []:
        raise CommandError(f"POST {api.url}/v1/users answered {user}: expected the e-mail and no consents")
    return str(user["id"])


def _require_folded(api: Api, user: str) -> None:
    found = api.expect(200, "GET", f"/v1/users/{user}")["consents"]
    if found != FOLDED:
        raise CommandError(f"GET {api.url}/v1/users/{user} folds to {found}, expected {FOLDED}")


def _contract(api: Api) -> str:
    user = _new_user(api)
    for consents in ([{"id": _EMAIL, "enabled": True}], FOLDED):
        api.expect(201, "POST", "/v1/events", {"user": {"id": user}, "consents": consents})
    _require_folded(api, user)
    api.expect(204, "DELETE", f"/v1/users/{user}")
    api.expect(410, "GET", f"/v1/users/{user}")
    return "POST users and events, folded on reading, erased"


def _lines(users: list[str], events: int) -> Iterator[bytes]:
    """Events, the oldest first: e-mail on and off in turn; the last of each user ends as `FOLDED`."""
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


def _import(api: Api, events: int) -> str:
    users = [_new_user(api) for _ in range(_USERS)]
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
        raise CommandError(f"the upload of {len(content)} bytes was answered {answer.status}: {said}")
    last: dict[str, Any] = {}

    def attempt() -> bool:
        last.update(api.expect(200, "GET", f"/v1/imports/{job['id']}"))
        return last["state"] in {"succeeded", "failed", "cancelled"}

    _until(_IMPORT_SECONDS, attempt, lambda: f"import {job['id']} does not end: {last}")
    counts = {name: last.get(name) for name in ("accepted", "skipped", "rejected")}
    if last["state"] != "succeeded" or counts != {"accepted": events, "skipped": 0, "rejected": 0}:
        raise CommandError(f"import {job['id']} of {events} lines: {last['state']}, {counts}, {last.get('error')}")
    for user in users:
        _require_folded(api, user)
        api.expect(204, "DELETE", f"/v1/users/{user}")
    return f"{events:,} events in {len(content):,} bytes uploaded, imported on S3's notification, folded"
