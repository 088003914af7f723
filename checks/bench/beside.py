"""What runs beside the measured requests: processes that burn processor time, and files to import."""

import gzip
import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager


def file_of_events(name: str, lines: int) -> bytes:
    """Return a gzip-compressed NDJSON file with events of people of its own, told by the name."""
    source = random.Random(name)
    texts = []
    for _ in range(lines):
        digits, number = f"{source.getrandbits(128):032x}", source.getrandbits(30)
        # Written by hand, since there are millions of them.
        texts.append(
            f'{{"id":"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}",'
            f'"user":{{"email":"bench-{name}-{number % (lines // 3 + 1)}@example.com"}},'
            f'"consents":[{{"id":"email_notifications","enabled":{"true" if number & 1 else "false"}}}],'
            f'"occurred_at":"2025-0{1 + number % 9}-1{number % 10}T10:00:{number % 60:02}Z"}}\n'
        )
    return gzip.compress("".join(texts).encode(), 1)


@contextmanager
def burning(busy: float, processes: int) -> Iterator[None]:
    """Keep some processes at work that together use as much processor time as ``busy`` processors have."""
    share = min(1.0, busy / processes)
    burners = [multiprocessing.Process(target=_burn, args=(share,), daemon=True) for _ in range(processes)]
    for burner in burners:
        burner.start()
    try:
        yield
    finally:
        for burner in burners:
            burner.terminate()
            burner.join()


def _burn(share: float) -> None:
    """Take a share of a processor's time, in slices, until the process is terminated."""
    began = time.monotonic()
    while True:
        # What others kept it from is made up for, as in a job.
        if time.process_time() < share * (time.monotonic() - began):
            until = time.process_time() + 0.01
            while time.process_time() < until:
                pass
        else:
            time.sleep(0.002)
