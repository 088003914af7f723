"""Imports and exports with a database that is mostly on a slow disk: they end, and no statement is too slow twice."""

import itertools
import re
import time
from collections.abc import Iterator

import pytest
from pmp import database, exports

from checks import preloads, slow_reads
from checks import stack as stacks
from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import (
    Context,
    announced,
    assert_projection_equals_replay,
    counts,
    generated,
    ndjson,
)


@pytest.fixture(scope="module")
def disk() -> Iterator[slow_reads.SlowReads]:
    if lacking := stacks.missing() or preloads.missing():
        pytest.skip(lacking)
    with slow_reads.slow_reads() as library:
        yield library


@pytest.fixture(scope="module")
def stack(disk: slow_reads.SlowReads) -> Iterator[Stack]:
    # Its memory holds a small part of the data, as a server's does after years.
    with stacks.stack(settings={"shared_buffers": "'1MB'", "autovacuum": "off"}, preload=disk.library) as running:
        yield running


def end(
    stack: Stack, store: ObjectStore, disk: slow_reads.SlowReads, *, microseconds: int, users: int, lines: int
) -> None:
    """Import lines for users who are there already, and export everybody, with slow reads."""
    seed = users + lines
    announced(stack, store, ndjson(generated(2 * users, seed=seed, users=users)))
    body = ndjson(generated(lines, seed=seed + 1, users=users))
    stack.cluster.psql("VACUUM ANALYZE")
    began = time.monotonic()
    with disk.on(microseconds):
        job = announced(stack, store, body)
        imported = time.monotonic()
        export = exports.create(database.connect(), {}, "tester")["id"]
        exports.run(database.connect(), export, Context())
    print(f"import of {lines:,} lines: {imported - began:.0f} s; export: {time.monotonic() - imported:.0f} s")
    assert (job["state"], job["attempts"]) == ("succeeded", 1), job["error"]
    assert counts(job) == (lines, lines, 0, 0)
    assert_projection_equals_replay(stack)
    shown = exports.get(database.connect(), export)
    assert shown is not None
    (everybody,) = stack.cluster.psql("SELECT count(*) FROM pmp.subject").splitlines()
    assert (shown["state"], shown["users"]) == ("succeeded", int(everybody)), shown["error"]


def too_slow(output: str) -> list[list[int]]:
    """Return the sizes of the statements that were too slow, of the import and of the export."""
    assert "trying again" not in output, "a statement was repeated as it was"
    return [
        [int(size) for size in re.findall(rf'"{what} took too long".*?"{unit}": (\d+)', output)]
        for what, unit in (("batch", "lines"), ("page", "size"))
    ]


def assert_none_was_tried_again(output: str) -> None:
    sizes = too_slow(output)
    print(f"too slow: batches of {sizes[0]} lines, pages of {sizes[1]} users")
    assert all(later < 0.8 * earlier for one in sizes for earlier, later in itertools.pairwise(one)), sizes


def test_few_lines_and_users(
    stack: Stack, store: ObjectStore, disk: slow_reads.SlowReads, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.cluster.psql("ALTER ROLE pmp_app SET statement_timeout = '2s'")
    stack.bouncer.stop()
    stack.bouncer.start()
    try:
        end(stack, store, disk, microseconds=1500, users=10_000, lines=8200)
    finally:
        stack.cluster.psql("ALTER ROLE pmp_app SET statement_timeout = '8s'")
        stack.bouncer.stop()
        stack.bouncer.start()
    output = capsys.readouterr().out
    assert too_slow(output)[0], "nothing was too slow, so nothing is shown"
    assert_none_was_tried_again(output)


@pytest.mark.nightly
def test_200000_lines_and_100000_users(
    stack: Stack, store: ObjectStore, disk: slow_reads.SlowReads, capsys: pytest.CaptureFixture[str]
) -> None:
    end(stack, store, disk, microseconds=600, users=100_000, lines=200_000)
    output = capsys.readouterr().out
    with capsys.disabled():
        print(*re.findall(r"^import of .*", output, re.MULTILINE))
        assert_none_was_tried_again(output)
