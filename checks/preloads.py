"""Libraries that PostgreSQL loads before all others (LD_PRELOAD), to make its system calls fail or take longer."""

import shutil
import subprocess
from pathlib import Path


def build(source: Path, switch: Path) -> bytes:
    """Compile a library of one C file, and return its content.

    Args:
        source: the file; it finds the path ``switch`` as the macro SWITCH.
        switch: a file that turns the effect on while it exists.

    Raises:
        CalledProcessError: the compiler failed; it has said why.
    """
    built = switch.with_suffix(".so")
    flags = ("-O2", "-Wall", "-Werror", "-shared", "-fPIC", f'-DSWITCH="{switch}"')
    subprocess.run(["cc", *flags, "-o", built, source, "-ldl"], check=True)
    return built.read_bytes()


def missing() -> str | None:
    """Return why no library can be built here, or None."""
    return None if shutil.which("cc") else "no C compiler: install the packages gcc and libc6-dev"
