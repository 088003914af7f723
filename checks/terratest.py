"""Run the Go tests on a new emulated AWS account: ``python -m checks.terratest [TEST]``."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from checks.tree import copied_tree
from local.account import Account
from local.instance import Instance, clean_environment
from local.services import start_registry, stop_all
from ops.errors import UserError
from ops.settings import ROOT
from ops.terraform import GOGC

# Clear of a running platform (24500) and of named instances (25000 and up).
PORT_BASE = 24800


def go_test(pattern: str, environment: dict[str, str]) -> Counter[str]:
    """Run the Go tests whose names match ``pattern``; print all output if one failed.

    Returns:
        Numbers of tests by ``pass``, ``fail`` and ``skip``.
    """
    command = ["go", "test", "-json", "-count=1", "-timeout=20m", "-run", pattern or ".", "./..."]
    counts: Counter[str] = Counter()
    output: dict[str, list[str]] = {}
    with subprocess.Popen(
        command,
        cwd=ROOT / "tests/terratest",
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.startswith("{"):
                print(line, end="", flush=True)
                continue
            event = json.loads(line)
            test = event.get("Test", "")
            if event["Action"] in {"output", "build-output"}:
                output.setdefault(test.split("/")[0], []).append(event["Output"])
            elif test and event["Action"] in {"pass", "fail", "skip"}:
                counts[event["Action"]] += 1
                print(f"  {event['Action']:<5} {test:<90} {event.get('Elapsed', 0):>6.1f} s", flush=True)
            elif event["Action"] in {"fail", "build-fail"} and not counts["fail"]:
                counts["fail"] += 1
        if counts["fail"]:
            print("".join(line for lines in output.values() for line in lines), flush=True)
    return counts


def build_code(directory: Path) -> Path:
    """Build the function's zip in ``directory``; return its path.

    Raises:
        UserError: the build failed.
    """
    command = [sys.executable, str(ROOT / "lambda/build.py"), "--output", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"building the function's zip failed: {done.stderr.strip()}")
    return next(directory.glob("lambda-*.zip"))


def main() -> None:
    """Run the tests; exit 1 when one failed or the account did not start."""
    parser = argparse.ArgumentParser(prog="make test-terratest", description=__doc__)
    parser.add_argument("test", nargs="?", default="", help="only the Go tests whose names match this expression")
    pattern = parser.parse_args().test
    # Everything that the run creates is in this folder, and goes with it.
    state = Path(tempfile.mkdtemp(prefix="pmp-terratest-"))
    instance = Instance("terratest", PORT_BASE, state)
    account = Account(instance)
    try:
        account.start()
        print(start_registry(instance), flush=True)
        environment = {
            **clean_environment(),
            **instance.tool_environment("dev"),
            **account.admin().environment(),
            "CHECKPOINT_DISABLE": "1",
            "GOGC": GOGC,
            # Where Terraform packages the function, it needs uv.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PMP_TERRATEST_CODE": str(build_code(instance.build)),
        }
        with copied_tree("terratest") as tree:
            counts = go_test(pattern, environment | {"PMP_TERRATEST_TREE": str(tree)})
    except UserError as error:
        sys.exit(f"error: {error}")
    finally:
        stop_all(instance)
        shutil.rmtree(state, ignore_errors=True)
    skipped = f", {counts['skip']} skipped" if counts["skip"] else ""
    print(f"{counts['pass']} passed, {counts['fail']} failed{skipped}")
    sys.exit(1 if counts["fail"] or not counts["pass"] else 0)


if __name__ == "__main__":
    main()
