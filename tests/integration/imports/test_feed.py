"""Whoever follows a feed sees each committed user and event exactly once, whatever is in flight."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from pmp import database

from checks.gateway import Gateway
from checks.object_store import ObjectStore
from checks.stack import CALM, Stack, free_port
from local.servers.postgres import Cluster, binaries
from tests.integration.imports.conftest import generated, ndjson

ROOT = Path(__file__).parents[3]
IMPORT = """
import json, sys
from pmp import imports
from tests.integration.imports.conftest import Context
imports.handle_notification(json.load(sys.stdin), Context())
"""
CHOICE = '[{"id": "email_notifications", "enabled": true}]'
CREATE = "SELECT pmp.create_event(CAST(:id AS uuid), CAST(:user AS uuid), :choices, NULL, 'feed')"


def following(api: Gateway, path: str, cursor: str | None, limit: int = 50) -> tuple[list[str], str]:
    """Read the feed from ``cursor`` to its present end; return the ids, and the cursor to go on from."""
    found: list[str] = []
    while True:
        answer = api.get(f"{path}?limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        assert answer.status == 200, answer.content
        found += [item["id"] for item in answer.json["items"]]
        cursor = answer.json["resume"]
        assert isinstance(cursor, str)
        if answer.json["next"] is None:
            return found, cursor
        assert answer.json["next"] == cursor


@contextmanager
def connected() -> Iterator[database.Connection]:
    """Open a connection of its own, as another instance of the function has one."""
    kept, database._connection = database._connection, None
    connection = database.connect()
    database._connection = kept
    try:
        yield connection
    finally:
        connection.close()


def new_user(connection: database.Connection) -> str:
    ((user,),) = connection.run("SELECT pmp.create_user(:address, 'feed')", address=f"{uuid.uuid4().hex}@example.com")
    return str(user["id"])


def new_event(connection: database.Connection, user: str) -> str:
    event = str(uuid.uuid4())
    ((answer,),) = connection.run(CREATE, id=event, user=user, choices=CHOICE)
    assert answer["outcome"] == "created"
    return event


@pytest.mark.slow
def test_feed_misses_and_doubles_nothing_beside_an_import_and_three_writers(
    stack: Stack, store: ObjectStore, api: Gateway
) -> None:
    """The import runs in a process of its own, with batches of the real size."""
    _, events_from = following(api, "/v1/events", None, 500)
    _, users_from = following(api, "/v1/users", None, 500)
    known = set(stack.cluster.psql("SELECT id FROM pmp.event").split())
    started = stack.cluster.psql("SELECT clock_timestamp()")
    written: list[str] = []

    def write(connection: database.Connection) -> None:
        user = new_user(connection)
        while not stop.is_set():
            # Some transactions stay open for a while after they took their sequence.
            connection.run("BEGIN")
            event = new_event(connection, user)
            new_user(connection)
            stop.wait(0.02)
            connection.run("COMMIT")
            written.append(event)

    stop = threading.Event()
    connections = ExitStack()
    writers = [threading.Thread(target=write, args=[connections.enter_context(connected())]) for _ in range(3)]
    for writer in writers:
        writer.start()
    notice = store.put("imports/feed.ndjson", ndjson(generated(80_000, seed=4711)))
    importer = subprocess.Popen(
        [sys.executable, "-c", IMPORT],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'lambda'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert importer.stdin is not None
    importer.stdin.write(json.dumps(notice).encode())
    importer.stdin.close()
    importer.stdin = None
    events: list[str] = []
    users: list[str] = []
    cursors = {"/v1/events": events_from, "/v1/users": users_from}

    def follow() -> None:
        # As autovacuum does within a minute: the plans are those of a nearly empty database.
        stack.cluster.psql("ANALYZE")
        for path, seen in (("/v1/events", events), ("/v1/users", users)):
            found, cursors[path] = following(api, path, cursors[path], 50 if path == "/v1/events" else 500)
            seen.extend(found)

    while importer.poll() is None:
        follow()
    stop.set()
    for writer in writers:
        writer.join()
    connections.close()
    output = importer.communicate()[0]
    assert importer.returncode == 0, output
    follow()
    stored = set(stack.cluster.psql("SELECT id FROM pmp.event").split()) - known
    assert len(stored) == 80_000 + len(written)
    assert set(written) <= stored
    missed, doubled = stored - set(events), len(events) - len(set(events))
    print(f"events: {len(stored)} stored, {len(events)} followed, {len(missed)} missed, {doubled} doubled")
    assert (len(missed), doubled) == (0, 0)
    people = stack.cluster.psql(f"SELECT id FROM pmp.subject WHERE created_at >= '{started}'").split()
    assert sorted(users) == sorted(people)


@pytest.fixture
def api(stack: Stack, store: ObjectStore) -> Gateway:
    """The API of a database that this test's client has written to: a first write makes others wait."""
    with connected() as connection:
        new_event(connection, new_user(connection))
    return Gateway()


def test_feed_orders_by_transaction_because_a_lower_sequence_may_be_committed_later(api: Gateway) -> None:
    _, cursor = following(api, "/v1/events", None, 500)
    with connected() as first, connected() as second:
        for connection in (first, second):
            connection.run("BEGIN")
        # The first transaction has the lower number, and the second one the lower sequence.
        early, late = new_user(first), new_user(second)
        of_second = new_event(second, late)
        of_first = new_event(first, early)
        first.run("COMMIT")
        found, cursor = following(api, "/v1/events", cursor)
        assert found == [of_first]
        second.run("COMMIT")
        assert following(api, "/v1/events", cursor)[0] == [of_second]


def test_long_transaction_delays_both_feeds_and_the_lag_is_logged(
    api: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    _, events_from = following(api, "/v1/events", None, 500)
    _, users_from = following(api, "/v1/users", None, 500)

    def lag() -> float:
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return float([line["lag_seconds"] for line in lines if line["message"] == "feed read"][-1])

    with connected() as long, connected() as short:
        began = time.monotonic()
        long.run("BEGIN")
        first = new_user(long)
        first_event = new_event(long, first)
        second = new_user(short)
        second_event = new_event(short, second)
        short.run("SELECT pg_sleep(0.2)")
        assert following(api, "/v1/events", events_from) == ([], events_from)
        assert 0.2 <= lag() <= time.monotonic() - began
        assert following(api, "/v1/users", users_from) == ([], users_from)
        assert api.get(f"/v1/users/{second}").status == 200, "a single read sees what is committed"
        long.run("COMMIT")
    assert following(api, "/v1/events", events_from)[0] == [first_event, second_event]
    assert lag() == 0
    assert following(api, "/v1/users", users_from)[0] == [first, second]


def test_feed_goes_on_after_the_database_was_restored_from_a_dump(stack: Stack, api: Gateway, tmp_path: Path) -> None:
    """The new server counts its transactions from the beginning, below the numbers of the restored events."""
    stack.cluster.psql(
        "CREATE TEMPORARY TABLE burnt (n integer); DO $$ BEGIN FOR n IN 1..3000 LOOP"
        " BEGIN INSERT INTO burnt VALUES (n); EXCEPTION WHEN others THEN NULL; END; END LOOP; END $$"
    )
    with connected() as connection:
        user = new_user(connection)
        old = [new_event(connection, user) for _ in range(3)]
    everything, cursor = following(api, "/v1/events", None, 500)
    assert everything[-3:] == old
    place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    dump = stack.cluster.home.run(
        [
            *(binaries() / "pg_dump", "--schema", "pmp", "--host", stack.cluster.home.directory),
            *("--port", str(stack.cluster.port), "--username", "postgres", "pmp"),
        ]
    )
    certificate = stack.authority.issue("restored", ["localhost"], ["127.0.0.1"])
    restored = Cluster(tmp_path / "postgres", free_port(), certificate, stack.authority, settings=CALM)

    def feed(number: int, sequence: int) -> list[str]:
        page = json.loads(restored.psql(f"SELECT pmp.list_events({number}, {sequence}, 10000000)"))
        return [event["id"] for event in page["items"]]

    def add() -> str:
        event = str(uuid.uuid4())
        restored.psql(f"SELECT pmp.create_event('{event}', '{user}', '{CHOICE}', NULL, 'feed')")
        return event

    try:
        restored.start()
        restored.psql(
            "CREATE ROLE pmp_migrator; CREATE ROLE pmp_app; CREATE ROLE pmp_readonly; CREATE ROLE pmp_retention;"
        )
        restored.psql(dump)
        stored = int(restored.psql("SELECT max(transaction_number) FROM pmp.event"))
        assert int(restored.psql("SELECT pg_current_xact_id()")) < stored
        assert feed(0, 0) == everything, "all restored events are shown at once"
        new = [add(), add()]
        assert feed(*place) == new, "later events come after the restored ones"
        assert feed(0, 0) == everything + new
    finally:
        restored.destroy()
