"""Memory, connections and sizes of a running stack, taken by a process of its own at fixed intervals."""

import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from checks.stack import Stack

TABLES = ("event", "current_choice", "subject")
_SIZES = ", ".join(
    f"'{table}', jsonb_build_array(pg_table_size('pmp.{table}'), pg_indexes_size('pmp.{table}'))" for table in TABLES
)


@dataclass(frozen=True)
class Sample:
    """Of one instant.

    Attributes:
        second: since the first sample.
        environments: memory of an environment in MiB, mean and largest; without the pages of files.
        backends: memory of each backend of the pooler in MiB, by process id; without shared memory.
        pooler: memory of the pooler in MiB.
        connections: of the pooler to PostgreSQL.
        heap: bytes by table.
        indexes: bytes by table.
        dead: dead rows of all tables of the schema.
    """

    second: float
    environments: tuple[float, float]
    backends: dict[str, float]
    pooler: float
    connections: int
    heap: dict[str, int]
    indexes: dict[str, int]
    dead: int


def take(running: Stack, environments: Sequence[int], second: float) -> Sample:
    """Take a sample.

    Args:
        running: the servers.
        environments: process ids.
        second: the sample's.
    """
    assert running.bouncer.pid is not None
    answer = json.loads(
        running.cluster.psql(
            f"SELECT jsonb_build_object({_SIZES}, 'backends', ("
            "  SELECT jsonb_agg(pid) FROM pg_stat_activity WHERE usename = 'pmp_app'"
            "), 'dead', (SELECT sum(n_dead_tup) FROM pg_stat_user_tables WHERE schemaname = 'pmp'))"
        )
    )
    memory = [_private_mib(pid) for pid in environments]
    backends = {str(pid): _private_mib(pid) for pid in answer["backends"]}
    return Sample(
        second,
        (sum(memory) / len(memory), max(memory)),
        backends,
        _private_mib(running.bouncer.pid),
        len(backends),
        {table: answer[table][0] for table in TABLES},
        {table: answer[table][1] for table in TABLES},
        answer["dead"],
    )


def _private_mib(pid: int) -> float:
    """Memory of a process that no file backs and that is not shared memory (RssAnon), in MiB; 0 of an ended one.

    Pages that a fork still shares with its parent count as its own.
    """
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # A process that has ended and that its parent has not noticed yet has no memory, and no such line.
    _, _, told = text.partition("RssAnon:")
    return int(told.split()[0]) / 1024 if told else 0.0


@contextmanager
def sampling(running: Stack, environments: Sequence[int], seconds: float, file: Path) -> Iterator[None]:
    """Take samples until the end of the context, the first one before it begins; ``read`` returns them.

    Raises:
        RuntimeError: the process that takes them ended.
    """
    file.touch()

    def sample() -> None:
        psutil.Process().nice(5)
        began = time.monotonic()
        with file.open("w") as lines:
            for number in range(10**6):
                time.sleep(max(0.0, began + number * seconds - time.monotonic()))
                print(json.dumps(asdict(take(running, environments, time.monotonic() - began))), file=lines, flush=True)

    process = multiprocessing.get_context("fork").Process(target=sample, daemon=True)
    process.start()

    def require_running() -> None:
        if process.exitcode is not None:
            raise RuntimeError("the process that takes samples ended: see its error above")

    try:
        while not file.read_text().endswith("\n"):
            require_running()
            time.sleep(0.02)
        yield
        require_running()
    finally:
        process.terminate()
        process.join()


def read(file: Path) -> list[Sample]:
    """Return the samples of a file; of backends, those that were always there after the first quarter of the time.

    The pooler closes backends that it has not used for ten minutes. They had worked least and were the smallest, so the
    mean of all would grow at that moment.
    """
    samples = [Sample(**json.loads(line)) for line in file.read_text().splitlines() if line.endswith("}")]
    lasting = set.intersection(*(set(one.backends) for one in samples[len(samples) // 4 :]))
    return [replace(one, backends={pid: mib for pid, mib in one.backends.items() if pid in lasting}) for one in samples]
