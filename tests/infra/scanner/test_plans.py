"""checkov over the planned resources, with those of registry modules: each finding needs a reason in findings.yaml."""

import copy
import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from checks.inventory import resource_type
from checks.lint.tools import checkov
from checks.planning import LAYERS, Planner

pytestmark = pytest.mark.slow

FINDINGS = Path(__file__).parent / "findings.yaml"
# The largest and the smallest; those in between differ only in numbers.
ENVIRONMENTS = ("prod", "dev")


class Finding(NamedTuple):
    """A check that failed on a resource of a type in an environment."""

    check: str
    type: str
    environment: str


def known() -> set[Finding]:
    """Read the accepted findings.

    Raises:
        ValueError: an entry has no reason.
    """
    entries = yaml.safe_load(FINDINGS.read_text())
    if lacking := [entry for entry in entries if not entry.get("reason")]:
        raise ValueError(f"{FINDINGS.name}: without a reason: {lacking}")
    return {
        Finding(entry["check"], entry["type"], environment)
        for entry in entries
        for environment in entry.get("environments", ENVIRONMENTS)
    }


def filled(value: Any, unknown: Any) -> Any:
    """Return a planned value with a placeholder for each part that is known only after apply, such as a key's ARN."""
    if unknown is True:
        return "known after apply"
    if isinstance(unknown, dict):
        given = value if isinstance(value, dict) else {}
        return given | {name: filled(given.get(name), part) for name, part in unknown.items()}
    if isinstance(unknown, list) and isinstance(value, list):
        return [filled(*pair) for pair in zip(value, unknown, strict=False)] + value[len(unknown) :]
    return value


def fill(module: dict[str, Any], change_by_address: dict[str, dict[str, Any]]) -> None:
    """Fill in placeholders in the resources of a planned module and of the modules that it calls."""
    for resource in module.get("resources", []):
        unknown = change_by_address.get(resource["address"], {}).get("after_unknown")
        resource["values"] = filled(resource.get("values"), unknown or {})
    for child in module.get("child_modules", []):
        fill(child, change_by_address)


def test_every_checkov_finding_has_a_reason(plans: Planner, tmp_path: Path) -> None:
    files = []
    for layer in LAYERS:
        for environment in ENVIRONMENTS:
            # A copy: other tests read the same document.
            document = copy.deepcopy(plans.document(layer, environment))
            changes = {change["address"]: change["change"] for change in document["resource_changes"]}
            fill(document["planned_values"]["root_module"], changes)
            files.append(tmp_path / f"{layer}-{environment}.json")
            files[-1].write_text(json.dumps(document))
    command = [str(checkov()), "--framework", "terraform_plan", "--compact", "--output", "json"]
    done = subprocess.run(
        [*command, *(part for file in files for part in ("--file", str(file)))],
        # checkov looks for its settings in the working directory.
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 500, "checkov saw only part of the plans"
    found = {
        Finding(one["check_id"], resource_type(one["resource"]), Path(one["file_path"]).stem.split("-")[1]): one
        for one in report["results"]["failed_checks"]
    }
    unexplained = [
        f"{finding.environment}: {finding.check} {found[finding]['resource']}: {found[finding]['check_name']}"
        for finding in sorted(set(found) - known())
    ]
    assert not unexplained, "fix it, or add it to findings.yaml with a reason"
    assert not known() - set(found), "not a finding any more: remove it from findings.yaml"
