"""Give a new version of the function a part of the requests first, and take it back by itself if they fail.

An apply of the layer ``service`` publishes a version that serves nobody. The canary then routes a tenth of the alias's
invocations to it, watches the environment's alarms, and sends requests of its own, so that there is something to judge
where clients send few. Both versions run on the new schema meanwhile: what makes that right is that a release's
migrations only add (`ops.migrations`).
"""

import math
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from ops import aws, smoke
from ops.alias import Alias
from ops.api import Api
from ops.errors import InterruptedRunError, UserError
from ops.output import say

SHARE = 0.1
LONGEST_MINUTES = 45
"""The smoke test's token is valid for an hour."""
WATCHED = (
    "api-latency",
    "api-server-errors",
    "database-load",
    "function-errors",
    "function-throttles",
    "release-errors",
)
"""Alarms that a bad release sets off, by their names in ``modules/alarms``."""
_PATHS = ("/v1/health", "/v1/ready", "/v1/consents?limit=1")
"""What each round asks: which version answers, the database, and a token and a statement, of nobody's data."""
_ROUNDS = 400
"""Spread over the time of watching. The new version then answers about 40, and with one chance in 10,000 below 20."""
_LEAST_ANSWERS = 20
_BASELINE_ROUNDS = 10
_ALARM_SECONDS = 15
# As the alarms api-server-errors and api-latency: a share, so that one failed request does not end a release.
_LEAST_FAILURES, _FAILED_SHARE, _P99_SECONDS = 2, 0.01, 2.0
_LEAST_TIMES = 300
"""Of fewer times, the slowest in a hundred is a cold start."""


class _UnfitError(Exception):
    """What is wrong with the new version, in words."""


@dataclass
class Probe:
    """Requests to an environment's API, and what came of them.

    Attributes:
        api: whom to ask.
        clock: seconds, for durations.
        answers: how many of the health requests each version answered.
        times: seconds that each answered request took.
        failures: requests that failed, as text.
    """

    api: Api
    clock: Callable[[], float] = time.monotonic
    answers: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def round(self) -> None:
        """Send one request of each kind. One that the gateway's throttle refuses says nothing of any version."""
        for path in _PATHS:
            began = self.clock()
            try:
                answer = self.api.ask("GET", path)
            except UserError as error:
                self.failures.append(str(error))
                continue
            if answer.status >= 500:
                said = answer.body.decode(errors="replace")[:200]
                self.failures.append(f"GET {path} answered {answer.status} {said}")
            elif answer.status != 429:
                self.times.append(self.clock() - began)
            if path == "/v1/health" and answer.status == 200:
                self.answers[str(answer.json().get("function_version"))] += 1

    @property
    def requests(self) -> int:
        """How many requests count."""
        return len(self.times) + len(self.failures)

    @property
    def p99(self) -> float:
        """Seconds within which 99 % of the answers came; 0 without any."""
        return sorted(self.times)[math.ceil(len(self.times) * 0.99) - 1] if self.times else 0.0

    def fault(self) -> str:
        """Return what is wrong with the answers, in words, or an empty string."""
        failed = len(self.failures)
        if failed >= _LEAST_FAILURES and failed > self.requests * _FAILED_SHARE:
            return f"{failed} of {self.requests} requests of the canary failed, the last one: {self.failures[-1]}"
        if len(self.times) >= _LEAST_TIMES and self.p99 > _P99_SECONDS:
            return f"one request of the canary in a hundred took {self.p99:.1f} s, more than {_P99_SECONDS:.0f} s"
        return ""


def ringing(environment: str) -> set[str]:
    """Return those of the watched alarms that ring now."""
    cloudwatch = aws.client("cloudwatch")
    found = set()
    for name in WATCHED:
        # One by one, as Terraform asks: the identity that deploys may describe its own environment's alarms only.
        answer = cloudwatch.describe_alarms(AlarmNames=[f"pmp-{environment}-{name}"])
        found |= {name for alarm in answer["MetricAlarms"] if alarm["StateValue"] == "ALARM"}
    return found


def release(environment: str, minutes: float, *, at_once: bool = False) -> None:
    """Let the newest version serve: a tenth of the requests for a time, then all of them, or none.

    Args:
        environment: name, such as ``prod``.
        minutes: how long to watch; longer where the new version answered too few requests to be judged.
        at_once: give it all requests without watching, as when the version that serves fails.

    Raises:
        UserError: the version went back, or the one that serves already fails.
        InterruptedRunError: the command was interrupted, and the version went back.
    """
    if not 0 <= minutes <= LONGEST_MINUTES:
        raise UserError(f"--minutes {minutes:g}: give 0 to {LONGEST_MINUTES}")
    alias = Alias.of(environment)
    old, new = alias.serving(), alias.newest()
    if old == new.number:
        alias.give_all(old)
        say(f"canary of {environment}: version {old} serves all requests and is the newest", "bold")
        return
    if at_once:
        alias.give_all(new.number)
        say(f"canary of {environment}: version {new.number} serves all requests, unwatched as asked for", "bold")
        return
    api = smoke.connect(environment)
    # What a killed job left would be judged as the old version.
    alias.give_all(old)
    before = ringing(environment)
    _require_sound(Probe(api), old)
    if before:
        say(f"warning: not judged by {', '.join(sorted(before))}, which rang before", "yellow")
    say(
        f"canary of {environment}: version {new.number} (commit {new.release[:12]}) gets {SHARE:.0%} of the requests "
        f"for {minutes:g} minutes, version {old} the rest"
    )
    probe, began = Probe(api), time.monotonic()
    try:
        with _interruptible():
            alias.split(new.number, SHARE)
            _watch(probe, environment, new.number, minutes * 60, before)
            alias.give_all(new.number)
    except BaseException as error:
        alias.give_all(old)
        back = f"version {new.number} (commit {new.release[:12]}) went back after {time.monotonic() - began:.0f} s"
        if isinstance(error, _UnfitError):
            raise UserError(
                f"{back}: {error}. Version {old} serves all requests of {environment}; promote a fix, or run this "
                "again if the release is not to blame"
            ) from None
        say(f"{back}; version {old} serves all requests of {environment}", "yellow")
        raise
    say(
        f"canary of {environment}: version {new.number} serves all requests; it answered "
        f"{probe.answers[new.number]} of {probe.answers.total()} health requests, {len(probe.failures)} of "
        f"{probe.requests} requests failed, p99 {probe.p99 * 1000:.0f} ms",
        "bold",
    )


def _require_sound(probe: Probe, version: str) -> None:
    for _ in range(_BASELINE_ROUNDS):
        probe.round()
    if fault := probe.fault():
        raise UserError(
            f"version {version}, which serves, fails already, so a canary can judge nothing: {fault}. Give the newest "
            "version all requests with the pipeline's input 'at_once', or 'python -m ops canary --at-once'"
        )


def _watch(probe: Probe, environment: str, version: str, seconds: float, before: set[str]) -> None:
    """Send requests and look at the alarms until the time is over and enough requests were answered.

    Raises:
        _UnfitError: the version is to go back.
    """
    began = asked = time.monotonic()
    rounds = 0
    while True:
        probe.round()
        rounds += 1
        if fault := probe.fault():
            raise _UnfitError(fault)
        now = time.monotonic()
        is_over = now - began >= seconds and probe.answers[version] >= _LEAST_ANSWERS
        if is_over or now - asked >= _ALARM_SECONDS:
            asked = now
            if rung := ringing(environment) - before:
                raise _UnfitError(f"the alarm {', '.join(sorted(rung))} rings, see docs/runbook.md")
        if is_over:
            return
        if rounds >= 4 * _ROUNDS:
            answered = probe.answers[version]
            raise _UnfitError(f"it answered {answered} of {rounds} health requests, too few to judge it")
        time.sleep(max(0.0, began + rounds * seconds / _ROUNDS - now))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn SIGTERM, by which GitLab cancels a job, into an exception, so that the version goes back."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise InterruptedRunError

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
