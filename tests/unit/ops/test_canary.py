"""A new version gets a tenth of the requests, then all of them, or goes back by itself."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from ops import alias, artifacts, aws, canary, http, layers, releases, smoke
from ops.api import Api
from ops.canary import Probe
from ops.errors import InterruptedRunError, UserError
from ops.layers import Version
from ops.settings import ROOT

OLD, NEW = "7", "8"
COMMITS = {OLD: "a" * 40, NEW: "b" * 40}


class MissingError(Exception):
    """What boto3 raises for an alias that does not exist."""


@dataclass
class World:
    """A function with two versions behind an alias, its API and its alarms.

    Attributes:
        routes: the weights that the alias was given, in order.
        ringing: names of alarms, without prefix, that ring.
        behaviour: what a version answers: a status, or an exception.
        on_request: called with the number of each request.
    """

    weights: dict[str, float] = field(default_factory=lambda: {OLD: 1.0})
    versions: tuple[str, ...] = (OLD, NEW)
    routes: list[dict[str, float]] = field(default_factory=list)
    ringing: set[str] = field(default_factory=set)
    behaviour: Callable[[str], int] = lambda _version: 200
    on_request: Callable[[int], None] = lambda _number: None
    requests: int = 0
    awaited: list[str] = field(default_factory=list)
    exceptions: Any = field(default_factory=lambda: SimpleNamespace(ResourceNotFoundException=MissingError))

    # -- Lambda

    def get_alias(self, FunctionName: str, Name: str) -> dict[str, Any]:  # noqa: N803 - boto3's
        assert (FunctionName, Name) == ("pmp-prod", "live")
        if not self.weights:
            raise MissingError
        first, *added = self.weights
        routing = {"RoutingConfig": {"AdditionalVersionWeights": {one: self.weights[one] for one in added}}}
        return {"FunctionVersion": first} | (routing if added else {})

    def update_alias(self, FunctionVersion: str, RoutingConfig: Any, **_: str) -> None:  # noqa: N803 - boto3's
        added = RoutingConfig["AdditionalVersionWeights"]
        assert {FunctionVersion, *added} <= set(self.awaited), "a pending version cannot serve"
        self.weights = {FunctionVersion: 1 - sum(added.values()), **added}
        self.routes.append(self.weights)

    def get_paginator(self, name: str) -> Any:
        assert name == "list_versions_by_function"
        found = [
            {
                "Version": number,
                "LastModified": f"2026-11-2{number}T10:00:00.000+0000",
                "Environment": {"Variables": {"PMP_RELEASE": COMMITS[number], "PMP_CODE_SHA256": number * 64}},
            }
            for number in self.versions
        ]
        return SimpleNamespace(paginate=lambda **_: [{"Versions": [{"Version": "$LATEST"}]}, {"Versions": found}])

    def get_waiter(self, name: str) -> Any:
        assert name == "published_version_active"
        return SimpleNamespace(wait=lambda Qualifier, **_: self.awaited.append(Qualifier))  # noqa: N803 - boto3's

    # -- CloudWatch

    def describe_alarms(self, AlarmNames: list[str]) -> dict[str, Any]:  # noqa: N803 - boto3's
        [name] = AlarmNames
        state = "ALARM" if name.removeprefix("pmp-prod-") in self.ringing else "OK"
        return {"MetricAlarms": [{"AlarmName": name, "StateValue": state}]}

    # -- the API

    def request(self, _method: str, url: str, **_: Any) -> http.Answer:
        self.requests += 1
        self.on_request(self.requests)
        # Of each kind of request, every tenth.
        is_second = len(self.weights) > 1 and (self.requests - 1) // 3 % 10 == 5
        version = list(self.weights)[1 if is_second else 0]
        status = self.behaviour(version)
        body = {"function_version": version} if url.endswith("/health") else {"detail": "trouble"}
        return http.Answer(status, {}, json.dumps(body).encode())


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World()
    monkeypatch.setattr(aws, "client", lambda _service: found)
    monkeypatch.setattr(aws, "parameter", lambda name: {"/pmp/prod/service/function_name": "pmp-prod"}[name])
    monkeypatch.setattr(smoke, "connect", lambda _environment: Api("http://api", "token"))
    monkeypatch.setattr(http, "request", found.request)
    monkeypatch.setattr(canary, "_ALARM_SECONDS", 0)
    return found


def test_a_sound_version_serves_a_tenth_and_then_all(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    canary.release("prod", 0)
    assert world.routes == [{OLD: 0.9, NEW: 0.1}, {NEW: 1}]
    said = capsys.readouterr().out
    assert "version 8 (commit bbbbbbbbbbbb) gets 10% of the requests for 0 minutes, version 7 the rest" in said
    assert "version 8 serves all requests; it answered 20 of 196 health requests, 0 of 588 requests failed" in said


def test_a_failing_version_goes_back_after_its_first_round(world: World) -> None:
    world.behaviour = lambda version: 500 if version == NEW else 200
    with pytest.raises(UserError) as caught:
        canary.release("prod", 0)
    assert str(caught.value) == (
        "version 8 (commit bbbbbbbbbbbb) went back after 0 s: 3 of 18 requests of the canary failed, the last one: GET "
        '/v1/consents?limit=1 answered 500 {"detail": "trouble"}. Version 7 serves all requests of prod; promote a '
        "fix, or run this again if the release is not to blame"
    )
    assert world.routes == [{OLD: 0.9, NEW: 0.1}, {OLD: 1}]


def test_an_unreachable_version_goes_back(world: World) -> None:
    def unreachable(version: str) -> int:
        if version == NEW:
            raise UserError("connection closed")
        return 200

    world.behaviour = unreachable
    with pytest.raises(UserError, match="connection closed"):
        canary.release("prod", 0)
    assert world.weights == {OLD: 1}


@pytest.mark.parametrize("alarm", canary.WATCHED)
def test_each_watched_alarm_takes_the_version_back(world: World, alarm: str) -> None:
    def ring(number: int) -> None:
        world.ringing = {alarm} if number > 60 else set()

    world.on_request = ring
    with pytest.raises(UserError, match=f"the alarm {alarm} rings"):
        canary.release("prod", 0)
    assert world.weights == {OLD: 1}


def test_an_alarm_that_rang_before_judges_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.ringing = {"database-load"}
    canary.release("prod", 0)
    assert world.weights == {NEW: 1}
    assert "not judged by database-load" in capsys.readouterr().out


def test_an_alarm_that_nobody_watches_is_ignored(world: World) -> None:
    world.ringing = {"vendor-list-stale"}
    canary.release("prod", 0)
    assert world.weights == {NEW: 1}


def test_a_version_that_answers_nothing_is_not_trusted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the gateway's integration does not name the alias."""
    monkeypatch.setattr(canary, "_ROUNDS", 10)
    monkeypatch.setattr(canary, "_LEAST_ANSWERS", 5)
    with pytest.raises(UserError, match="it answered 4 of 40 health requests, too few to judge it"):
        canary.release("prod", 0)
    assert world.weights == {OLD: 1}


def test_the_time_of_watching_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    canary.release("prod", 10)
    assert 600 <= now[0] < 605
    assert world.requests == 3 * (canary._BASELINE_ROUNDS + canary._ROUNDS + 1), "spread evenly"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError("bug")])
def test_whatever_ends_the_command_takes_the_version_back(world: World, error: Any) -> None:
    def fail(number: int) -> None:
        if number > 100:
            raise error

    world.on_request = fail
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        canary.release("prod", 0)
    assert world.weights == {OLD: 1}


def test_a_canceled_job_takes_the_version_back(world: World) -> None:
    def cancel(number: int) -> None:
        if number == 100:
            os.kill(os.getpid(), signal.SIGTERM)

    world.on_request = cancel
    with pytest.raises(InterruptedRunError):
        canary.release("prod", 0)
    assert world.weights == {OLD: 1}
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_what_a_killed_job_left_starts_again(world: World) -> None:
    world.weights = {OLD: 0.9, NEW: 0.1}
    canary.release("prod", 0)
    assert world.routes == [{OLD: 1}, {OLD: 0.9, NEW: 0.1}, {NEW: 1}]


def test_the_newest_version_needs_no_canary(world: World) -> None:
    world.weights = {NEW: 1}
    canary.release("prod", 0)
    assert (world.routes, world.requests) == ([], 0)


def test_where_the_serving_version_fails_a_person_decides(world: World) -> None:
    world.behaviour = lambda version: 503 if version == OLD else 200
    with pytest.raises(UserError, match=r"version 7, which serves, fails already.*--at-once"):
        canary.release("prod", 0)
    assert world.weights == {OLD: 1}
    canary.release("prod", 0, at_once=True)
    assert world.weights == {NEW: 1}


@pytest.mark.parametrize("minutes", [-1, 46])
def test_a_time_that_the_token_does_not_last_is_refused(world: World, minutes: float) -> None:
    with pytest.raises(UserError, match="give 0 to 45"):
        canary.release("prod", minutes)
    assert world.routes == []


def test_a_missing_alias_says_what_to_apply(world: World) -> None:
    world.weights = {}
    with pytest.raises(UserError, match="has no alias live: apply the layer 'service' first"):
        canary.release("prod", 0)


@pytest.mark.parametrize(
    ("times", "failures", "fault"),
    [
        (99, 1, ""),
        (201, 2, ""),
        (98, 2, "2 of 100 requests of the canary failed"),
        (0, 1, ""),
    ],
)
def test_one_failure_or_one_in_a_hundred_is_no_fault(times: int, failures: int, fault: str) -> None:
    probe = Probe(Api("", ""), times=[0.1] * times, failures=["503"] * failures)
    assert probe.fault().startswith(fault)
    assert bool(probe.fault()) == bool(fault)


@pytest.mark.parametrize(("slow", "is_fault"), [(3, False), (4, True)])
def test_the_slowest_in_a_hundred_may_take_two_seconds(slow: int, is_fault: bool) -> None:
    probe = Probe(Api("", ""), times=[0.1] * (300 - slow) + [2.5] * slow)
    assert bool(probe.fault()) == is_fault
    assert not Probe(Api("", ""), times=[2.5] * 299).fault(), "too few to tell"


def test_requests_that_the_throttle_refuses_say_nothing(world: World) -> None:
    world.behaviour = lambda _version: 429
    probe = Probe(Api("http://api", "token"))
    probe.round()
    assert (probe.requests, probe.answers.total()) == (0, 0)


def test_watched_alarms_exist() -> None:
    text = "".join(file.read_text() for file in (ROOT / "modules/alarms").glob("*.tf"))
    assert set(canary.WATCHED) <= set(re.findall(r"^    ([a-z][a-z0-9-]+) = \{", text, re.MULTILINE))


def test_pipelines_watch_for_longer_from_environment_to_environment() -> None:
    documents = yaml.safe_load_all((ROOT / ".gitlab-ci.yml").read_text())
    [_, pipeline] = documents
    template = next(yaml.safe_load_all((ROOT / "ops/pipeline/environment.yml").read_text()))
    default = template["spec"]["inputs"]["canary_minutes"]["default"]
    minutes = [one["inputs"].get("canary_minutes", default) for one in pipeline["include"]]
    assert minutes == sorted(minutes)
    assert 10 < minutes[-1] <= canary.LONGEST_MINUTES, "database-load needs ten minutes to ring"


# -- going back later --------------------------------------------------------------------------------------------------


def test_releases_are_listed_newest_first(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.weights = {OLD: 0.9, NEW: 0.1}
    releases.show("prod")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "    8  2026-11-28 10:00:00 UTC  bbbbbbbbbbbb  888888888888  serves 10%",
        "    7  2026-11-27 10:00:00 UTC  aaaaaaaaaaaa  777777777777  serves 90%",
    ]


def test_a_release_is_named_by_its_version_or_its_digest(world: World) -> None:
    assert releases.digest_of("prod", OLD) == OLD * 64
    assert releases.digest_of("prod", "1" * 64) == "1" * 64
    with pytest.raises(UserError, match=r"prod has no version 6: 'python -m ops releases --environment prod'"):
        releases.digest_of("prod", "6")
    with pytest.raises(UserError, match="'abc' is not a digest"):
        releases.digest_of("prod", "abc")
    assert world.routes == []


@pytest.mark.parametrize("changes", [True, False])
def test_a_rollback_serves_all_requests_at_once(world: World, monkeypatch: pytest.MonkeyPatch, changes: bool) -> None:
    """Also where Terraform has nothing to change: the newest version is that of a canary that went back."""
    applied: list[str] = []
    planned: list[Version] = []

    def plan(*_: object, version: Version) -> bool:
        planned.append(version)
        return changes

    monkeypatch.setattr(artifacts, "published_release", lambda _digest: "c" * 40)
    monkeypatch.setattr(layers, "plan", plan)
    monkeypatch.setattr(layers, "apply", lambda target, *_, **__: applied.append(target.layer))
    layers.rollback("prod", "1" * 64)
    assert planned == [Version("c" * 40, "1" * 64)]
    assert applied == (["service"] if changes else [])
    assert world.routes == [{NEW: 1}]


def test_the_alias_is_the_one_that_terraform_makes() -> None:
    assert f'  name             = "{alias.NAME}"\n' in (ROOT / "modules/function/main.tf").read_text()
