"""The benchmark's own function and queue keep Lambda's and SQS's rules."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from checks.bench.queue.function import BusyError, FailedError, Function, Queue
from checks.bench.queue.reads import Reads, read_until
from checks.object_store import ObjectStore

# The function takes these two without a database.
NOTHING, UNKNOWN = {"Event": "s3:TestEvent"}, {"what": 1}


@pytest.fixture
def function(tmp_path: Path) -> Iterator[Function]:
    function = Function({}, 1, tmp_path / "log")
    yield function
    function.stop()


def test_no_execution_begins_beyond_the_reserved_ones(function: Function) -> None:
    results = list[str]()

    def invoke() -> None:
        try:
            function.invoke(NOTHING)
        except BusyError:
            results.append("busy")
        else:
            results.append("done")

    # The first one starts its process meanwhile.
    threads = [threading.Thread(target=invoke) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["busy", "done"]
    assert function.most_at_once == 1
    with pytest.raises(FailedError, match="unknown kind of event"):
        function.invoke(UNKNOWN)


def test_message_is_forgotten_once_it_succeeded_and_hidden_after_a_failure(function: Function) -> None:
    store = ObjectStore()
    queue = Queue(function, store, 1)
    try:
        queue.send(json.dumps(UNKNOWN))
        store.invocations.append(json.dumps(NOTHING).encode())
        deadline = time.monotonic() + 20
        while queue._working or queue.length() > 1 or store.invocations:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert queue.length() == 1
    finally:
        queue.stop()
        store.shutdown()
        store.server_close()


def test_reads_count_from_when_they_were_due() -> None:
    ends = time.monotonic() + 0.5
    reads = read_until(lambda: "busy", lambda: time.monotonic() > ends)
    assert 5 <= len(reads.seconds) <= 11
    assert reads.refused.total() == len(reads.seconds)
    assert Reads([0.001] * 99 + [2.0]).percentile(0.99) == 2.0
