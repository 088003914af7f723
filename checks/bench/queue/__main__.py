"""Read the API of a running platform beside many imports: ``make bench-queue ARGS="--objects 40 --lines 60000"``.

Reads arrive at a fixed rate, whether or not the earlier ones have been answered, in three spans: alone; beside the
imports of objects that were all uploaded at once; and beside processes that burn as much processor time as the imports
did, without the database. The program fails if a read beside the imports was refused, if their 99th percentile is above
three times the control's or a second, or if an object was not imported.
"""

import argparse
import gzip
import json
import multiprocessing
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from ops import aws, smoke
from ops.api import Api
from ops.errors import UserError
from ops.output import say, step

READS_PER_SECOND = 20
SPAN_SECONDS = 20
MOST_TIMES_SLOWER = 3
LONGEST_SECONDS = 1.0
_END_SECONDS = 1200


@dataclass
class Reads:
    """What the reads of a span met.

    Attributes:
        seconds: from the instant at which a read was due to its answer.
        refused: statuses other than 200; 0 if there was no answer.
    """

    seconds: list[float] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Return a percentile of the seconds, for a share from 0 to 1."""
        return sorted(self.seconds)[min(int(share * len(self.seconds)), len(self.seconds) - 1)]

    def summary(self) -> str:
        """Return one line for people."""
        middle, late, longest = (
            1000 * value for value in (statistics.median(self.seconds), self.percentile(0.99), max(self.seconds))
        )
        counts = f"{len(self.seconds)} reads, {len(self.refused)} refused"
        return f"{counts}, p50 {middle:.0f} ms, p99 {late:.0f} ms, longest {longest:.0f} ms"


def read_until(api: Api, path: str, is_over: Callable[[], bool]) -> Reads:
    """Read a path at a fixed rate until ``is_over``."""
    reads = Reads()

    def read(due: float) -> None:
        try:
            status = api.ask("GET", path).status
        except UserError:
            status = 0
        reads.seconds.append(time.monotonic() - due)
        if status != 200:
            reads.refused.append(status)

    with ThreadPoolExecutor(max_workers=64) as pool:
        due = time.monotonic()
        while not is_over():
            pool.submit(read, due)
            due += 1 / READS_PER_SECOND
            time.sleep(max(0.0, due - time.monotonic()))
    return reads


def body(name: str, lines: int) -> bytes:
    """Return a gzip-compressed NDJSON file with events of people of its own, told by the name."""
    source = random.Random(name)
    events = (
        {
            "id": str(uuid.UUID(int=source.getrandbits(128), version=4)),
            "user": {"email": f"bench-{name}-{source.randrange(lines // 3 + 1)}@example.com"},
            "consents": [{"id": "email_notifications", "enabled": source.random() < 0.5}],
            "occurred_at": f"2025-0{source.randrange(1, 10)}-1{source.randrange(10)}T10:00:{source.randrange(60):02}Z",
        }
        for _ in range(lines)
    )
    return gzip.compress(b"".join(json.dumps(event).encode() + b"\n" for event in events), 1)


def busy_seconds() -> float:
    """Return the seconds that the machine's processors have been busy since its start (Linux's /proc/stat)."""
    with open("/proc/stat") as stat:  # noqa: PTH123 - a kernel file
        user, nice, system, *_ = (int(word) for word in stat.readline().split()[1:])
    return (user + nice + system) / 100


def burn(share: float) -> None:
    """Keep one processor busy for a share of the time, until the process is terminated."""
    while True:
        until = time.monotonic() + 0.05 * share
        while time.monotonic() < until:
            pass
        time.sleep(0.05 * (1 - share))


def watch(api: Api, known: set[str], objects: int) -> list[dict[str, object]]:
    """Return the imports that are not among the known ones, once so many have ended or the time is over."""
    deadline = time.monotonic() + _END_SECONDS
    jobs: list[dict[str, object]] = []
    while time.monotonic() < deadline:
        time.sleep(3)
        try:
            found = api.expect(200, "GET", "/v1/imports?limit=100")["items"]
        except UserError:
            continue  # That it is answered is what the reads measure.
        jobs = [job for job in found if job["id"] not in known]
        if sum(job["state"] in {"succeeded", "failed", "cancelled"} for job in jobs) >= objects:
            break
    return jobs


def control(api: Api, path: str, busy: float) -> Reads:
    """Read beside processes that together keep ``busy`` processors busy."""
    shares = [1.0] * int(busy) + [busy - int(busy)]
    burners = [multiprocessing.Process(target=burn, args=(share,), daemon=True) for share in shares]
    for burner in burners:
        burner.start()
    try:
        ends = time.monotonic() + SPAN_SECONDS
        return read_until(api, path, lambda: time.monotonic() > ends)
    finally:
        for burner in burners:
            burner.terminate()
            burner.join()


def run(environment: str, objects: int, lines: int) -> list[str]:
    """Measure, print, and return what was not met."""
    api = smoke.connect(environment)
    bucket = aws.parameter(f"/pmp/{environment}/service/imports_bucket_name")
    address = f"bench-reader-{uuid.uuid4().hex[:12]}@example.com"
    path = f"/v1/users/{api.expect(201, 'POST', '/v1/users', {'email': address})['id']}"
    run_id = uuid.uuid4().hex[:8]
    with step(f"write {objects} objects of {lines:,} lines"):
        bodies = [body(f"{run_id}-{number}", lines) for number in range(objects)]
    store = aws.client("s3")

    ends = time.monotonic() + SPAN_SECONDS
    before = busy_seconds()
    alone = read_until(api, path, lambda: time.monotonic() > ends)
    idle = (busy_seconds() - before) / SPAN_SECONDS
    say(f"alone: {alone.summary()}")

    known = {job["id"] for job in api.expect(200, "GET", "/v1/imports?limit=100")["items"]}
    uploads: list[Future[object]] = []
    began, before = time.monotonic(), busy_seconds()
    pool = ThreadPoolExecutor(max_workers=16)
    for number, content in enumerate(bodies):
        key = f"imports/bench-{run_id}/part-{number:05}.ndjson.gz"
        uploads.append(pool.submit(store.put_object, Bucket=bucket, Key=key, Body=content))
    watched = pool.submit(watch, api, known, objects)
    beside = read_until(api, path, watched.done)
    seconds = time.monotonic() - began
    busy = (busy_seconds() - before) / seconds
    for upload in uploads:
        upload.result()
    jobs = watched.result()
    accepted = sum(int(str(job["accepted"])) for job in jobs)
    succeeded = sum(job["state"] == "succeeded" for job in jobs)
    say(f"beside imports: {beside.summary()}")
    say(
        f"imports: {succeeded} of {objects} succeeded, {accepted:,} lines accepted in {seconds:.0f} s,"
        f" {busy:.1f} processors busy"
    )

    rest = control(api, path, max(0.1, busy - idle))
    say(f"control: {rest.summary()}")

    limit = min(LONGEST_SECONDS, MOST_TIMES_SLOWER * rest.percentile(0.99))
    failures = []
    if beside.refused:
        failures.append(f"{len(beside.refused)} reads were refused: {sorted(set(beside.refused))}")
    if beside.percentile(0.99) > limit:
        failures.append(f"99th percentile {beside.percentile(0.99):.3f} s is above {limit:.3f} s")
    if succeeded != objects:
        failures.append(f"{objects - succeeded} objects were not imported")
    return failures


def main() -> None:
    """Run and exit with 1 if something was not met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--environment", default="local")
    parser.add_argument("--objects", type=int, default=40)
    parser.add_argument("--lines", type=int, default=60_000)
    arguments = parser.parse_args()
    failures = run(arguments.environment, arguments.objects, arguments.lines)
    for failure in failures:
        say(f"not met: {failure}", "red")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
