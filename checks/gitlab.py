"""``.gitlab-ci.yml`` as data, with ``include`` and ``extends`` resolved as in GitLab."""

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
    """Return the file's content, with the files that it includes."""
    content: dict[str, Any] = yaml.safe_load(FILE.read_text())
    for one in content.pop("include"):
        content |= included(ROOT / one["local"], one["inputs"])
    return content


def included(file: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Return an included file's content with its inputs filled in (https://docs.gitlab.com/ci/inputs/).

    Raises:
        KeyError: the file does not have an input of that name, or an input without a default is missing.
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
    """Merge maps and replace everything else (GitLab's reverse deep merge)."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def resolved(name: str) -> dict[str, Any]:
    """Return one job, with the content of the jobs that it extends."""
    job: dict[str, Any] = document()[name]
    parents = job.get("extends", [])
    result: dict[str, Any] = {}
    for parent in [parents] if isinstance(parents, str) else parents:
        result = merged(result, resolved(parent))
    return merged(result, {key: value for key, value in job.items() if key != "extends"})


@cache
def jobs() -> dict[str, dict[str, Any]]:
    """Return every job that can run, by name."""
    names = [name for name in document() if name not in KEYWORDS and not name.startswith(".")]
    found = {name: resolved(name) for name in names}
    return {name: job for name, job in found.items() if {rule.get("when") for rule in job["rules"]} != {"never"}}


def needs(name: str) -> set[str]:
    """Return the jobs that a job needs directly; an optional one only if it exists."""
    named = {need if isinstance(need, str) else need["job"] for need in jobs()[name].get("needs", [])}
    optional = {need["job"] for need in jobs()[name].get("needs", []) if not isinstance(need, str) and need["optional"]}
    return named - (optional - jobs().keys())


def needs_in_all(name: str) -> set[str]:
    """Return the jobs that a job needs, directly or indirectly."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for need in needs(waiting.pop()) - found:
            found.add(need)
            waiting.append(need)
    return found
