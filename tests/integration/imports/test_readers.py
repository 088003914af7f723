"""Lists, the feed and exports come from a reader that keeps up, and from the writer otherwise: with a real standby."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pmp import database, exports, readers

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
    with stacks.stack(settings={"max_wal_senders": "4"}) as primary, stacks.standby(primary) as (reader, pooler):
        yield Pair(primary, reader, pooler)


@pytest.fixture
def pair(servers: Pair, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pair]:
    environment = servers.primary.environment | {
        "AWS_ENDPOINT_URL": store.url,
        "PMP_DATABASE_READER_HOST": "127.0.0.1",
        "PMP_DATABASE_READER_PORT": str(servers.pooler.port),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stacks.forget()
    # So that a slow machine makes nothing too old by itself.
    monkeypatch.setattr(readers, "MOST_SECONDS", 60.0)
    servers.pooler.start()
    servers.resume()
    servers.catch_up()
    yield servers
    servers.resume()
    stacks.forget()


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
        connection.run("SELECT pg_sleep(0.2)")

    ran: list[database.Connection] = []
    pair.primary.cluster.psql("ALTER ROLE pmp_app SET statement_timeout = '50ms'")
    try:
        pair.catch_up()
        database.disconnect_reader()
        pair.pooler.stop()
        pair.pooler.start()
        with pytest.raises(database.DatabaseError) as caught:
            readers.recent(slow, 60)
        assert database.error_code(caught.value) == "57014"
        assert len(ran) == 1
    finally:
        pair.primary.cluster.psql("ALTER ROLE pmp_app SET statement_timeout = '8s'")
        pair.catch_up()


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
