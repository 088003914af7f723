"""Send thousands of generated requests to the API: no 5xx, no undocumented status or header, no violated schema.

    python -m checks.fuzz                                     against the function on a throwaway PostgreSQL
    python -m checks.fuzz --url "$(make -s url)" --token "$(make -s token)" --certificates .pmp/local/ca/authority.pem
                                                             against a running platform, invalid tokens first

Schemathesis has its own virtual environment, created from ``checks/fuzz/requirements.lock`` on first use.
"""

import argparse
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from checks.fuzz.tokens import accepted, forged, of_another_audience
from checks.gateway import token
from checks.stack import end_in_order, free_port
from ops.settings import ROOT
from ops.virtual_environments import prepared

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
LEFT_OUT = {
    "positive_data_acceptance": "a valid request may still be refused because of stored data: 410, 412, 422",
}


def install() -> Path:
    """Return the path of Schemathesis, with the packages of the lock file."""
    return prepared(ROOT / "build" / "fuzz", Path(__file__).with_name("requirements.lock")) / "schemathesis"


@contextmanager
def throwaway() -> Iterator[str]:
    """Run the function with its own gateway and PostgreSQL; yield the gateway's URL."""
    port, third_party = free_port(), free_port()
    environment = os.environ | {
        "PMP_VENDOR_LIST_URL": f"http://127.0.0.1:{third_party}/v3/vendor-list.json",
        "PYTHONPATH": str(ROOT / "lambda"),
    }
    vendor_list = [sys.executable, "-m", "local.vendor_list", "--port", str(third_party)]
    gateway = [sys.executable, "-m", "checks.gateway", "--port", str(port), "--workers", "3"]
    running = [
        subprocess.Popen(vendor_list, cwd=ROOT, stdout=subprocess.DEVNULL),
        subprocess.Popen(
            [sys.executable, "-m", "checks.stack", *gateway],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
        ),
    ]
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"{url}/v1/ready", timeout=5):
                    break
            except OSError:
                time.sleep(0.1)
        yield url
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(timeout=30)


def fuzz(url: str, bearer: str, *, cases: int, operations: str | None, bundle: Path | None) -> int:
    """Run Schemathesis and print its output.

    Args:
        url: base URL of the API.
        bearer: access token with all scopes.
        cases: least number of cases to generate.
        operations: regular expression of the paths to test; None for all.
        bundle: certificate authorities to trust (PEM); None for the system's.

    Returns:
        The exit code: not 0 if there were findings, or fewer cases than ``cases``.
    """
    document = f"{url}/v1/openapi.json"
    command = [
        str(install()),
        "--config-file",
        str(CONFIGURATION),
        "run",
        document,
        "--url",
        url,
        "--header",
        f"Authorization: Bearer {bearer}",
    ]
    # One worker: with two, Hypothesis runs into a bug in Python 3.11's ast module ("recursion depth mismatch").
    command += ["--max-examples", str(max(1, cases // 20)), "--workers", "1", "--continue-on-failure"]
    command += ["--request-retries", "2", "--max-redirects", "0", "--warnings", "off", "--request-timeout", "40"]
    command += ["--exclude-checks", ",".join(LEFT_OUT)]
    if operations:
        command += ["--include-path-regex", operations]
    if bundle:
        command += ["--tls-verify", str(bundle)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "SCHEMATHESIS_HOOKS": "loopback"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT / "build", env=environment)
    print(done.stdout)
    found = re.search(r"(\d[\d,]*) generated", done.stdout)
    generated = int(found[1].replace(",", "")) if found else 0
    verdict = "no findings" if done.returncode == 0 else "findings above"
    print(f"{generated} cases generated, {cases} required; {verdict}")
    return done.returncode or (0 if generated >= cases else 1)


def refuse_tokens(url: str, genuine: str, token_url: str | None, bundle: Path | None) -> None:
    """Try tokens that the API must refuse; for the arguments see ``tokens``.

    Raises:
        SystemExit: the API accepted one, or wrote something with it.
    """
    refusable = forged(genuine)
    with ExitStack() as temporary:
        if token_url and bundle:
            stranger = temporary.enter_context(of_another_audience(genuine, token_url, bundle))
            refusable["another audience, genuine"] = stranger
        wrong = accepted(url, genuine, refusable, bundle)
    if wrong:
        raise SystemExit("\n".join(wrong))
    print(f"{len(refusable)} tokens refused, nothing written with them: {'; '.join(refusable)}", flush=True)


def existing(path: str) -> Path:
    """Return the absolute path of an existing file: Schemathesis runs in another folder.

    Raises:
        argparse.ArgumentTypeError: the file does not exist.
    """
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{path} does not exist")
    return Path(path).resolve()


def main() -> None:
    """Fuzz a running platform if its URL is given, else a throwaway one; exit 1 when there are findings."""
    end_in_order()
    parser = argparse.ArgumentParser(prog="python -m checks.fuzz", description="Generated requests against the API.")
    parser.add_argument("--url", help="base URL of a running platform (default: a throwaway one)")
    parser.add_argument("--token", help="access token with all scopes")
    parser.add_argument(
        "--token-url",
        help="OAuth2 endpoint (SSM: /pmp/<environment>/foundation/token_url): with it, and with the account's "
        "credentials as environment variables, also try a genuine token of a client that the API does not know",
    )
    parser.add_argument(
        "--certificates", type=existing, help="certificate authorities to trust (PEM), for a platform with its own"
    )
    parser.add_argument("--cases", type=int, default=8000, help="least number of cases (default 8000)")
    parser.add_argument("--operations", help="regular expression of paths (default: all)")
    arguments = parser.parse_args()
    chosen = {"cases": arguments.cases, "operations": arguments.operations, "bundle": arguments.certificates}
    if arguments.url:
        if not arguments.token:
            parser.error('--url needs --token "$(make -s token)"')
        url = arguments.url.rstrip("/")
        refuse_tokens(url, arguments.token, arguments.token_url, arguments.certificates)
        raise SystemExit(fuzz(url, arguments.token, **chosen))
    # An export makes the function invoke itself, which nothing would answer here.
    chosen["operations"] = arguments.operations or "^(?!/v1/exports$)"
    with throwaway() as url:
        raise SystemExit(fuzz(url, token(expires_in=7200), **chosen))


if __name__ == "__main__":
    main()
