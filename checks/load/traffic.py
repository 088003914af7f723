"""Requests that arrive at given instants, whether or not the earlier ones have been answered, and what became of them.

The latency of a request counts from the instant at which it was due, so a system that stands still cannot hide it by
slowing the generator down ("coordinated omission"). An arrival that finds no idle environment is refused at once, as
Lambda refuses it when all reserved executions work.
"""

import random
import select
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from checks.load.fleet import Answer, Environment

PATIENCE_SECONDS = 35
"""How long after the last arrival an answer is waited for: longer than the gateway's 29 s."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request to the function.

    Attributes:
        kind: by which results are counted.
        event: API Gateway's payload, JSON.
        expected: the status of a success.
        event_id: of the event that it records, if it is one.
    """

    kind: str
    event: bytes
    expected: int = 200
    event_id: str | None = None


@dataclass
class Outcome:
    """What became of a stream's requests.

    Attributes:
        seconds: from due to answered, of those answered as expected, by kind.
        errors: the others, by what happened and kind: ``503 event``, ``lost check``, ``no environment page``.
        recorded: the status of each request with an event id; 0 for none.
        lateness: seconds that the generator itself was late, of each arrival.
        lasted: seconds from the first arrival to the end of arrivals.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    recorded: dict[str, int] = field(default_factory=dict)
    lateness: list[float] = field(default_factory=list)
    lasted: float = 0.0

    @property
    def answered(self) -> int:
        """Requests that were answered as expected."""
        return sum(map(len, self.seconds.values()))

    @property
    def throughput(self) -> float:
        """Requests per second that were answered as expected."""
        return self.answered / self.lasted

    def percentile(self, share: float, kind: str | None = None) -> float:
        """Return a percentile of the latency in seconds, for a share from 0 to 1; of one kind, or of all."""
        values = self.seconds.get(kind, []) if kind else [value for one in self.seconds.values() for value in one]
        return percentile(values, share)


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile for a share from 0 to 1; not a number of no values."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


class Stream:
    """Requests of one kind of client.

    Args:
        environments: that answer them, in turns; no other stream may use them meanwhile.
        calls: the requests.
        rate: arrivals per second, at random instants (a Poisson process); or
        at_once: requests that are always open: each answer brings the next request.
        replace: starts an environment in the place of one that has ended; None: the others go on without it.
        watch: is told what became of each request, when it is known: the answer, or in words why there is none.
        seed: of the random instants.
    """

    def __init__(
        self,
        environments: Sequence[Environment],
        calls: Iterator[Call],
        *,
        rate: float | None = None,
        at_once: int = 0,
        replace: Callable[[], Environment] | None = None,
        watch: Callable[[Call, Answer | str], None] | None = None,
        seed: int = 0,
    ) -> None:
        self.outcome = Outcome()
        self.stuck: list[Environment] = []
        """Environments that have not answered: they may still answer, so nobody must use them again."""
        self.calls, self.rate, self.at_once, self.replace = calls, rate, at_once, replace
        self.watch = watch
        self._idle = deque(environments)
        self._random = random.Random(seed)
        self.due = 0.0

    def _next_due(self) -> None:
        assert self.rate is not None
        self.due += self._random.expovariate(self.rate)


class Generator:
    """Drives streams, all in one thread."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams
        self._epoll = select.epoll()
        self._open: dict[int, tuple[Stream, Environment, Call, float]] = {}
        """By descriptor, with the instant at which the request was due."""

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
        """Send requests and wait for their answers; see ``Stream.outcome``.

        Args:
            seconds: in which requests arrive.
            until: looked at between requests; True ends the arrivals early.
        """
        begin = time.perf_counter()
        end = begin + seconds
        for stream in self._streams:
            stream.due = begin
            for _ in range(stream.at_once):
                self._send(stream, time.perf_counter())
            if stream.rate is not None:
                stream._next_due()
        while (now := time.perf_counter()) < end and not until():
            self._wait(min([end, *(self._arrive(stream, now) for stream in self._streams if stream.rate)]), True)
        if now >= end:
            # What was due before the end is sent, even if this process was kept from it until now.
            for stream in self._streams:
                if stream.rate:
                    self._arrive(stream, end)
        for stream in self._streams:
            stream.outcome.lasted = now - begin
        while self._open and time.perf_counter() < now + PATIENCE_SECONDS:
            self._wait(now + PATIENCE_SECONDS, False)
        for stream, environment, call, _ in self._open.values():
            stream.stuck.append(environment)
            self._count(stream, call, "no answer")
        self._epoll.close()

    def _arrive(self, stream: Stream, now: float) -> float:
        """Send what is due; return the instant of the next arrival."""
        while stream.due <= now:
            stream.outcome.lateness.append(time.perf_counter() - stream.due)
            self._send(stream, stream.due)
            stream._next_due()
        return stream.due

    def _send(self, stream: Stream, due: float) -> None:
        call = next(stream.calls)
        while stream._idle:
            environment = stream._idle.popleft()
            try:
                environment.send(call.event)
            except OSError:  # It ended while it was idle: the runtime would have started another one.
                self._replace(stream)
                continue
            self._epoll.register(environment.channel.fileno(), select.EPOLLIN)
            self._open[environment.channel.fileno()] = stream, environment, call, due
            return
        self._count(stream, call, "no environment")

    def _wait(self, until: float, goes_on: bool) -> None:
        # The timeout of epoll has a resolution of a millisecond, that of select of a microsecond.
        ready, _, _ = select.select([self._epoll], [], [], max(0.0, until - time.perf_counter()))
        for descriptor, _ in self._epoll.poll(0) if ready else []:
            stream, environment, call, due = self._open.pop(descriptor)
            self._epoll.unregister(descriptor)
            try:
                answer = environment.receive()
            except OSError:
                self._count(stream, call, "lost")
                self._replace(stream)
            else:
                self._count(stream, call, answer, time.perf_counter() - due)
                stream._idle.append(environment)
            if stream.at_once and goes_on:
                self._send(stream, time.perf_counter())

    def _replace(self, stream: Stream) -> None:
        if stream.replace is not None:
            stream._idle.append(stream.replace())

    def _count(self, stream: Stream, call: Call, found: Answer | str, seconds: float = 0) -> None:
        if stream.watch is not None:
            stream.watch(call, found)
        outcome, result = stream.outcome, found if isinstance(found, str) else found.status
        if call.event_id is not None:
            outcome.recorded[call.event_id] = result if isinstance(result, int) else 0
        if result == call.expected:
            outcome.seconds.setdefault(call.kind, []).append(seconds)
        else:
            outcome.errors[f"{result} {call.kind}"] += 1


def run(streams: Sequence[Stream], seconds: float, *, until: Callable[[], bool] = lambda: False) -> None:
    """Drive streams for some seconds, and wait for the last answers. See ``Generator.run``."""
    Generator(streams).run(seconds, until=until)
