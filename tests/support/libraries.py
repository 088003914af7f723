"""Generates the typed clients and the Postman collection, and uses each of them against a running API."""

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from ops.settings import ROOT
from tests.support import snippets

_CLIENTS = ROOT / "build/clients"
_GENERATOR = ROOT / "build/client-generator/bin"
_REQUESTS = (
    "List consents", "Create a user", "Get a user and their current consents", "Record an event", "Get an event",
    "List a user's events", "Check consents before sending", "List vendors of the IAB Global Vendor List",
    "Check that the API is running",
)  # fmt: skip
"""Requests of the collection that need nothing but those before them."""


def exercise_libraries(directory: Path, variables: Mapping[str, str], generate: Callable[[], object]) -> None:
    """Raise ``AssertionError`` or ``RuntimeError`` if a client does not work, or is not the same when made again.

    Args:
        directory: for files.
        variables: those that ``make env`` exports.
        generate: makes the clients.
    """
    generate()
    first = _digests()
    generate()
    assert _digests() == first, "a generated file differs when it is made again"

    python = {**variables, "PYTHONPATH": str(_CLIENTS / "python")}
    (output,) = snippets.run(snippets.LIBRARIES, "Python", directory, python, _GENERATOR)
    assert output == "python-client@example.com True\n", output

    modules = directory / "node_modules"
    modules.mkdir()
    (modules / "pmp-client").symlink_to(_CLIENTS / "typescript")
    (output,) = snippets.run(snippets.LIBRARIES, "TypeScript", directory, variables)
    assert output == "typescript-client@example.com true\n", output

    _run_collection(directory, variables)


def _run_collection(directory: Path, variables: Mapping[str, str]) -> None:
    collection = json.loads((_CLIENTS / "pmp.postman_collection.json").read_text())
    script = "pm.test('answered', () => pm.expect(pm.response.code, pm.response.text()).to.be.below(300));"
    collection["event"] = [{"listen": "test", "script": {"type": "text/javascript", "exec": [script]}}]
    file = directory / "collection.json"
    file.write_text(json.dumps(collection))
    command = [str(ROOT / "clients/node_modules/.bin/newman"), "run", str(file), "--color", "off"]
    for name, value in (("baseUrl", variables["PMP_URL"]), ("token", variables["PMP_TOKEN"])):
        command += ["--env-var", f"{name}={value}"]
    for request in _REQUESTS:
        command += ["--folder", request]
    done = subprocess.run(
        command, env=os.environ | dict(variables), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("↳") == len(_REQUESTS), done.stdout


def _digests() -> dict[str, str]:
    files = [path for path in sorted(_CLIENTS.rglob("*")) if path.is_file() and "node_modules" not in path.parts]
    return {str(path.relative_to(_CLIENTS)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
