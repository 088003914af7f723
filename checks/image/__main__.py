"""Build the jobs' image without Docker, and run a merge request's jobs in it: ``make test-image``.

It takes the last commit, not the working tree. ``--folder`` keeps the image there, and uses it again while its inputs
stay the same. ADR 0606 says what stands in for a container registry.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from checks.image import filesystem, jobs
from ops import images
from ops.errors import UserError, run_command
from ops.git import git
from ops.settings import ROOT

_LAST_LINES = 40


def main() -> None:
    """Run the jobs and print a table; exit 1 when one failed."""
    parser = argparse.ArgumentParser(prog="make test-image", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="JOB", help="only these jobs")
    parser.add_argument("--folder", type=Path, help="keep the image here; by default it is removed")
    arguments = parser.parse_args()
    if reason := filesystem.missing():
        print(f"test-image: skipped: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="pmp-image-", dir="/var/tmp", ignore_cleanup_errors=True) as name:
        builder = filesystem.Builder(arguments.folder or Path(name) / "image")
        try:
            results = _run(builder, Path(name), arguments.names)
        finally:
            if not arguments.folder:
                builder.remove()
    print(f"\n{_table(results)}")
    sys.exit(any(result.failed for result in results))


def _run(builder: filesystem.Builder, folder: Path, names: list[str]) -> list[jobs.Result]:
    checkout = folder / "checkout"
    git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(checkout))
    git(checkout, "remote", "set-url", "origin", "https://gitlab.invalid/pmp/pmp.git")
    image = builder.build(checkout)
    print(f"image: {images.inputs(checkout)} in {image.root}", flush=True)
    chosen = [job for job in jobs.of_merge_request(checkout) if not names or job.name in names]
    if unknown := set(names) - {job.name for job in chosen}:
        raise UserError(f"a merge request has no job {', '.join(sorted(unknown))}")
    runner = jobs.Runner(image, checkout, folder)

    def report(result: jobs.Result) -> None:
        print(f"  {result.seconds:>6.0f} s  {result.name}: {result.verdict}", flush=True)
        if result.failed:
            lines = runner.log(result.name).read_text(errors="replace").splitlines()
            print("\n".join(lines[-_LAST_LINES:]), flush=True)

    return runner.run_all(chosen, report)


def _table(results: list[jobs.Result]) -> str:
    width = max(len(result.name) for result in results)
    lines = [f"{'job':<{width}}  seconds  result"]
    lines += [f"{result.name:<{width}}  {result.seconds:>7.0f}  {result.verdict}" for result in results]
    counts = {verdict: sum(result.verdict == verdict for result in results) for verdict in ("passed", "failed")}
    skipped = len(results) - sum(counts.values())
    return "\n".join([*lines, "", f"{counts['passed']} passed, {counts['failed']} failed, {skipped} skipped"])


if __name__ == "__main__":
    run_command(main, "interrupted")
