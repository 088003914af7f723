"""Deliveries under imports, open transactions, failures, lost leases and killed processes: nothing is lost."""

import itertools
import json
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pmp import database, imports
from pmp.database import Connection
from pmp.deliveries import chain, dispatcher, messages, posting, subscriptions

from checks.object_store import ObjectStore
from checks.receiver import Receiver
from checks.stack import Stack, free_port
from tests.integration.imports.conftest import Context, event, ndjson

USERS = 4
SLOTS = 3
SECONDS = 60
"""More than a dispatcher needs for all that is due, after which it ends."""


@pytest.fixture
def stack(own_stack: Stack) -> Iterator[Stack]:
    chain._queue.cache_clear()
    yield own_stack
    own_stack.cluster.psql("UPDATE pmp.subscription SET is_enabled = false, deleted_at = now()")
    chain._queue.cache_clear()


def another() -> Connection:
    """Return a connection of its own."""
    kept, database._connection = database._connection, None
    made = database.connect()
    database._connection = kept
    return made


def subscribe(url: str, **more: Any) -> dict[str, Any]:
    connection = database.connect()
    with connection.transaction():
        made = subscriptions.create(connection, {"url": url, **more}, "tester")
    assert made is not None
    return made


def new_user(connection: Connection) -> tuple[str, str]:
    address = f"{uuid.uuid4().hex}@example.com"
    ((user,),) = connection.run("SELECT pmp.create_user(:address, 'tester')", address=address)
    return user["id"], address


def record(connection: Connection, user: str, *, enabled: bool) -> None:
    ((answer,),) = connection.run(
        "SELECT pmp.create_event(:id, :user, :choices, NULL, 'tester')",
        id=str(uuid.uuid4()),
        user=user,
        choices=json.dumps([{"id": "email_notifications", "enabled": enabled}]),
    )
    assert answer["outcome"] == "created"


def imported(store: ObjectStore, addresses: list[str], *, enabled: bool) -> None:
    lines = [event(one, enabled=enabled, id=str(uuid.uuid4()), occurred_at=_now()) for one in addresses]
    imports.handle_notification(store.put(f"imports/{uuid.uuid4()}.ndjson", ndjson(lines)), Context())


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class Killed(BaseException):
    """The process of the dispatcher has ended."""


class Link:
    """Stands for the network and the receiver: each message meets the next fate, and is remembered if it arrives."""

    def __init__(self, fates: Iterator[str], steal: Callable[[], None]) -> None:
        self._fates = fates
        self._steal = steal
        self._lock = threading.Lock()
        self.arrived: list[dict[str, Any]] = []
        self.ids: dict[str, list[str]] = {}

    def post(self, body: bytes, headers: dict[str, str]) -> posting.Outcome:
        with self._lock:
            fate = next(self._fates, "taken")
            if fate == "refused":
                return posting.Outcome(500, "refused")
            events = json.loads(body)
            self.arrived.extend(events)
            # The same message has the same changes, whenever it comes.
            known = self.ids.setdefault(headers["webhook-id"], [one["id"] for one in events])
            assert known == [one["id"] for one in events]
        if fate == "stolen":
            self._steal()
        if fate == "killed":
            return posting.Outcome(None, "killed")
        return posting.Outcome(None, "lost") if fate == "lost" else posting.Outcome(204)


FATES = ("taken", "taken", "refused", "lost", "stolen", "killed")
STEP = st.one_of(
    st.tuples(st.just("record"), st.integers(0, USERS - 1), st.booleans()),
    st.tuples(st.just("open"), st.integers(0, SLOTS - 1), st.integers(0, USERS - 1), st.booleans()),
    st.tuples(st.just("end"), st.integers(0, SLOTS - 1), st.booleans()),
    st.tuples(st.just("bring"), st.lists(st.integers(0, USERS - 1), min_size=1, max_size=5), st.booleans()),
    st.tuples(st.just("work"), st.lists(st.sampled_from(FATES), max_size=4)),
)


class Play:
    """Carries out steps; every other process and connection is a part of it."""

    def __init__(self, stack: Stack, store: ObjectStore, patch: pytest.MonkeyPatch) -> None:
        self.stack, self.store, self.connection = stack, store, database.connect()
        self.people = [new_user(self.connection) for _ in range(USERS)]
        self.made = subscribe("http://localhost:1/")
        self.slots = [another() for _ in range(SLOTS)]
        self.held: dict[int, int] = {}
        """Users whose row an open transaction has locked, by slot."""
        self.fates: list[str] = []
        self.link = Link(iter(lambda: self.fates.pop(0) if self.fates else "taken", None), self._steal)
        genuine = dispatcher.Dispatcher._record

        def recorded(own: dispatcher.Dispatcher, lane: Any, message: Any, outcome: posting.Outcome) -> bool:
            if outcome.error == "killed":
                raise Killed
            return genuine(own, lane, message, outcome)

        def receiver(own: dispatcher.Dispatcher, lane: Any) -> Link:
            return self.link

        patch.setattr(dispatcher.Dispatcher, "_receiver", receiver)
        patch.setattr(dispatcher.Dispatcher, "_record", recorded)
        patch.setattr(messages, "MOST", 3)

    def _expire(self) -> None:
        self.stack.cluster.psql(
            "UPDATE pmp.delivery_lane SET lease_until = now() - interval '1 second', next_attempt_at = now()"
        )

    def _steal(self) -> None:
        self._expire()
        thief = another()
        dispatcher.Dispatcher(thief).work(SECONDS)
        thief.close()

    def record(self, user: int, enabled: bool) -> None:
        if user not in self.held.values():
            record(self.connection, self.people[user][0], enabled=enabled)

    def open(self, slot: int, user: int, enabled: bool) -> None:
        if slot not in self.held and user not in self.held.values():
            self.slots[slot].run("BEGIN")
            record(self.slots[slot], self.people[user][0], enabled=enabled)
            self.held[slot] = user

    def end(self, slot: int, commits: bool) -> None:
        if self.held.pop(slot, None) is not None:
            self.slots[slot].run("COMMIT" if commits else "ROLLBACK")

    def bring(self, users: list[int], enabled: bool) -> None:
        if not set(users) & set(self.held.values()):
            imported(self.store, [self.people[user][1] for user in users], enabled=enabled)

    def work(self, fates: list[str]) -> None:
        self.fates = list(fates)
        self._expire()
        with suppress(Killed):
            dispatcher.Dispatcher(self.connection).work(SECONDS)


def _examine(stack: Stack, store: ObjectStore, steps: list[tuple[Any, ...]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        play = Play(stack, store, patch)
        for name, *arguments in steps:
            getattr(play, name)(*arguments)
        for slot in list(play.held):
            play.end(slot, commits=True)
        play.work([])
    for connection in play.slots:
        connection.close()
    _judge(stack, play.made, play.link.arrived, [user for user, _ in play.people])
    play.connection.run("UPDATE pmp.subscription SET is_enabled = false WHERE id = :id", id=play.made["id"])


def _judge(stack: Stack, made: dict[str, Any], arrived: list[dict[str, Any]], users: list[str]) -> None:
    """Assert that all events arrived, in the order of the feed in each lane, and that the last state is true."""
    rows = stack.cluster.psql(
        "SELECT jsonb_agg(jsonb_build_object('id', e.id, 'user', s.id,"
        " 'prompt', pmp.is_prompt(e.enabled, e.source_key)) ORDER BY e.transaction_number, e.sequence)"
        " FROM pmp.event AS e JOIN pmp.subject AS s USING (subject_key) WHERE s.id IN"
        f" ({', '.join(repr(user) for user in users)})"
    )
    stored = json.loads(rows or "[]")
    told = [one for one in arrived if one["type"] == "pmp.event.recorded" and one["subject"] in users]
    assert {one["id"] for one in told} == {one["id"] for one in stored}
    lanes = {one["id"]: one["prompt"] for one in stored}
    for user, prompt in itertools.product(users, (True, False)):
        expected = [one["id"] for one in stored if (one["user"], one["prompt"]) == (user, prompt)]
        first = list(dict.fromkeys(one["id"] for one in told if (one["subject"], lanes[one["id"]]) == (user, prompt)))
        assert first == expected
    latest: dict[str, dict[str, Any]] = {}
    for one in told:
        if one["subject"] not in latest or latest[one["subject"]]["state_at"] < one["data"]["state_at"]:
            latest[one["subject"]] = one["data"]
    for user, data in latest.items():
        (state,) = data["state"]
        current = json.loads(stack.cluster.psql(f"SELECT pmp.get_user('{user}') -> 'consents'"))
        assert [{"id": state["id"], "enabled": state["enabled"]}] == current
    # And the ledger knows it.
    for user in latest:
        page = json.loads(stack.cluster.psql(f"SELECT pmp.list_deliveries('{user}', NULL, NULL, 1000)"))
        assert all(made["id"] in {d["subscription"] for d in item["deliveries"]} for item in page["items"])


@settings(
    max_examples=10, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(steps=st.lists(STEP, min_size=5, max_size=25))
def test_each_change_arrives_in_the_order_of_its_user(stack: Stack, store: ObjectStore, steps: list[Any]) -> None:
    _examine(stack, store, steps)


@pytest.mark.nightly
@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEP, min_size=5, max_size=40))
def test_many_orders_of_commits_failures_and_lost_leases(stack: Stack, store: ObjectStore, steps: list[Any]) -> None:
    _examine(stack, store, steps)


def test_withdrawal_overtakes_an_import(stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = database.connect()
    receiver = Receiver()
    made = subscribe(receiver.url)
    user, address = new_user(connection)
    imported(store, [address, *(f"{uuid.uuid4().hex}@example.com" for _ in range(450))], enabled=True)
    record(connection, user, enabled=False)
    dispatcher.Dispatcher(connection).work(SECONDS)
    receiver.close()
    mine = [one for one in receiver.events if one["subject"] == user]
    place = next(
        place
        for place, one in enumerate(receiver.events)
        if one["subject"] == user and not one["data"]["consents"][0]["enabled"]
    )
    assert place <= 200  # beside the first messages of the import, and not after its last
    assert len(receiver.events) == 453  # with the end of the import
    # The older grant says what counts: the denial.
    assert [one["data"]["state"][0]["enabled"] for one in mine] == [False, False]
    assert len(mine) == 2
    assert subscriptions.named(connection, made["id"])["state"] == "active"  # type: ignore[index]


def _survive(stack: Stack, folder: Path, count: int, kills: int) -> None:
    """Kill and restart the receiver while so many changes are told."""
    connection, writer = database.connect(), another()
    port, file = free_port(), folder / "taken.ndjson"

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "checks.receiver", "--port", str(port), "--file", str(file)])

    users = [new_user(connection)[0] for _ in range(50)]
    subscribe(f"http://localhost:{port}/")
    source = random.Random(7)

    left = [count * (number + 1) // (kills + 2) for number in range(kills)]

    def write() -> None:
        for written in range(0, count, 100):
            # Not past a kill: a writer that has ended leaves nothing to be in the middle of.
            while written > next(iter(left), count) + 100:
                time.sleep(0.01)
            chosen = [source.choice(users) for _ in range(100)]
            writer.run(
                "SELECT pmp.create_events(:events, 'tester')",
                events=json.dumps(
                    [
                        {
                            "id": str(uuid.uuid4()),
                            "user_id": user,
                            "has_fraction": True,
                            "is_upsert": False,
                            "choices": [{"id": "email_notifications", "enabled": source.random() < 0.5}],
                        }
                        for user in chosen
                    ]
                ),
            )

    thread = threading.Thread(target=write)
    receiver = start()
    thread.start()
    taken, end = 0, time.monotonic() + 300
    distinct: dict[str, Any] = {}
    while len(distinct) < count and time.monotonic() < end:
        dispatcher.Dispatcher(connection).work(0.3)
        lines = file.read_text().splitlines() if file.exists() else []
        # A killed receiver may leave half a line, which it has not acknowledged.
        for line in lines[taken:]:
            with suppress(ValueError):
                distinct.setdefault((one := json.loads(line))[0], one)
        taken = len(lines)
        if left and len(distinct) >= left[0]:
            left.pop(0)
            receiver.send_signal(signal.SIGKILL)
            receiver.wait()
            dispatcher.Dispatcher(connection).work(0.3)
            receiver = start()
    thread.join()
    receiver.kill()
    receiver.wait()
    writer.close()
    assert left == []
    assert len(distinct) == count
    by_user: dict[str, list[str]] = defaultdict(list)
    for _, user, sequence in distinct.values():
        by_user[user].append(sequence)
    assert all(sequences == sorted(sequences) for sequences in by_user.values())
    # Only what was under way when the receiver died can come twice: one message for each time.
    assert taken - count <= (kills + 1) * messages.MOST


def test_killed_receiver_misses_nothing(stack: Stack, store: ObjectStore, tmp_path: Path) -> None:
    _survive(stack, tmp_path, 1000, 2)


@pytest.mark.nightly
def test_killed_receiver_misses_nothing_of_ten_thousand(stack: Stack, store: ObjectStore, tmp_path: Path) -> None:
    _survive(stack, tmp_path, 10_000, 10)
