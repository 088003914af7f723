"""How fast changes go out, and what that costs a write: ``make bench-deliveries``.

One record, one receiver in a process of its own, everything on loopback. It measures

- changes a second to one receiver, beside a plain loop that posts the same messages with urllib3,
- the time from a write to its receiver at rest, with the chain's pause between two looks,
- a write with 100 subscriptions beside one with none, in turns.

The program fails below 500 changes a second, above 2 s, and if a write is more than 5 % slower. It writes
docs/bench/deliveries.md.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from checks.stack import Stack, free_port, stack
from ops.errors import UserError
from ops.output import say

ROOT = Path(__file__).parents[3]
REPORT = ROOT / "docs" / "bench" / "deliveries.md"
CHANGES = 10_000
WRITES = 10
ROUNDS, WRITES_IN_ROUND = 40, 50
LEAST_CHANGES_PER_SECOND = 500
LONGEST_SECONDS = 2.0
MOST_TIMES_SLOWER = 1.05


class Record:
    """The record, and the calls of the function that the benchmark makes."""

    def __init__(self, running: Stack) -> None:
        """Connect as the function does."""
        os.environ.update(running.environment)
        from pmp import database

        self.stack = running
        self.connection = database.connect()
        ((user,),) = self.connection.run(f"SELECT pmp.create_user('{uuid.uuid4().hex}@example.com', 'bench')")
        self.user = user["id"]

    def subscribe(self, url: str) -> None:
        """Add a subscription."""
        from pmp.deliveries import subscriptions

        with self.connection.transaction():
            subscriptions.create(self.connection, {"url": url}, "bench")

    def write(self) -> None:
        """Record one event."""
        self.connection.run(
            "SELECT pmp.create_event(:id, :user, :choices, NULL, 'bench')",
            id=str(uuid.uuid4()),
            user=self.user,
            choices='[{"id": "email_notifications", "enabled": true}]',
        )

    def write_many(self, count: int) -> None:
        """Record events of one user, 100 in a transaction."""
        choices = [{"id": "email_notifications", "enabled": True}]
        for _ in range(count // 100):
            event = {"user_id": self.user, "choices": choices, "has_fraction": True}
            events = [{**event, "id": str(uuid.uuid4())} for _ in range(100)]
            self.connection.run("SELECT pmp.create_events(:events, 'bench')", events=json.dumps(events))

    def end(self) -> None:
        """Leave no subscription."""
        self.stack.cluster.psql("UPDATE pmp.subscription SET is_enabled = false, deleted_at = now()")


def throughput(record: Record, folder: Path) -> tuple[float, float, int]:
    """Return changes a second told, changes a second posted by a plain loop, and the messages."""
    import urllib3
    from pmp.deliveries import dispatcher, posting

    port = free_port()
    command = [sys.executable, "-m", "checks.receiver", "--port", str(port), "--file", str(folder / "taken")]
    receiver = subprocess.Popen(command, cwd=ROOT)
    url = f"http://127.0.0.1:{port}/hooks"
    sent: list[tuple[bytes, dict[str, str]]] = []
    genuine = posting.Receiver.post

    def post(self: posting.Receiver, body: bytes, headers: dict[str, str]) -> posting.Outcome:
        sent.append((body, headers))
        return genuine(self, body, headers)

    try:
        record.subscribe(url)
        record.write_many(CHANGES)
        time.sleep(1)
        posting.Receiver.post = post  # type: ignore[method-assign]
        began = time.perf_counter()
        dispatcher.Dispatcher(record.connection).work(120)
        told = time.perf_counter() - began
        posting.Receiver.post = genuine  # type: ignore[method-assign]
        taken = sum(len(json.loads(body)) for body, _ in sent)
        if taken < CHANGES:
            raise UserError(f"only {taken} of {CHANGES} changes were told; is the receiver running?")
        pool = urllib3.PoolManager()
        began = time.perf_counter()
        for body, headers in sent:
            pool.request("POST", url, body=body, headers=headers)
        return taken / told, taken / (time.perf_counter() - began), len(sent)
    finally:
        receiver.kill()
        receiver.wait()
        record.end()


def latency(record: Record) -> list[float]:
    """Return the seconds from the commit of a write to its receiver, at rest."""
    from pmp import database
    from pmp.deliveries import chain, dispatcher

    from checks.receiver import Receiver

    receiver, over = Receiver(), threading.Event()
    record.subscribe(receiver.url)
    kept, database._connection = database._connection, None
    own = database.connect()
    database._connection = kept

    def links() -> None:
        while not over.is_set():
            dispatcher.Dispatcher(own).work(5)
            time.sleep(chain.PAUSE_SECONDS)

    thread = threading.Thread(target=links)
    thread.start()
    taken = []
    for number in range(WRITES):
        time.sleep(0.37)
        record.write()
        committed = time.time()
        receiver.wait(lambda it, most=number: len(it.events) > most)  # type: ignore[misc]
        taken.append(receiver.messages[-1].at - committed)
    over.set()
    thread.join()
    receiver.close()
    record.end()
    return taken


def slowdown(record: Record) -> tuple[float, float]:
    """Return the milliseconds of a write without a subscription and with 100, each of its quickest round."""
    for number in range(100):
        record.subscribe(f"https://example.com/{number}")
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(ROUNDS):
        enabled = bool(number % 2)
        record.stack.cluster.psql(f"UPDATE pmp.subscription SET is_enabled = {enabled} WHERE deleted_at IS NULL")
        for _ in range(5):
            record.write()
        began = time.perf_counter()
        for _ in range(WRITES_IN_ROUND):
            record.write()
        times[enabled].append((time.perf_counter() - began) / WRITES_IN_ROUND * 1000)
    record.end()
    return min(times[False]), min(times[True])


def main() -> None:
    """Measure, write the report, and fail where a goal is missed."""
    results: dict[str, Any] = {}
    with stack(settings={"synchronous_commit": "on"}) as running, tempfile.TemporaryDirectory() as folder:
        record = Record(running)
        told, plain, messages = throughput(record, Path(folder))
        say(f"{told:,.0f} changes/s told, {plain:,.0f} posted by a plain loop: ratio {told / plain:.2f}")
        seconds = latency(record)
        say(f"from a write to its receiver: median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s")
        without, with_hundred = slowdown(record)
        ratio = with_hundred / without
        say(f"a write: {without:.3f} ms without, {with_hundred:.3f} ms with 100 subscriptions: ratio {ratio:.3f}")
    REPORT.write_text(
        textwrap.dedent(f"""\
        # Changes out

        `make bench-deliveries`: one record and one receiver on loopback, in processes of their own,
        on {os.cpu_count()} cores.

        | | measured | goal |
        |---|--:|--:|
        | changes a second to one receiver, {messages} messages | {told:,.0f} | {LEAST_CHANGES_PER_SECOND} |
        | a plain loop of urllib3 that posts the same messages | {plain:,.0f} | |
        | ratio | {told / plain:.2f} | |
        | from a write to its receiver at rest, median of {WRITES} | {statistics.median(seconds):.2f} s | |
        | the longest | {max(seconds):.2f} s | {LONGEST_SECONDS:g} s |
        | a write without a subscription, quickest of {ROUNDS // 2} rounds | {without:.3f} ms | |
        | a write with 100 | {with_hundred:.3f} ms | |
        | ratio | {ratio:.3f} | {MOST_TIMES_SLOWER} |

        PMP reads the changes and their present state from the database, signs them and records each acknowledgement;
        the plain loop only posts. The time at rest has the chain's pause of a second between two looks, without the
        delay of SQS. A write does the same whether there are subscriptions or not: the two figures differ by chance.
        """)
    )
    results = {"changes": told >= LEAST_CHANGES_PER_SECOND, "time": max(seconds) <= LONGEST_SECONDS}
    results["write"] = ratio <= MOST_TIMES_SLOWER
    if missed := [name for name, is_met in results.items() if not is_met]:
        raise UserError(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
