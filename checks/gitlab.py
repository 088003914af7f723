"""``.gitlab-ci.yml`` as data, with ``include`` and ``extends`` resolved as in GitLab."""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ops.settings import PROMOTED_ENVIRONMENTS, ROOT

FILE = ROOT / ".gitlab-ci.yml"
KEYWORDS = {"workflow", "stages", "variables", "default"}
ENVIRONMENTS = PROMOTED_ENVIRONMENTS
CHAIN = ("preview", "apply:foundation", "migrate", "plan:service", "apply:service", "canary", "smoke", "unchanged")


@cache
def document(**inputs: str) -> dict[str, Any]:
    """Return the file's content, with the files that it includes, for a pipeline that was started with ``inputs``."""
    content = included(FILE, inputs)
    for one in content.pop("include"):
        content |= included(ROOT / one["local"], one["inputs"])
    return content


def included(file: Path, given: dict[str, Any]) -> dict[str, Any]:
    """Return an included file's content with its inputs filled in (https://docs.gitlab.com/ci/inputs/).

    Raises:
        KeyError: the file does not have an input of that name, or an input without a default is missing.
    """
    text = file.read_text().partition("\n---\n")[2]
    inputs = specified(file)
    if unknown := given.keys() - inputs.keys():
        raise KeyError(f"{file.name} has no input {', '.join(unknown)}")
    values = {name: given[name] if name in given else inputs[name]["default"] for name in inputs}
    for name, value in values.items():
        text = text.replace(f"$[[ inputs.{name} ]]", json.dumps(value) if isinstance(value, list) else str(value))
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def specified(file: Path) -> dict[str, dict[str, Any]]:
    """Return the inputs that a file declares, by name."""
    inputs: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text().partition("\n---\n")[0])["spec"]["inputs"]
    return inputs


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Merge maps and replace everything else (GitLab's reverse deep merge)."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def resolved(name: str, **inputs: str) -> dict[str, Any]:
    """Return one job, with the content of the jobs that it extends."""
    job: dict[str, Any] = document(**inputs)[name]
    parents = job.get("extends", [])
    result: dict[str, Any] = {}
    for parent in [parents] if isinstance(parents, str) else parents:
        result = merged(result, resolved(parent, **inputs))
    return merged(result, {key: value for key, value in job.items() if key != "extends"})


@cache
def jobs(**inputs: str) -> dict[str, dict[str, Any]]:
    """Return every job that can run, by name."""
    names = [name for name in document(**inputs) if name not in KEYWORDS and not name.startswith(".")]
    found = {name: resolved(name, **inputs) for name in names}
    return {name: job for name, job in found.items() if _can_run(job)}


def _can_run(job: dict[str, Any]) -> bool:
    for rule in job["rules"]:
        is_constant = "$" not in rule["if"]
        if is_constant and not holds(rule["if"], {}):
            continue
        if is_constant or rule.get("when") != "never":
            return bool(rule.get("when") != "never")
    return False


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


# -- which jobs a pipeline has ---------------------------------------------------------------------------------------

_TOKEN = re.compile(r'\$\w+|"[^"]*"|/(?:\\.|[^/])+/|[!=]=|=~|&&|\|\|')
_ALWAYS = {"CI_DEFAULT_BRANCH": "main", "GITLAB_CI": "true"}
_BRANCH = {"CI_COMMIT_BRANCH": "main", **_ALWAYS}
_BY_HAND = {"CI_PIPELINE_SOURCE": "web", **_BRANCH}
EVENTS: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "merge request": ({"CI_PIPELINE_SOURCE": "merge_request_event", **_ALWAYS}, {}),
    "main": ({"CI_PIPELINE_SOURCE": "push", **_BRANCH}, {}),
    "nightly": ({"CI_PIPELINE_SOURCE": "schedule", **_BRANCH}, {}),
    "tag": ({"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_TAG": "v1.2.3", **_ALWAYS}, {}),
    "unlock": (_BY_HAND, {"operation": "unlock", "target": "prod"}),
    "rollback": (_BY_HAND, {"operation": "rollback", "target": "prod"}),
}
"""By what starts a pipeline: GitLab's variables there, and the inputs."""


def holds(expression: str, variables: Mapping[str, str]) -> bool:
    """Whether the condition of a rule holds (https://docs.gitlab.com/ci/jobs/job_rules/).

    Raises:
        ValueError: the condition uses something that this evaluator does not know.
    """
    if rest := re.sub(r"\s", "", _TOKEN.sub("", expression)):
        raise ValueError(f"cannot evaluate {expression!r}: {rest}")
    tokens = _TOKEN.findall(expression)
    parts: list[list[list[str]]] = [[[]]]
    for token in tokens:
        if token == "||":
            parts.append([[]])
        elif token == "&&":
            parts[-1].append([])
        else:
            parts[-1][-1].append(token)

    def value(token: str) -> str | None:
        return variables.get(token[1:]) if token.startswith("$") else token[1:-1]

    def clause(words: list[str]) -> bool:
        if len(words) == 1:
            return bool(value(words[0]))
        left, operator, right = words
        if operator == "=~":
            return re.search(right[1:-1], value(left) or "") is not None
        return (value(left) == value(right)) == (operator == "==")

    return any(all(clause(words) for words in conjunction) for conjunction in parts)


def jobs_on(event: str) -> list[str]:
    """Return the jobs of the pipelines that ``event`` (one of `EVENTS`) starts, manual ones included, in file order."""
    return jobs_with(*EVENTS[event])


def jobs_with(variables: Mapping[str, str], inputs: Mapping[str, str]) -> list[str]:
    """Return the jobs of a pipeline with these variables of GitLab and inputs, in file order."""

    def runs(job: dict[str, Any]) -> bool:
        rule = next((rule for rule in job["rules"] if holds(rule["if"], variables)), {"when": "never"})
        return rule.get("when") != "never"

    return [name for name, job in jobs(**inputs).items() if runs(job)]
