"""``.gitlab-ci.yml`` as data, with ``extends`` resolved as GitLab does it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ops.settings import PROMOTED_ENVIRONMENTS, ROOT

FILE = ROOT / ".gitlab-ci.yml"
KEYWORDS = {"workflow", "stages", "variables", "default"}
ENVIRONMENTS = PROMOTED_ENVIRONMENTS
CHAIN = ("plan:foundation", "apply:foundation", "migrate", "plan:service", "apply:service", "smoke", "unchanged")


@cache
def document() -> dict[str, Any]:
    """The file with everything that it includes."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    for one in content.pop("include"):
        content |= included(ROOT / one["local"], one["inputs"])
    return content


def included(file: Path, given: dict[str, Any]) -> dict[str, Any]:
    """An included file with its inputs filled in (https://docs.gitlab.com/ci/inputs/).

    Raises:
        KeyError: an input is given that the file does not have, or one without a default is not given.
    """
    header, text = file.read_text().split("\n---\n")
    inputs = yaml.safe_load(header)["spec"]["inputs"]
    if unknown := given.keys() - inputs.keys():
        raise KeyError(f"{file.name} has no input {', '.join(unknown)}")
    values = {name: given[name] if name in given else inputs[name]["default"] for name in inputs}
    for name, value in values.items():
        text = text.replace(f"$[[ inputs.{name} ]]", json.dumps(value) if isinstance(value, list) else str(value))
    content: dict[str, Any] = yaml.safe_load(text)
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
    found = {name: resolved(name) for name in names}
    return {name: job for name, job in found.items() if {rule.get("when") for rule in job["rules"]} != {"never"}}


def needs(name: str) -> set[str]:
    """The jobs that a job waits for directly; an optional one only if it exists."""
    named = {need if isinstance(need, str) else need["job"] for need in jobs()[name].get("needs", [])}
    optional = {need["job"] for need in jobs()[name].get("needs", []) if not isinstance(need, str) and need["optional"]}
    return named - (optional - jobs().keys())


def needs_in_all(name: str) -> set[str]:
    """What a job waits for, directly or not."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for need in needs(waiting.pop()) - found:
            found.add(need)
            waiting.append(need)
    return found
