"""Package as the registry's lambda module does: run the commands, and zip the folder that the last one names.

The environment variable ``PACKAGE`` is JSON: ``path`` (working folder), ``commands`` (shell lines, then
``:zip <folder>``), ``patterns`` (regular expressions after ``!`` of names to leave out, where a folder ends with a
slash) and ``archive``.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

EARLIEST = (1980, 1, 1, 0, 0, 0)


def main() -> None:
    """Write the archive, unless it is there: its name is a hash of its sources."""
    given = json.loads(os.environ["PACKAGE"])
    archive = Path(given["archive"])
    *commands, last = given["commands"]
    if archive.exists():
        return
    done = subprocess.run("\n".join(commands), shell=True, cwd=given["path"], check=False)  # noqa: S602 - as the module
    if done.returncode:
        sys.exit(f"packaging failed with exit status {done.returncode}: {'; '.join(commands)}")
    word, folder = shlex.split(last)
    if word != ":zip":
        sys.exit(f"the last command must be ':zip <folder>', not '{last}'")
    top = Path(given["path"], folder).resolve()
    left_out = [re.compile(pattern.removeprefix("!")) for pattern in given["patterns"]]
    archive.parent.mkdir(parents=True, exist_ok=True)
    unfinished = archive.with_name(f".{archive.name}")
    with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as bundle:
        for path in sorted(top.rglob("*")):
            name = path.relative_to(top).as_posix() + ("/" if path.is_dir() else "")
            if not any(pattern.fullmatch(name) for pattern in left_out):
                entry = zipfile.ZipInfo.from_file(path, name)
                entry.date_time, entry.compress_type = EARLIEST, zipfile.ZIP_DEFLATED
                bundle.writestr(entry, b"" if path.is_dir() else path.read_bytes())
    unfinished.replace(archive)


if __name__ == "__main__":
    main()
