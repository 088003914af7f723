"""Lists, the feed and exports come from a reader that keeps up, and from the writer otherwise: with a real standby."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pytest
from pmp import database, exports, readers

from checks import preloads
from checks import stack as stacks
from checks.gateway import Gateway
from checks.object_store import ObjectStore
from checks.stack import Stack
from local.servers.pgbouncer import Bouncer
from local.servers.postgres import Cluster
from tests.integration.imports.conftest import Context
from tests.integration.imports.test_exports import users_of
from tests.integration.imports.test_feed import connected, following, new_event, new_user


@dataclass(frozen=True)
class Pair:
    """A stack, and a standby of its database with a pooler."""

    primary: Stack
    reader: Cluster
    pooler: Bouncer

    def catch_up(self) -> None:
        """Leave a mark, and wait until the reader shows it."""
        self.primary.cluster.psql("UPDATE pmp.mark SET made_at = '-infinity'; SELECT pmp.leave_mark()")
        made = self.primary.cluster.psql("SELECT made_at FROM pmp.mark")
        deadline = time.monotonic() + 10
        while self.reader.psql("SELECT made_at FROM pmp.mark") != made:
            assert time.monotonic() < deadline, "the standby does not follow"
            time.sleep(0.01)

    def pause(self) -> None:
        """Let the reader fall behind."""
        self.reader.psql("SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        self.reader.psql("SELECT pg_wal_replay_resume()")


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    with (
        stacks.stack(settings=stacks.CALM) as primary,
        stacks.standby(primary.cluster, primary.app_password) as (reader, pooler),
    ):
        yield Pair(primary, reader, pooler)


@pytest.fixture
def pair(servers: Pair, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    use(servers, store, monkeypatch)
    servers.pooler.start()
    servers.resume()
    servers.catch_up()
    yield servers
    servers.resume()
    stacks.forget()


def use(pair: Pair, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the function use a pair of servers."""
    environment = pair.primary.environment | {
        "AWS_ENDPOINT_URL": store.url,
        "PMP_DATABASE_READER_HOST": "127.0.0.1",
        "PMP_DATABASE_READER_PORT": str(pair.pooler.port),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stacks.forget()
    # So that a slow machine makes nothing too old by itself.
    monkeypatch.setattr(readers, "MOST_SECONDS", 60.0)


@pytest.fixture
def api() -> Gateway:
    return Gateway()


def registered(api: Gateway) -> str:
    answer = api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"})
    assert answer.status == 201, answer.content
    return str(answer.json["id"])


def listed(api: Gateway, path: str = "/v1/users", **headers: str) -> tuple[list[str], int | None]:
    """Return the ids of a list's first 500 items, and its age in seconds; None: it is the writer's."""
    answer = api.get(f"{path}{'&' if '?' in path else '?'}limit=500", **headers)
    assert answer.status == 200, answer.content
    age = answer.headers.get("Age")
    return [item["id"] for item in answer.json["items"]], None if age is None else int(age)


def test_a_list_comes_from_the_reader_and_says_how_old_it_is(pair: Pair, api: Gateway) -> None:
    before = registered(api)
    pair.catch_up()
    pair.pause()
    after = registered(api)
    ids, age = listed(api)
    assert before in ids
    assert after not in ids
    assert age is not None
    assert 1 <= age <= readers.MOST_SECONDS


def test_a_reader_that_lags_is_noticed_and_the_writer_answers(
    pair: Pair, api: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "MOST_SECONDS", 0.5)
    pair.pause()
    after = registered(api)
    time.sleep(0.6)
    ids, age = listed(api)
    assert after in ids
    assert age is None
    monkeypatch.setattr(readers, "MOST_SECONDS", 60.0)
    pair.resume()
    pair.catch_up()
    assert listed(api)[1] is not None


@pytest.mark.parametrize("control", ["no-cache", "max-age=0", "private, No-Store"])
def test_a_client_that_wants_its_own_writes_gets_the_writer(pair: Pair, api: Gateway, control: str) -> None:
    pair.pause()
    after = registered(api)
    ids, age = listed(api, Cache_Control=control)
    assert after in ids
    assert age is None


def test_a_client_that_takes_some_age_gets_the_reader(pair: Pair, api: Gateway) -> None:
    assert listed(api, Cache_Control="max-age=60")[1] is not None


def test_writes_and_single_reads_are_the_writers(pair: Pair, api: Gateway) -> None:
    """The reader has none of it; neither does it have what was known at an instant just past."""
    pair.pause()
    user = registered(api)
    assert api.post("/v1/events", {"user": {"id": user}, "consents": []}).status in {201, 422}
    found = api.get(f"/v1/users/{user}")
    assert (found.status, found.headers.get("Age")) == (200, None)
    ids, age = listed(api, f"/v1/users?email={found.json['email']}")
    assert (ids, age) == ([user], None)
    now = pair.primary.cluster.psql("SELECT pmp.instant(clock_timestamp())")
    ids, age = listed(api, f"/v1/users?known_at={now}")
    assert user in ids
    assert age is None


def test_a_follower_on_the_reader_misses_nothing(pair: Pair, api: Gateway) -> None:
    """B commits before A, which began first: what the reader shows of B has to wait for A."""
    _, cursor = following(api, "/v1/events", None, 500)
    with connected() as first, connected() as second:
        users = new_user(second), new_user(second)
        first.run("BEGIN")
        a = new_event(first, users[0])
        b = new_event(second, users[1])
        pair.catch_up()
        assert pair.reader.psql(f"SELECT count(*) FROM pmp.event WHERE id = '{b}'") == "1"
        seen, cursor = following(api, "/v1/events", cursor, 500)
        assert (seen, listed(api, "/v1/events")[1] is not None) == ([], True)
        # PostgreSQL's own standbys could tell, too; of Aurora's readers, nobody says so.
        horizons = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
        assert int(pair.reader.psql(horizons)) <= int(first.run("SELECT pg_current_xact_id()::text::bigint")[0][0])
        first.run("COMMIT")
    # The mark is older than A's commit: A and B are still to come.
    pair.catch_up()
    seen, _ = following(api, "/v1/events", cursor, 500)
    assert seen == [a, b]


def test_the_writer_answers_while_there_is_no_reader(pair: Pair, api: Gateway, capsys: Any) -> None:
    pair.pooler.stop()
    user = registered(api)
    started = time.monotonic()
    ids, age = listed(api)
    assert user in ids
    assert age is None
    assert capsys.readouterr().out.count('"reader unusable"') == 1
    assert listed(api)[1] is None
    assert time.monotonic() - started < database.SOCKET_TIMEOUT_SECONDS
    assert capsys.readouterr().out.count('"reader unusable"') == 0, (
        "each request tries a reader that is known to be down"
    )


def test_a_lost_connection_to_the_reader_does_not_rest_it(pair: Pair, api: Gateway) -> None:
    assert listed(api)[1] is not None
    pair.pooler.stop()
    pair.pooler.start()
    assert listed(api)[1] is None
    assert listed(api)[1] is not None


def test_a_slow_statement_is_not_started_again_on_the_writer(pair: Pair) -> None:
    def slow(connection: database.Connection) -> None:
        ran.append(connection)
        # For this statement alone: what the function itself asks the servers before it may take longer than this.
        connection.run("SET LOCAL statement_timeout = '50ms'")
        connection.run("SELECT pg_sleep(10)")

    ran: list[database.Connection] = []
    with pytest.raises(database.DatabaseError) as caught:
        readers.recent(slow, 60)
    assert database.error_code(caught.value) == "57014"
    assert len(ran) == 1


def requested(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> tuple[str, list[bool]]:
    """Ask for an export; return its id, and a list to which each page of it will add whether the reader gave it."""
    pages: list[bool] = []
    follow = readers.following

    def watched(work: Any, export: str) -> Any:
        found = follow(work, export)
        pages.append(found is not None)
        return found

    monkeypatch.setattr(readers, "following", watched)
    made = exports.create(database.connect(), {}, "tester")
    store.invocations.pop()
    return made["id"], pages


def test_an_export_comes_from_a_reader_that_has_seen_its_request(
    pair: Pair, store: ObjectStore, api: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = registered(api)
    job, pages = requested(store, monkeypatch)
    pair.catch_up()
    exports.run(database.connect(), job, Context())
    assert pages
    assert all(pages)
    assert first in {user["id"] for user in users_of(job).values()}


def test_an_export_that_the_reader_has_not_heard_of_comes_from_the_writer(
    pair: Pair, store: ObjectStore, api: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.pause()
    late = registered(api)
    job, pages = requested(store, monkeypatch)
    exports.run(database.connect(), job, Context())
    assert pages
    assert not any(pages)
    assert late in {user["id"] for user in users_of(job).values()}


def test_without_a_reader_nothing_is_marked(pair: Pair, api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PMP_DATABASE_READER_HOST")
    stacks.forget()
    before = pair.primary.cluster.psql("SELECT made_at FROM pmp.mark")
    time.sleep(0.6)
    assert listed(api)[1] is None
    assert pair.primary.cluster.psql("SELECT made_at FROM pmp.mark") == before


@pytest.fixture
def late_clock() -> Iterator[bytes]:
    """A library with which a server's clock is half a minute late."""
    if lacking := preloads.missing():
        pytest.skip(lacking)
    with TemporaryDirectory(prefix="pmp-late-clock-") as directory:
        # The server runs as another account.
        Path(directory).chmod(0o755)
        switch = Path(directory, "on")
        switch.write_bytes(bytes(30))
        yield preloads.build(Path(preloads.__file__).with_name("late_clock.c"), switch)


def test_a_reader_whose_clock_is_late_looks_no_younger(
    pair: Pair, store: ObjectStore, api: Gateway, monkeypatch: pytest.MonkeyPatch, late_clock: bytes
) -> None:
    with another_reader(pair, late_clock) as late:
        use(late, store, monkeypatch)
        late.catch_up()
        real, shown = (
            float(server.psql("SELECT extract(epoch FROM clock_timestamp())"))
            for server in (pair.primary.cluster, late.reader)
        )
        assert 25 < real - shown < 35
        assert listed(api)[1] is not None
        late.pause()
        monkeypatch.setattr(readers, "MOST_SECONDS", 0.5)
        after = registered(api)
        time.sleep(0.6)
        ids, age = listed(api)
        assert after in ids
        assert age is None


def test_a_reader_that_was_promoted_falls_behind_and_is_left(
    pair: Pair, store: ObjectStore, api: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It accepts writes, and nothing of the writer's arrives any more: a mark that it got before is not enough."""
    with another_reader(pair) as other:
        use(other, store, monkeypatch)
        other.catch_up()
        assert listed(api)[1] is not None
        assert other.reader.psql("SELECT pg_promote()") == "t"
        monkeypatch.setattr(readers, "MOST_SECONDS", 0.5)
        time.sleep(0.6)
        after = registered(api)
        ids, age = listed(api)
        assert after in ids
        assert age is None
        assert other.reader.psql(f"SELECT count(*) FROM pmp.subject WHERE id = '{after}'") == "0"


@contextmanager
def another_reader(pair: Pair, preload: bytes | None = None) -> Iterator[Pair]:
    """Start one more standby with a pooler, which a test may damage."""
    with stacks.standby(pair.primary.cluster, pair.primary.app_password, preload) as (reader, pooler):
        yield replace(pair, reader=reader, pooler=pooler)


def test_only_the_writer_refuses(pair: Pair, api: Gateway) -> None:
    """What a request names may have been made a moment ago."""
    pair.pause()
    consent = f"readers_{uuid.uuid4().hex[:8]}"
    made = api.put(f"/v1/consents/{consent}", {"description": "News", "channel": "email"})
    assert made.status == 201, made.content
    ids, age = listed(api, f"/v1/users?consent={consent}&enabled=true")
    assert (ids, age) == ([], None)
    assert api.get("/v1/users?consent=never-made&enabled=true").status == 422


def test_a_place_that_the_reader_has_not_reached_is_kept(pair: Pair, api: Gateway) -> None:
    user = registered(api)
    _, cursor = following(api, "/v1/events", None, 500)
    pair.pause()
    with connected() as writer:
        event = new_event(writer, user)
    ahead = api.get(f"/v1/events?limit=500&cursor={cursor}", Cache_Control="no-cache").json
    assert event in [item["id"] for item in ahead["items"]]
    behind = api.get(f"/v1/events?limit=500&cursor={ahead['resume']}")
    assert "Age" in behind.headers
    assert (behind.json["items"], behind.json["resume"]) == ([], ahead["resume"])


@pytest.mark.parametrize("is_kept", [True, False], ids=["a kept connection", "a new connection"])
def test_a_reader_that_does_not_answer_costs_two_seconds_once(pair: Pair, api: Gateway, *, is_kept: bool) -> None:
    if is_kept:
        assert listed(api)[1] is not None
    pid = pair.pooler.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        assert listed(api)[1] is None
        first = time.monotonic()
        assert listed(api)[1] is None
        assert database.READER_TIMEOUT_SECONDS <= first - started < database.SOCKET_TIMEOUT_SECONDS / 2
        assert time.monotonic() - first < database.READER_TIMEOUT_SECONDS
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize(
    ("statement", "is_left_alone"),
    [
        ("SELECT pmp.not_arrived_yet()", True),
        ("SELECT not_arrived_yet FROM pmp.mark", True),
        ("SELECT count(*) FROM pg_authid", True),
        ("DO $$ BEGIN RAISE disk_full; END $$", True),
        ("DO $$ BEGIN RAISE data_corrupted; END $$", True),
        ("DO $$ BEGIN RAISE serialization_failure; END $$", False),
        ("SELECT 1 / 0", False),
    ],
)
def test_the_writer_answers_what_the_reader_cannot(pair: Pair, statement: str, *, is_left_alone: bool) -> None:
    assert readers.recent(lambda connection: connection.run(statement), 60) is None
    assert (readers.recent(lambda connection: connection.run("SELECT 1"), 60) is None) is is_left_alone


def test_a_reader_is_tried_again_after_its_rest(pair: Pair, api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.pooler.stop()
    assert listed(api)[1] is None
    pair.pooler.start()
    assert listed(api)[1] is None
    monkeypatch.setattr(readers, "time", SimpleNamespace(time=lambda: time.time() + 31))
    listed(api)  # leaves a mark
    pair.catch_up()
    assert listed(api)[1] is not None


def test_a_writer_that_is_read_only_for_a_while_answers_lists(pair: Pair, api: Gateway) -> None:
    """As after a failover, when it is a reader now: without a mark, no reader can be told to keep up."""
    pair.primary.cluster.psql("ALTER ROLE pmp_app SET default_transaction_read_only = on")
    try:
        stacks.forget()
        pair.primary.bouncer.stop()
        pair.primary.bouncer.start()
        assert listed(api)[1] is None
    finally:
        pair.primary.cluster.psql("ALTER ROLE pmp_app RESET default_transaction_read_only")
        database.disconnect()
        pair.primary.bouncer.stop()
        pair.primary.bouncer.start()


def test_the_erased_are_not_exported_by_a_reader_that_lags(
    pair: Pair, store: ObjectStore, api: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    erased, left = registered(api), registered(api)
    job, pages = requested(store, monkeypatch)
    pair.catch_up()
    pair.pause()
    assert api.delete(f"/v1/users/{erased}").status == 200
    monkeypatch.setattr(readers, "MOST_SECONDS", 0.5)
    time.sleep(0.6)
    exports.run(database.connect(), job, Context())
    assert pages
    found = {user["id"] for user in users_of(job).values()}
    assert (erased in found, left in found) == (False, True)
