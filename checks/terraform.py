"""Run ``terraform test`` in every folder that has ``*.tftest.hcl`` files, and plan every example with a mocked AWS.

Usage: ``python -m checks.terraform [MODULE …]``. Two folders run at a time; only failed ones show their output.
"""

import argparse
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from checks.tree import copied_tree, registry, terraform_folders

WORKERS = 2
_SUMMARY = re.compile(r"^(?:Success|Failure)! (\d+) passed, (\d+) failed(?:, (\d+) skipped)?\.", re.MULTILINE)

# The test of an example is that it can be planned. Its data sources get the answers that AWS would give.
_EXAMPLE_TEST = """\
mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012", arn = "arn:aws:iam::123456789012:user/example" }
  }
  mock_data "aws_region" {
    defaults = { name = "eu-west-1", id = "eu-west-1" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
  mock_data "aws_availability_zones" {
    defaults = { names = ["eu-west-1a", "eu-west-1b", "eu-west-1c"] }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
}

run "example_plans" {
  command = plan
}
"""


class Outcome(NamedTuple):
    """The result of one folder's tests."""

    name: str
    passed: int
    failed: int
    seconds: float
    output: str


def tested_folders(tree: Path, names: list[str]) -> list[Path]:
    """Return the folders under ``tree`` to test, sorted, and write a test into each example without one.

    Args:
        tree: the copied tree.
        names: modules or roots; empty for all.

    Raises:
        SystemExit: no folder has one of the names.
    """
    folders = {
        file.parent.parent if file.parent.name == "tests" else file.parent for file in tree.rglob("*.tftest.hcl")
    }
    for example in tree.glob("modules/*/examples/*/"):
        if example not in folders:
            text = "".join(file.read_text() for file in sorted(example.glob("*.tf")))
            aliases = re.findall(r'^\s*alias\s*=\s*"(\w+)"', text, re.MULTILINE)
            mocks = "".join(f'mock_provider "aws" {{\n  alias = "{alias}"\n}}\n' for alias in aliases)
            (example / "example.tftest.hcl").write_text(mocks + _EXAMPLE_TEST)
            folders.add(example)
    # A module without tests fails: see test().
    folders |= {folder for folder in terraform_folders(tree) if folder.parent == tree / "modules"}
    for name in names:
        if not any(name in folder.relative_to(tree).parts for folder in folders):
            sys.exit(f"error: no tests for '{name}': there are {', '.join(sorted({f.name for f in folders}))}")
    return sorted(f for f in folders if not names or set(names) & set(f.relative_to(tree).parts))


def test(folder: Path, tree: Path, environment: dict[str, str]) -> Outcome:
    """Initialize and test one folder; a folder whose tests do not start counts as one failure."""
    started = time.monotonic()
    output = ""
    for command in (["init", "-backend=false", "-input=false", "-no-color"], ["test", "-no-color"]):
        process = subprocess.run(
            ["terraform", f"-chdir={folder}", *command],
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = process.stdout
        if process.returncode:
            break
    match = _SUMMARY.search(output)
    passed, failed = (int(match[1]), int(match[2]) + int(match[3] or 0)) if match else (0, 0)
    if process.returncode and not failed:
        failed = 1
    if not passed + failed:
        failed, output = 1, f"{output}no test ran: add a *.tftest.hcl file"
    return Outcome(folder.relative_to(tree).as_posix(), passed, failed, time.monotonic() - started, output)


def main() -> None:
    """Test the named modules, or all; exit 1 when a test failed."""
    parser = argparse.ArgumentParser(prog="make test-terraform", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE")
    names = parser.parse_args().modules
    outcomes = []
    with copied_tree("terraform-test") as tree, registry() as environment, ThreadPoolExecutor(WORKERS) as pool:
        folders = tested_folders(tree, names)
        for outcome in pool.map(lambda folder: test(folder, tree, environment), folders):
            verdict = "failed" if outcome.failed else "passed"
            print(f"  {verdict}  {outcome.name:<40} {outcome.passed:>3} runs {outcome.seconds:>5.0f} s", flush=True)
            if outcome.failed:
                print(outcome.output, flush=True)
            outcomes.append(outcome)
    print(f"{sum(o.passed for o in outcomes)} passed, {sum(o.failed for o in outcomes)} failed")
    sys.exit(1 if any(outcome.failed for outcome in outcomes) else 0)


if __name__ == "__main__":
    main()
