"""What a plan would do, without secrets: counts, refusals, and the files that a pipeline keeps."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from ops.errors import UserError
from ops.settings import ROOT, Target, platform_directory

PLAN, DOCUMENT, TEXT, REPORT, ORIGIN = "plan.tfplan", "plan.json", "plan.txt", "report.json", "origin.json"
"""A plan directory's files: Terraform's own (may hold secrets), JSON and text without them, GitLab's widget, origin."""

UNCHANGED_PLAN = "unchanged-plan.yml"
"""Accepted differences in a plan that should be empty: in ``envs/`` for AWS, else in the platform's own folder."""

_MASK = "(sensitive value)"

# Resources whose content is lost when Terraform replaces them.
PROTECTED = {
    "aws_db_instance": "database",
    "aws_rds_cluster": "database",
    "aws_kms_key": "key",
    "aws_s3_bucket": "bucket",
    "aws_route53_zone": "hosted zone",
}
ALLOW_DESTROY = "PMP_ALLOW_DESTROY"


@dataclass(frozen=True)
class Change:
    """One resource that a plan changes."""

    address: str
    type: str
    actions: tuple[str, ...]
    attributes: tuple[str, ...]
    """Top-level attributes whose value differs, or is unknown before the apply."""

    def __str__(self) -> str:
        if self.is_destroyed:
            return f"{'-/+' if 'create' in self.actions else '-'} {self.address}"
        if "update" in self.actions:
            return f"~ {self.address} ({', '.join(self.attributes)})"
        return f"{'+' if 'create' in self.actions else '·'} {self.address}"

    @property
    def is_destroyed(self) -> bool:
        """Whether the existing resource is destroyed; a replacement counts, too."""
        return "delete" in self.actions


def changes(document: dict[str, Any]) -> list[Change]:
    """Return the managed resources that a plan's JSON document changes."""
    found = []
    for entry in document.get("resource_changes", []):
        change = entry["change"]
        actions = tuple(change["actions"])
        if entry.get("mode", "managed") != "managed" or actions in {("no-op",), ("read",)}:
            continue
        before, after = change.get("before") or {}, change.get("after") or {}
        unknown = change.get("after_unknown") or {}
        differing = {name for name in {*before, *after} if before.get(name) != after.get(name)}
        differing |= {name for name, value in unknown.items() if _any_true(value)}
        found.append(Change(entry["address"], entry["type"], actions, tuple(sorted(differing))))
    return found


def _any_true(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_any_true, value.values()))
    if isinstance(value, list):
        return any(map(_any_true, value))
    return bool(value)


def counts(found: Sequence[Change]) -> dict[str, int]:
    """Count changes as GitLab's Terraform widget does: a replacement is one creation and one deletion."""
    return {name: sum(name in change.actions for change in found) for name in ("create", "update", "delete")}


def summary(found: Sequence[Change], document: dict[str, Any]) -> str:
    """Summarize a plan in one line."""
    number = counts(found)
    text = f"{number['create']} to add, {number['update']} to change, {number['delete']} to destroy"
    outputs = [name for name, change in document.get("output_changes", {}).items() if change["actions"] != ["no-op"]]
    return f"{text}, outputs change: {', '.join(sorted(outputs))}" if outputs and not found else text


# What RDS changes only with a restart, or a failover where there is a standby.
# https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_ModifyInstance.Settings.html
_RESTARTING = {"engine_version", "identifier", "instance_class", "network_type", "port"}
# Associating a group changes nothing before a restart, which is left to a person.
_WAITING = {"parameter_group_name"}
# Terraform's own settings, which RDS does not know.
_NOT_OF_RDS = {"apply_immediately", "delete_automated_backups", "final_snapshot_identifier", "skip_final_snapshot"}
_UNCHANGING = {"latest_restorable_time", "status", "tags", "tags_all"}


def immediate(found: Sequence[Change]) -> list[str]:
    """Return sentences on what an apply changes of the databases at once, not in their maintenance window.

    The database module sets ``apply_immediately``, because a plan that is applied but still pending would be no proof.
    """
    sentences = []
    for change in found:
        if change.type != "aws_db_instance" or change.actions != ("update",):
            continue
        changed = set(change.attributes) - _NOT_OF_RDS - _UNCHANGING
        if restarting := sorted(changed & _RESTARTING):
            sentences.append(
                f"applying this restarts the database {change.address} at once ({', '.join(restarting)}), not in its "
                "maintenance window: choose a quiet hour"
            )
        if waiting := sorted(changed & _WAITING):
            sentences.append(
                f"the database {change.address} needs a restart by hand before {', '.join(waiting)} has an effect"
            )
        if other := sorted(changed - _RESTARTING - _WAITING):
            sentences.append(
                f"applying this changes the database {change.address} at once ({', '.join(other)}), without a restart"
            )
    return sentences


# -- secrets ---------------------------------------------------------------------------------------------------------


def redacted(document: dict[str, Any]) -> dict[str, Any]:
    """Return a plan's JSON document with every value masked that Terraform marks as sensitive.

    Terraform's own JSON holds these values in plain text, next to the marks.
    """
    copy: dict[str, Any] = json.loads(json.dumps(document))
    for entry in [*copy.get("resource_changes", []), *copy.get("resource_drift", [])]:
        _redact_change(entry["change"])
    for change in copy.get("output_changes", {}).values():
        _redact_change(change)
    declared = copy.get("configuration", {}).get("root_module", {}).get("variables", {})
    for name, variable in copy.get("variables", {}).items():
        if declared.get(name, {}).get("sensitive"):
            variable["value"] = _MASK
    for values in (copy.get("planned_values", {}), copy.get("prior_state", {}).get("values", {})):
        for output in values.get("outputs", {}).values():
            if output.get("sensitive"):
                output["value"] = _MASK
        for resource in _resources(values.get("root_module", {})):
            resource["values"] = _masked(resource.get("values"), resource.get("sensitive_values"))
    return copy


def _redact_change(change: dict[str, Any]) -> None:
    for side in ("before", "after"):
        if side in change:
            change[side] = _masked(change[side], change.get(f"{side}_sensitive"))


def _masked(value: Any, marks: Any) -> Any:
    if marks is True:
        return None if value is None else _MASK
    if isinstance(value, dict) and isinstance(marks, dict):
        return {name: _masked(part, marks.get(name)) for name, part in value.items()}
    if isinstance(value, list) and isinstance(marks, list):
        return [_masked(part, marks[index] if index < len(marks) else None) for index, part in enumerate(value)]
    return value


def _resources(module: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from _resources(child)


# -- refusals --------------------------------------------------------------------------------------------------------


def refuse_destruction(found: Sequence[Change]) -> None:
    """Refuse a plan that destroys or replaces a database, key, bucket or hosted zone without explicit permission.

    Raises:
        UserError: ``PMP_ALLOW_DESTROY`` does not name all of their addresses.
    """
    allowed = set(re.split(r"[\s,]+", os.environ.get(ALLOW_DESTROY, "")))
    refused = [one for one in found if one.is_destroyed and one.type in PROTECTED and one.address not in allowed]
    if refused:
        listed = ", ".join(
            f"{'replace' if 'create' in one.actions else 'destroy'} the {PROTECTED[one.type]} {one.address}"
            for one in refused
        )
        addresses = " ".join(one.address for one in refused)
        raise UserError(f"the plan would {listed}: if that is intended, set {ALLOW_DESTROY}='{addresses}'")


def unexplained(found: Sequence[Change]) -> list[Change]:
    """Return the changes that are not accepted differences, for a plan that should be empty."""
    gaps = known_gaps((platform_directory() or ROOT / "envs") / UNCHANGED_PLAN)
    return [change for change in found if not any(gap.explains(change) for gap in gaps)]


@dataclass(frozen=True)
class Gap:
    """A difference that every plan shows because the platform does not answer as Terraform expects."""

    type: str
    attributes: frozenset[str]
    replace: bool

    def explains(self, change: Change) -> bool:
        """Whether ``change`` consists of this difference alone."""
        expected = {("delete", "create"), ("create", "delete")} if self.replace else {("update",)}
        return change.type == self.type and change.actions in expected and set(change.attributes) <= self.attributes


def known_gaps(file: Path) -> list[Gap]:
    """Read the list of gaps; a missing file counts as an empty list.

    Raises:
        UserError: an entry is malformed.
    """
    if not file.exists():
        return []
    entries = (yaml.safe_load(file.read_text()) or {}).get("unchanged_plan", [])
    gaps = []
    for entry in entries:
        gap = _gap(entry)
        if gap is None:
            raise UserError(f"{file}: entry {entry!r} needs a type, a list of attributes and a reason")
        gaps.append(gap)
    return gaps


def _gap(entry: Any) -> Gap | None:
    try:
        gap = Gap(entry["type"], frozenset(entry["attributes"]), bool(entry.get("replace", False)))
        return gap if entry["reason"].strip() else None
    except (KeyError, TypeError, AttributeError):
        return None


# -- files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """The layer, environment and commit of a saved plan. ``plan_sha256`` ties this record to the plan's bytes."""

    layer: str
    environment: str
    release: str
    plan_sha256: str
    read_only: bool = False


def save(directory: Path, origin: Origin, document: dict[str, Any], text: str) -> None:
    """Write the files that accompany the plan."""
    found = changes(document)
    (directory / DOCUMENT).write_text(json.dumps(redacted(document)))
    (directory / TEXT).write_text("".join(f"Warning: {sentence}\n" for sentence in immediate(found)) + text)
    (directory / REPORT).write_text(json.dumps(counts(found)) + "\n")
    (directory / ORIGIN).write_text(json.dumps(asdict(origin), indent=2) + "\n")


DOES_NOT_EXIST = "It does not exist yet: its first deployment will create everything.\n"
NEEDS_FOUNDATION = "It cannot be planned before the changes of the foundation are applied.\n"


def save_reason(directory: Path, reason: str) -> None:
    """Write the files of a layer that cannot be planned, so that a report can say why: one of the two reasons above."""
    (directory / TEXT).write_text(reason)
    (directory / REPORT).write_text(json.dumps(counts([])) + "\n")


def is_absence(directory: Path) -> bool:
    """Whether ``directory`` says of a layer that it did not exist when it was to be planned."""
    text = directory / TEXT
    return not (directory / ORIGIN).exists() and text.exists() and text.read_text() == DOES_NOT_EXIST


def saved_document(directory: Path) -> dict[str, Any]:
    """Return the redacted document of a saved plan.

    Raises:
        UserError: there is none.
    """
    try:
        document = json.loads((directory / DOCUMENT).read_text())
    except (FileNotFoundError, ValueError):
        raise UserError(f"{directory} holds no plan: create it with 'python -m ops plan'") from None
    return dict(document)


def effects(document: dict[str, Any]) -> dict[str, str]:
    """Return what a plan does, as text by address or output, to compare it with another plan.

    Everything that Terraform would change is in it, with the values before and after; what was only read is not.
    """
    changed = {one.address for one in changes(document)}
    found = {
        entry["address"]: json.dumps(entry["change"], sort_keys=True)
        for entry in document.get("resource_changes", [])
        if entry["address"] in changed
    }
    outputs = document.get("output_changes", {}).items()
    return found | {
        f"output.{name}": json.dumps(change, sort_keys=True)
        for name, change in outputs
        if change["actions"] != ["no-op"]
    }


def sha256(file: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def require_plan(directory: Path, target: Target, commit: str) -> Path:
    """Return the saved plan in ``directory`` after checking its layer, environment and, if given, ``commit``.

    Raises:
        UserError: the plan is missing, was changed, or was created for something else.
    """
    plan = directory / PLAN
    again = f"create it with 'python -m ops plan {target.layer}'"
    try:
        origin = Origin(**json.loads((directory / ORIGIN).read_text()))
    except FileNotFoundError:
        raise UserError(f"{directory} holds no plan: {again}") from None
    except (ValueError, TypeError):
        raise UserError(f"{directory / ORIGIN} cannot be read: {again}") from None
    if not plan.exists():
        raise UserError(f"the plan in {directory} has already been applied; a plan can be applied once: {again}")
    if origin.plan_sha256 != sha256(plan):
        raise UserError(f"{plan} is not the file that was planned: {again}")
    if origin.read_only:
        raise UserError(f"the plan in {directory} was made with --read-only, only to be looked at: {again}")
    made_for = Target(origin.layer, origin.environment)
    if made_for != target:
        raise UserError(f"the plan in {directory} was created for {made_for}, but this job applies {target}: {again}")
    if commit and origin.release != commit:
        raise UserError(
            f"the plan in {directory} was created from commit {origin.release[:12]}, but this job deploys "
            f"{commit[:12]}: {again}"
        )
    return plan


def variable(document: dict[str, Any], name: str) -> str:
    """Return the value of a variable of a plan; empty if it has none."""
    return str(document.get("variables", {}).get(name, {}).get("value", ""))


def refuse_other_environment(document: dict[str, Any], target: Target) -> None:
    """Refuse a plan whose ``environment`` variable names another environment, whatever its accompanying files say.

    Raises:
        UserError: the plan is for another environment.
    """
    found = variable(document, "environment")
    if found != target.environment:
        raise UserError(
            f"the plan itself is for environment {found or '(none)'}, but this job applies {target}: "
            f"create it with 'python -m ops plan {target.layer}'"
        )
