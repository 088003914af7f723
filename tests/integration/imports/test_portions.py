"""Portions that adapt to a slow database: no statement is repeated at a size that took too long."""

import itertools
import re
import uuid
from collections.abc import Iterator

import pytest
from pmp import database, exports, portions

from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import (
    Context,
    announced,
    assert_projection_equals_replay,
    counts,
    event,
    generated,
    ndjson,
)


@pytest.fixture
def slow(stack: Stack) -> Iterator[None]:
    """Make each new event take 2 ms, and give a statement a second."""
    stack.cluster.psql(
        """
        CREATE FUNCTION public.take_time() RETURNS trigger LANGUAGE plpgsql AS
          $$ BEGIN PERFORM pg_sleep(0.002); RETURN NULL; END $$;
        GRANT EXECUTE ON FUNCTION public.take_time TO PUBLIC;
        CREATE TRIGGER take_time AFTER INSERT ON pmp.event FOR EACH ROW EXECUTE FUNCTION public.take_time();
        ALTER ROLE pmp_app SET statement_timeout = '1s';
        """
    )
    stack.bouncer.stop()
    stack.bouncer.start()
    database.disconnect()
    yield
    stack.cluster.psql(
        "ALTER ROLE pmp_app SET statement_timeout = '8s'; DROP TRIGGER take_time ON pmp.event;"
        " DROP FUNCTION public.take_time();"
    )
    stack.bouncer.stop()
    stack.bouncer.start()
    database.disconnect()


@pytest.mark.usefixtures("slow")
def test_import_into_a_slow_database_ends_with_few_timeouts(
    stack: Stack, store: ObjectStore, capsys: pytest.CaptureFixture[str]
) -> None:
    events = generated(3000, seed=uuid.uuid4().int % 10**12)
    for one in events:
        # The function divides by lines and choices together, and says how many lines there were.
        del one["consents"][1:]
    job = announced(stack, store, ndjson(events[:1500]) + b"{bad\n" + ndjson(events[1500:]))
    assert (job["state"], job["attempts"], counts(job)) == ("succeeded", 1, (3001, 3000, 0, 1))
    slow = [int(one) for one in re.findall(r'"batch took too long".*?"lines": (\d+)', capsys.readouterr().out)]
    # No size is tried again.
    assert slow
    assert all(later < 0.8 * earlier for earlier, later in itertools.pairwise(slow)), slow
    assert_projection_equals_replay(stack)


def test_export_from_a_slow_database_ends_with_few_timeouts(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    announced(stack, store, ndjson([event(f"page.{number}.{uuid.uuid4().hex}@e.com") for number in range(700)]))
    real, sizes = exports._Export._read_page, list[int]()

    def read(self: exports._Export, size: int) -> tuple[exports.Place | None, int, int, str]:
        sizes.append(size)
        if size > 100:
            raise portions.TooSlowError("a statement ran into the database's time limit")
        return real(self, size)

    monkeypatch.setattr(exports._Export, "_read_page", read)
    monkeypatch.setattr(exports, "PAGE_USERS", 500)
    job = exports.create(database.connect(), {}, "t")["id"]
    exports.run(database.connect(), job, Context())
    shown = exports.get(database.connect(), job)
    assert shown is not None
    assert shown["state"] == "succeeded"
    assert sizes[:4] == [500, 250, 125, 62]


def test_portion_grows_and_shrinks_with_its_time() -> None:
    portion = portions.Portion(100, 1000)
    portion.adapt(100, 0.1)
    assert portion.size == 200  # at most twice as large
    portion.adapt(3, 0.1)
    assert portion.size == 200  # a small one says little
    for _ in range(4):
        portion.adapt(portion.size, 0.1)
    assert portion.size == 1000
    portion.adapt(1000, 4)
    assert portion.size == 500
    assert portion.fits(1000)
    portion.halve(800)
    assert portion.size == 250
    assert portion.fits(500)
    assert not portion.fits(501)
    for _ in range(9):
        portion.adapt(portion.size, 0.1)
    assert portion.size == 600  # not again what took too long
    assert not portion.fits(800)
    for _ in range(20):
        portion.halve(portion.size)
    assert portion.size == 1
