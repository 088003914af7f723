"""The load generator: it counts each error, times from the intended instant, and misses no lost event."""

import itertools
import json
import os
import random
import signal
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import psutil
import pytest

from checks.bench import cpu
from checks.bench.growth.record import Record
from checks.bench.load import __main__ as bench
from checks.bench.load import report
from checks.bench.soak import __main__ as soak
from checks.bench.soak import report as soak_report
from checks.load.fleet import Fleet
from checks.load.ledger import audit
from checks.load.mix import WEIGHTS, Mix, user_id
from checks.load.traffic import Call, Outcome, Stream, run
from checks.stack import CALM, Stack, forget, missing, stack

USERS, ENVIRONMENTS = 400, 12


@pytest.fixture(scope="module")
def loaded() -> Iterator[Stack]:
    if lacking := missing():
        pytest.skip(lacking)
    # PostgreSQL refuses the fourth writer of a user, who comes again; pgbench would give up. Autovacuum would take
    # locks and processor time at any instant.
    with stack(pool_size=3, settings=CALM) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def record(loaded: Stack) -> Record:
    record = Record(loaded)
    for _ in record.fill(5 * USERS):
        pass
    return record


@pytest.fixture
def in_process(loaded: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The function in this process finds the servers."""
    for name, value in loaded.environment.items():
        monkeypatch.setenv(name, value)
    forget()
    yield
    forget()


@pytest.fixture(scope="module")
def shared(loaded: Stack) -> Iterator[Fleet]:
    with Fleet(loaded.environment, ENVIRONMENTS) as fleet:
        fleet.warm(Mix(USERS, 0).read("", f"/v1/users/{user_id(2)}").event)
        yield fleet


@pytest.fixture
def fleet(shared: Fleet) -> Fleet:
    if lacking := ENVIRONMENTS - len(shared.environments):
        shared.add(lacking)
    return shared


PATIENCE_SECONDS = 60
"""For what happens within a second, unless the machine does much else."""


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def calm(outcome: Outcome) -> int:
    """Requests that were answered. On a machine that does much else, some found all environments at work."""
    assert all(name.startswith("no environment") for name in outcome.errors)
    return outcome.answered


def test_mix_is_answered_and_every_acknowledged_event_is_there(loaded: Stack, fleet: Fleet) -> None:
    before, began = fleet.cpu(), time.perf_counter()
    mix = Mix(USERS, 1, client="whole")
    stream = Stream(fleet.environments, mix.ready(300), rate=80)
    outcome = stream.outcome
    run([stream], PATIENCE_SECONDS, until=lambda: outcome.answered > 80 and outcome.seconds.keys() == WEIGHTS.keys())
    assert calm(outcome) > 80
    assert outcome.seconds.keys() == WEIGHTS.keys()
    assert 0 < outcome.percentile(0.5) <= outcome.percentile(0.99) < time.perf_counter() - began
    assert 0.1 < (fleet.cpu() - before) / outcome.answered * 1000 < 20

    found = audit(loaded.cluster, "whole", outcome.recorded)
    assert found.acknowledged == found.readable == len(outcome.seconds["event"])
    assert (found.recorded, found.strange, found.failures()) == (0, 0, [])

    # An event that gets lost, one that nobody sent, and a wrong projection are found.
    acknowledged = [one for one, status in outcome.recorded.items() if status == 201]
    lost, unsent = acknowledged[:2]
    key = loaded.cluster.psql(f"SELECT subject_key FROM pmp.event WHERE id = '{unsent}'")
    loaded.cluster.psql(
        f"SET session_replication_role = replica; DELETE FROM pmp.event WHERE id = '{lost}';"
        f"UPDATE pmp.current_choice SET enabled = NOT enabled WHERE subject_key = {key}"
    )
    found = audit(loaded.cluster, "whole", {one: 201 for one in acknowledged if one != unsent})
    assert found.readable == found.acknowledged - 1
    assert found.strange == 1
    assert found.differing > 0
    assert len(found.failures()) == 3
    loaded.cluster.psql(
        "SET session_replication_role = replica; DELETE FROM pmp.current_choice;"
        "INSERT INTO pmp.current_choice"
        " SELECT r.* FROM pmp.subject AS s CROSS JOIN LATERAL pmp.replay(s.subject_key) AS r"
    )


def test_closed_stream_keeps_its_requests_open(fleet: Fleet) -> None:
    stream = Stream(fleet.environments, iter(Mix(USERS, 2)), at_once=3)
    run([stream], PATIENCE_SECONDS, until=lambda: stream.outcome.answered > 20)
    assert calm(stream.outcome) > 20


def test_streams_at_once_have_their_own_results(fleet: Fleet) -> None:
    mix = Mix(USERS, 3)
    hot = Stream(fleet.environments[:2], (mix.event(7, "hot") for _ in itertools.count()), at_once=2)
    reads = Stream(fleet.environments[2:], (mix.call("get_user") for _ in itertools.count()), rate=50)
    run([hot, reads], PATIENCE_SECONDS, until=lambda: hot.outcome.answered > 2 and reads.outcome.answered > 10)
    assert calm(hot.outcome) > 2
    assert calm(reads.outcome) > 10
    assert hot.outcome.seconds.keys() == {"hot"}
    assert reads.outcome.seconds.keys() == {"get_user"}


def test_unexpected_answers_and_errors_of_the_function_are_counted(fleet: Fleet) -> None:
    mix = Mix(USERS, 4)
    calls = [mix.read("absent", "/v1/users/00000000-0000-4000-8000-0000000000ff"), Call("broken", b'{"task": "none"}')]
    stream = Stream(fleet.environments, itertools.cycle(calls), at_once=1)
    run([stream], PATIENCE_SECONDS, until=lambda: stream.outcome.errors.total() > 5)
    assert stream.outcome.answered == 0
    assert stream.outcome.errors.keys() == {"404 absent", "0 broken"}


def test_what_is_due_while_the_generator_stands_still_is_sent(fleet: Fleet) -> None:
    def slow() -> Iterator[Call]:
        mix = Mix(USERS, 10)
        yield mix.call("get_user")
        time.sleep(0.5)
        yield from mix

    stream = Stream(fleet.environments, slow(), rate=80)
    run([stream], 0.3)
    due = list(itertools.takewhile(lambda one: one < 0.3, itertools.accumulate(arrivals(80))))
    assert len(due) > ENVIRONMENTS
    assert calm(stream.outcome) >= ENVIRONMENTS
    assert stream.outcome.answered + stream.outcome.errors.total() == len(stream.outcome.lateness) == len(due)


def arrivals(rate: float) -> Iterator[float]:
    """Seconds between two arrivals of a stream."""
    source = random.Random(0)
    while True:
        yield source.expovariate(rate)


def test_latency_counts_from_the_intended_instant_and_nobody_is_let_off(fleet: Fleet, loaded: Stack) -> None:
    """All environments stand still for a second: what was due meanwhile has waited, or found none free."""
    stream = Stream(fleet.environments, iter(Mix(USERS, 5)), rate=50)
    processes = [psutil.Process(environment.pid) for environment in fleet.environments]

    def refused() -> int:
        return sum(count for name, count in list(stream.outcome.errors.items()) if name.startswith("no environment"))

    def stand_still() -> None:
        wait_for(lambda: stream.outcome.answered > 0)
        for process in processes:
            process.suspend()
        try:
            before = refused()
            wait_for(lambda: refused() > before + 10)
            # Each environment has a request by now, and keeps it for longer than that.
            time.sleep(0.5)
        finally:
            for process in processes:
                process.resume()

    with ThreadPoolExecutor(1) as pool:
        standing_still = pool.submit(stand_still)
        run([stream], 2 * PATIENCE_SECONDS, until=standing_still.done)
        standing_still.result()
    waited = [seconds for one in stream.outcome.seconds.values() for seconds in one if seconds > 0.3]
    assert len(waited) >= ENVIRONMENTS
    assert stream.outcome.errors.total() == refused()


def test_killed_environment_is_an_error_and_its_event_is_refused_or_recorded(loaded: Stack, fleet: Fleet) -> None:
    mix = Mix(USERS, 6, client="killed")
    stream = Stream(
        fleet.environments,
        (mix.event(mix.user()) for _ in itertools.count()),
        at_once=6,
        replace=lambda: fleet.add()[0],
    )

    over, killed = threading.Event(), itertools.count()

    def kill() -> None:
        while not over.wait(0.1):
            os.kill(fleet.environments[0].pid, signal.SIGSTOP)  # not to be idle when it is killed
            time.sleep(0.05)
            fleet.kill(fleet.environments[0])
            next(killed)

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        try:
            run([stream], PATIENCE_SECONDS, until=lambda: stream.outcome.errors.total() >= 3 or killing.done())
        finally:
            over.set()
        killing.result()
    assert stream.outcome.errors.keys() == {"lost event"}
    assert 3 <= stream.outcome.errors.total() <= next(killed)
    found = audit(loaded.cluster, "killed", stream.outcome.recorded)
    assert found.failures() == []
    assert found.refused == stream.outcome.errors.total()


def test_stopped_pooler_is_counted_and_loses_nothing(loaded: Stack, fleet: Fleet) -> None:
    stream = Stream(fleet.environments, iter(Mix(USERS, 8, client="stopped")), rate=40)

    def kinds() -> set[str]:
        return {name.split()[0] for name in list(stream.outcome.errors)}

    def stop() -> None:
        wait_for(lambda: stream.outcome.answered > 10)
        loaded.bouncer.stop()
        try:
            wait_for(lambda: "503" in kinds())
        finally:
            loaded.bouncer.start()
        before = stream.outcome.answered
        wait_for(lambda: stream.outcome.answered > before + 10)

    with ThreadPoolExecutor(1) as pool:
        stopping = pool.submit(stop)
        run([stream], 4 * PATIENCE_SECONDS, until=stopping.done)
        stopping.result()
    assert "503" in kinds() <= {"503", "no"}
    assert audit(loaded.cluster, "stopped", stream.outcome.recorded).failures() == []


def test_function_that_cannot_be_imported_is_told() -> None:
    with pytest.raises(RuntimeError, match="first process ended"):
        Fleet({}, 1, module="pmp.nothing")


def test_environment_answers_with_its_body_when_asked(fleet: Fleet) -> None:
    status, body = fleet.environments[0].ask(Mix(USERS, 9).read("", f"/v1/users/{user_id(3)}").event)
    assert (status, json.loads(body)["email"]) == (200, "user3@example.com")


@pytest.mark.usefixtures("in_process")
def test_benchmark_measures_everything_in_small(loaded: Stack, record: Record, tmp_path: Path) -> None:
    # Longer than this process may have to wait for a processor.
    options = Namespace(environments=8, seconds=0.6, rounds=1, lines=20, without_peer=True)
    found = bench.measure(loaded, record, options, tmp_path)
    assert found.saturated.keys() == {"PMP", "pgbench, same SQL"}
    for result in [*found.saturated.values(), *found.offered.values(), found.alone]:
        assert result.answered > 0
        assert result.throughput > 0
        assert 0 < result.p50 <= result.p99 <= result.longest
    assert 0.1 < (found.saturated["PMP"].function_ms or 0) < 20
    assert 0.05 < report.server_times(found.apart) < 20
    assert len(found.neighbours) == 6
    assert found.audit.acknowledged == found.audit.readable > 10
    # What this machine does beside other tests misses goals of speed, but nothing else.
    for goal in report.missed(found):
        assert "p99" in goal or "CPU" in goal or "no environment" in goal
    assert "all goals" not in (tables := report.tables(found))
    for neighbour in found.neighbours:
        assert neighbour.name in tables
        assert not neighbour.errors
    assert "40 of 40 imports succeeded, 800 lines" in tables
    assert "succeeded when the other transaction had ended" in tables
    assert ET.fromstring(report.plot(found)).tag.endswith("svg")  # noqa: S314 - our own text

    found.audit = replace(found.audit, readable=found.audit.readable - 1)
    found.offered[0.7].errors["503 event"] = 2
    found.apart["PMP"].server_ms = 1.2 * (found.apart["pgbench, same SQL"].server_ms or 0)
    missed = "\n".join(report.missed(found))
    assert "1 of" in missed
    assert "2 errors at 70% of saturation" in missed or "503 event" in missed
    assert "1.20 times pgbench's CPU of PostgreSQL" in missed


def test_server_and_its_clients_get_processors_apart(loaded: Stack, fleet: Fleet) -> None:
    allowed = psutil.Process().cpu_affinity()
    if len(allowed) < 2:
        pytest.skip("there is one processor")
    assert loaded.cluster.pid is not None
    fleet.environments[0].ask(Mix(USERS, 11).read("", f"/v1/users/{user_id(3)}").event)
    # Those of the pooler, which stay.
    pids = loaded.cluster.psql("SELECT pid FROM pg_stat_activity WHERE usename = 'pmp_app'").split()
    backends = [psutil.Process(int(pid)) for pid in pids]
    environment = psutil.Process(fleet.environments[0].pid)
    with cpu.apart(loaded.cluster.pid, {os.getpid()}):
        assert {tuple(backend.cpu_affinity()) for backend in backends} == {(allowed[0],)}
        assert environment.cpu_affinity() == psutil.Process().cpu_affinity() == allowed[1:]
    assert environment.cpu_affinity() == backends[0].cpu_affinity() == psutil.Process().cpu_affinity() == allowed


@pytest.mark.usefixtures("in_process")
def test_soak_measures_everything_in_small(loaded: Stack, record: Record, tmp_path: Path) -> None:
    found = soak.measure(loaded, record, Namespace(environments=6, seconds=1, minutes=0.03), tmp_path)
    assert len(found.minutes) == 1
    assert found.samples[0].connections > 0
    assert 3 < found.samples[0].environments[0] < 200
    assert found.audit.acknowledged == found.audit.readable > 0
    rows = found.rows["event"]
    assert rows[1] - rows[0] > 0
    first = found.samples[0]
    grown = replace(
        first,
        environments=(2 * first.environments[0], first.environments[1]),
        connections=41,
        heap={**first.heap, "subject": 2 * first.heap["subject"]},
    )
    found.samples = [first, first, first, grown]
    told = "\n".join(soak_report.missed(found))
    for what in ("memory of an environment, mean grew", "connections to PostgreSQL grew", "subject: "):
        assert what in told
    assert "| event |" in soak_report.tables(found)
    assert ET.fromstring(soak_report.plot(found)).tag.endswith("svg")  # noqa: S314 - our own text
