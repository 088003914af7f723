"""``.gitlab-ci.yml`` as data, with ``extends`` resolved as GitLab does it."""

from functools import cache
from typing import Any

import yaml

from ci.settings import ROOT

FILE = ROOT / ".gitlab-ci.yml"
KEYWORDS = {"workflow", "stages", "variables", "default", "include", "spec"}
ENVIRONMENTS = ("dev", "staging", "prod")
CHAIN = ("plan:foundation", "apply:foundation", "migrate", "plan:service", "apply:service", "smoke", "unchanged")


@cache
def document() -> dict[str, Any]:
    """The file."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return content


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Maps are merged, everything else is replaced (GitLab's reverse deep merge)."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def resolved(name: str) -> dict[str, Any]:
    """One job with all that it extends."""
    job: dict[str, Any] = document()[name]
    parents = job.get("extends", [])
    result: dict[str, Any] = {}
    for parent in [parents] if isinstance(parents, str) else parents:
        result = merged(result, resolved(parent))
    return merged(result, {key: value for key, value in job.items() if key != "extends"})


@cache
def jobs() -> dict[str, dict[str, Any]]:
    """Every job that can run, by name."""
    names = [name for name in document() if name not in KEYWORDS and not name.startswith(".")]
    return {name: resolved(name) for name in names}


def needs(name: str) -> set[str]:
    """What a job waits for, directly."""
    return {need if isinstance(need, str) else need["job"] for need in jobs()[name].get("needs", [])}


def needs_in_all(name: str) -> set[str]:
    """What a job waits for, directly or not."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for need in needs(waiting.pop()) - found:
            found.add(need)
            waiting.append(need)
    return found
