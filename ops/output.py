"""Console output for people: plain lines in a job's log, color and emphasis on a terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from ops.settings import ROOT

_console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)


def say(text: str, style: str = "") -> None:
    """Print one line; ``style`` shows on a terminal only."""
    _console.print(text, style=style or None)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step, and print its duration when it is done."""
    started = time.monotonic()
    say(f"{title} …", "dim")
    yield
    say(f"{title}: {time.monotonic() - started:.1f} s", "dim")


def shown(path: Path) -> str:
    """Return a path for display, relative to the repository if it is inside."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)
