"""The usual mix of requests while a fault begins, lasts and is repaired, and what became of each request."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from checks.faults.kinds import Fault, Scene
from checks.load.fleet import Answer, Environment
from checks.load.ledger import Audit, audit
from checks.load.mix import Mix
from checks.load.traffic import Call, Stream, run

_BEFORE_SECONDS, _AFTER_SECONDS = 0.5, 0.5
_RECOVERY_SECONDS = 30
"""Requests go on for so long at most after the fault, until both a read and an event succeed."""

_UNAVAILABLE = 500
SUCCESS = range(200, 300)


@dataclass(frozen=True)
class Row:
    """What became of the requests of one fault.

    Attributes:
        fault: which one.
        requests: all of them.
        answers: how many were answered, by the first digit of the status.
        unanswered: those whose environment ended.
        refused: those that found no idle environment: Lambda throttles them, and API Gateway answers for it.
        bare: by status, answers of 5xx without Retry-After; 0 for an error that the function raised.
        recovery: seconds from the repair to the first successful read and to the first recorded event; None for
            longer than was waited for.
        audit: of the events, before anything was repeated.
        repeated: events whose request did not succeed, sent again.
        statuses: of the repeated ones.
        after: of the events, after the repetitions.
    """

    fault: Fault
    requests: int
    answers: Counter[int]
    unanswered: int
    refused: int
    bare: Counter[int]
    recovery: tuple[float | None, float | None]
    audit: Audit
    repeated: int
    statuses: Counter[int]
    after: Audit

    def failures(self) -> list[str]:
        """Return what must not be, a sentence each."""
        found = self.audit.failures()
        found += [f"after the repetitions, {one}" for one in self.after.failures()]
        if counted := self.answers.total() + self.unanswered + self.refused - self.requests:
            found.append(f"{abs(counted)} requests were counted {'twice' if counted > 0 else 'nowhere'}")
        found += [f"{count} answers of {status} had no Retry-After" for status, count in self.bare.items()]
        if failed := {status: count for status, count in self.statuses.items() if status not in SUCCESS}:
            found.append(f"repeated events were not recorded: {failed}")
        if None in self.recovery:
            found.append(f"it did not recover within {_RECOVERY_SECONDS} seconds")
        feels = self.fault.feels
        if feels is None and self.answers[2] != self.requests:
            found.append("clients noticed it")
        if feels is not None and not (self.unanswered if feels == "lost" else self.answers[int(feels)]):
            found.append(f"no request met it ({feels}): it was not a fault")
        return [f"{self.fault.name}: {one}" for one in found]


class _Watch:
    """Counts what becomes of requests."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.sent: dict[str, Call] = {}
        """The requests that record events, unchanged, by the event's id."""
        self.statuses: dict[str, int] = {}
        """Of these events; 0 for no answer."""
        self.requests = 0
        self.answers, self.bare, self.others = Counter[int](), Counter[int](), Counter[str]()
        self.repaired: float | None = None
        self.recovery: dict[bool, float] = {}
        """Seconds from the repair to the first success, of reads (False) and of events (True)."""

    def calls(self, calls: Iterator[Call]) -> Iterator[Call]:
        for call in calls:
            self.requests += 1
            if call.event_id is not None:
                self.sent[call.event_id] = call
            yield self._scene.change(call)

    def __call__(self, call: Call, found: Answer | str) -> None:
        is_event = call.event_id is not None
        status = 0 if isinstance(found, str) else found.status
        if call.event_id is not None:
            self.statuses[call.event_id] = status
        if isinstance(found, str):
            self.others[found] += 1
            return
        self.answers[status // 100 or 5] += 1  # API Gateway answers an error that the function raised with 500.
        if (status >= _UNAVAILABLE or not status) and not found.retry_after:
            self.bare[status] += 1
        if self.repaired is not None and status in SUCCESS:
            self.recovery.setdefault(is_event, time.perf_counter() - self.repaired)


def measure(scene: Scene, fault: Fault, *, users: int, seconds: float, seed: int) -> Row:
    """Let a fault happen beside requests, repeat those that were not answered with success, and compare.

    Args:
        scene: of the fault; environments that it killed are replaced afterwards.
        fault: what happens.
        users: how many the record has.
        seconds: how long the fault lasts.
        seed: of the requests; another one for each fault of a scene.
    """
    fleet = scene.fleet
    count, watch = len(fleet.environments), _Watch(scene)
    client, bearer = scene.deployment.client() if scene.deployment else (f"faults-{seed}", "")
    mix = Mix(users, seed, client=client, bearer=bearer)
    writing = (mix.event(mix.user()) for _ in itertools.count())
    idle, busy = fleet.environments[: count - fault.writers], fleet.environments[count - fault.writers :]

    def another() -> Environment:
        return fleet.add()[0]

    streams = [Stream(idle, watch.calls(iter(mix)), rate=fault.rate, replace=another, watch=watch, seed=seed)]
    if fault.writers:
        streams.append(Stream(busy, watch.calls(writing), at_once=fault.writers, replace=another, watch=watch))

    def happen() -> None:
        time.sleep(_BEFORE_SECONDS)
        fault.happen(scene, seconds)
        watch.repaired = time.perf_counter()

    with ThreadPoolExecutor(1) as pool:
        happening = pool.submit(happen)

        def is_over() -> bool:
            if not happening.done():
                return False
            happening.result()
            assert watch.repaired is not None
            lasted = time.perf_counter() - watch.repaired
            return lasted > _RECOVERY_SECONDS or (lasted > _AFTER_SECONDS and len(watch.recovery) > 1)

        run(streams, seconds + 10 * _RECOVERY_SECONDS, until=is_over)
    for environment in [one for stream in streams for one in stream.stuck]:
        fleet.kill(environment)
    fleet.add(max(0, count - len(fleet.environments)))

    cluster = scene.stack.cluster
    before = audit(cluster, mix.client, watch.statuses)
    statuses = Counter[int]()
    for event_id, status in watch.statuses.items():
        if status not in SUCCESS:
            answer, _ = fleet.environments[0].ask(watch.sent[event_id].event)
            statuses[answer] += 1
            watch.statuses[event_id] = 201 if answer in SUCCESS else answer
    return Row(
        fault,
        watch.requests,
        watch.answers,
        watch.others["lost"] + watch.others["no answer"],
        watch.others["no environment"],
        watch.bare,
        (watch.recovery.get(False), watch.recovery.get(True)),
        before,
        statuses.total(),
        statuses,
        audit(cluster, mix.client, watch.statuses),
    )
