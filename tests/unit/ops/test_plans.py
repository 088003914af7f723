"""Summaries of plans, without secrets, and the reasons to refuse a plan."""

import json
from pathlib import Path
from typing import Any

import pytest

from ops import plans
from ops.errors import UserError
from ops.settings import ROOT, Target


def entry(address: str, actions: list[str], **change: Any) -> dict[str, Any]:
    resource = {"address": address, "type": address.split(".")[-2], "mode": "managed"}
    return resource | {"change": {"actions": actions, "before": None, "after": None} | change}


@pytest.mark.parametrize(
    ("attributes", "told"),
    [
        (("instance_class", "tags"), ["restarts the database module.a.aws_db_instance.this at once (instance_class)"]),
        (("engine_version",), ["restarts the database module.a.aws_db_instance.this at once (engine_version)"]),
        (("allocated_storage", "multi_az"), ["at once (allocated_storage, multi_az), without a restart"]),
        (("parameter_group_name",), ["needs a restart by hand before parameter_group_name has an effect"]),
        (("iops", "port"), ["restarts the database", "at once (iops), without a restart"]),
        (("tags", "tags_all", "skip_final_snapshot"), []),
    ],
)
def test_what_an_apply_does_to_the_database_at_once_is_told(attributes: tuple[str, ...], told: list[str]) -> None:
    change = plans.Change("module.a.aws_db_instance.this", "aws_db_instance", ("update",), attributes)
    found = plans.immediate([change])
    assert len(found) == len(told)
    assert all(words in sentence for words, sentence in zip(told, found, strict=True))


def test_new_database_is_not_changed() -> None:
    new = plans.Change("aws_db_instance.this", "aws_db_instance", ("create",), ("instance_class",))
    assert plans.immediate([new]) == []


def test_text_of_a_plan_begins_with_its_warnings(tmp_path: Path) -> None:
    changed = entry("aws_db_instance.this", ["update"], before={"instance_class": "a"}, after={"instance_class": "b"})
    origin = plans.Origin("foundation", "prod", "a" * 40, "b" * 64)
    plans.save(tmp_path, origin, {"resource_changes": [changed]}, "the plan")
    text = (tmp_path / plans.TEXT).read_text()
    assert text.startswith("Warning: applying this restarts the database aws_db_instance.this at once (instance_class)")
    assert text.endswith("\nthe plan")


def test_counts_match_gitlabs_report() -> None:
    document = {
        "resource_changes": [
            entry("aws_s3_bucket.a", ["create"]),
            entry("aws_s3_bucket.b", ["delete", "create"]),
            entry("aws_lambda_function.c", ["update"]),
            entry("aws_lambda_function.d", ["no-op"]),
            entry("aws_caller_identity.e", ["read"]) | {"mode": "data"},
        ]
    }
    found = plans.changes(document)
    assert plans.counts(found) == {"create": 2, "update": 1, "delete": 1}
    assert plans.summary(found, document) == "2 to add, 1 to change, 1 to destroy"


def test_changed_and_unknown_attributes_are_named() -> None:
    change = {
        "before": {"a": 1, "b": [1], "c": 3},
        "after": {"a": 1, "b": [2]},
        "after_unknown": {"c": True, "d": [False]},
    }
    [found] = plans.changes({"resource_changes": [entry("aws_flow_log.this", ["update"], **change)]})
    assert found.attributes == ("b", "c")


def test_secrets_are_masked_everywhere_in_a_plan() -> None:
    secret = "hunter2-hunter2"
    sensitive = {"values": {"password": secret, "name": "n"}, "sensitive_values": {"password": True}}
    nested = {"before": {"list": [{"token": secret}]}, "before_sensitive": {"list": [{"token": True}]}}
    document = {
        "variables": {"token": {"value": secret}, "environment": {"value": "dev"}},
        "configuration": {"root_module": {"variables": {"token": {"sensitive": True}, "environment": {}}}},
        "resource_changes": [
            entry("aws_x.y", ["update"], after={"password": secret}, after_sensitive={"password": True}, **nested)
        ],
        "resource_drift": [entry("aws_x.y", ["update"], after=secret, after_sensitive=True)],
        "output_changes": {"o": {"actions": ["create"], "after": secret, "after_sensitive": True}},
        "planned_values": {
            "outputs": {"o": {"sensitive": True, "value": secret}},
            "root_module": {"resources": [sensitive], "child_modules": [{"resources": [sensitive]}]},
        },
        "prior_state": {
            "values": {"root_module": {"child_modules": [{"child_modules": [{"resources": [sensitive]}]}]}}
        },
    }
    before = json.dumps(document)
    redacted = json.dumps(plans.redacted(document))
    assert secret not in redacted
    assert '"dev"' in redacted
    assert json.dumps(document) == before, "the original must not change"


@pytest.mark.parametrize("kind", sorted(plans.PROTECTED))
@pytest.mark.parametrize("actions", [["delete"], ["delete", "create"], ["create", "delete"]])
def test_protected_resources_are_not_destroyed(kind: str, actions: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(plans.ALLOW_DESTROY, raising=False)
    found = plans.changes({"resource_changes": [entry(f'module.a["x"].{kind}.this', actions)]})
    with pytest.raises(UserError, match=r"PMP_ALLOW_DESTROY='module\.a\[\"x\"\]"):
        plans.refuse_destruction(found)
    monkeypatch.setenv(plans.ALLOW_DESTROY, f'module.other.{kind}.this module.a["x"].{kind}.this')
    plans.refuse_destruction(found)


def test_protected_update_and_unprotected_delete_are_allowed() -> None:
    entries = [entry("aws_db_instance.this", ["update"]), entry("aws_route.this", ["delete"])]
    plans.refuse_destruction(plans.changes({"resource_changes": entries}))


# -- gaps of the emulated platform -----------------------------------------------------------------------------------

GAPS = """
unchanged_plan:
  - type: aws_flow_log
    attributes: [log_destination_type]
    reason: the emulator does not store it
  - type: aws_acm_certificate
    attributes: [options]
    replace: true
    reason: the emulator does not store this either
"""


@pytest.fixture
def _gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / plans.UNCHANGED_PLAN
    file.write_text(GAPS)
    monkeypatch.setenv("PMP_PLATFORM_DIRECTORY", str(tmp_path))


def change(kind: str, actions: list[str], *attributes: str) -> plans.Change:
    return plans.Change(f"{kind}.this", kind, tuple(actions), attributes)


@pytest.mark.usefixtures("_gaps")
def test_only_listed_differences_are_explained() -> None:
    flow_log = change("aws_flow_log", ["update"], "log_destination_type")
    certificate = change("aws_acm_certificate", ["delete", "create"], "options")
    assert plans.unexplained([flow_log, certificate]) == []
    for other in (
        change("aws_flow_log", ["update"], "log_destination_type", "iam_role_arn"),
        change("aws_flow_log", ["delete", "create"], "log_destination_type"),
        change("aws_acm_certificate", ["update"], "options"),
        change("aws_vpc", ["update"], "log_destination_type"),
    ):
        assert plans.unexplained([flow_log, other]) == [other]


@pytest.mark.usefixtures("_gaps")
def test_on_aws_no_difference_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PMP_PLATFORM_DIRECTORY")
    found = [change("aws_flow_log", ["update"], "log_destination_type")]
    assert plans.unexplained(found) == found


@pytest.mark.parametrize("text", ["type: a", "{type: a, attributes: [b]}", "{type: a, attributes: [b], reason: ' '}"])
def test_gap_without_a_reason_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "gaps.yml"
    file.write_text(f"unchanged_plan:\n  - {text}\n")
    with pytest.raises(UserError, match="needs a type, a list of attributes and a reason"):
        plans.known_gaps(file)


def test_committed_gap_lists_can_be_read() -> None:
    assert plans.known_gaps(ROOT / "local/ministack" / plans.UNCHANGED_PLAN)
    assert plans.known_gaps(ROOT / "envs" / plans.UNCHANGED_PLAN) == []


# -- layer, environment and commit of a plan -------------------------------------------------------------------------

COMMIT = "a" * 40
DEV = Target("service", "dev")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    (tmp_path / plans.PLAN).write_bytes(b"a plan")
    origin = plans.Origin("service", "dev", COMMIT, plans.sha256(tmp_path / plans.PLAN))
    plans.save(tmp_path, origin, {"resource_changes": []}, "text")
    return tmp_path


def test_plan_is_accepted_for_its_layer_environment_and_commit(saved: Path) -> None:
    assert plans.require_plan(saved, DEV, COMMIT) == saved / plans.PLAN
    assert plans.require_plan(saved, DEV, "") == saved / plans.PLAN
    assert json.loads((saved / plans.REPORT).read_text()) == {"create": 0, "update": 0, "delete": 0}


@pytest.mark.parametrize(
    ("target", "commit", "message"),
    [
        (Target("service", "prod"), COMMIT, r"was created for service \(dev\), but this job applies service \(prod\)"),
        (
            Target("foundation", "dev"),
            COMMIT,
            r"was created for service \(dev\), but this job applies foundation \(dev\)",
        ),
        (DEV, "b" * 40, "was created from commit aaaaaaaaaaaa, but this job deploys bbbbbbbbbbbb"),
    ],
)
def test_plan_for_another_target_or_commit_is_refused(saved: Path, target: Target, commit: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plans.require_plan(saved, target, commit)


def test_plan_that_was_only_to_be_looked_at_is_refused(saved: Path) -> None:
    origin = plans.Origin("service", "dev", COMMIT, plans.sha256(saved / plans.PLAN), read_only=True)
    plans.save(saved, origin, {"resource_changes": []}, "text")
    with pytest.raises(UserError, match="was made with --read-only, only to be looked at: create it with"):
        plans.require_plan(saved, DEV, COMMIT)


def test_replaced_plan_file_is_refused(saved: Path) -> None:
    (saved / plans.PLAN).write_bytes(b"another plan")
    with pytest.raises(UserError, match="is not the file that was planned"):
        plans.require_plan(saved, DEV, COMMIT)


def test_missing_or_applied_plan_is_named_as_such(saved: Path, tmp_path: Path) -> None:
    (saved / plans.PLAN).unlink()
    with pytest.raises(UserError, match="has already been applied"):
        plans.require_plan(saved, DEV, COMMIT)
    with pytest.raises(UserError, match="holds no plan: create it with 'python -m ops plan service'"):
        plans.require_plan(tmp_path / "nowhere", DEV, COMMIT)


def test_environment_inside_the_plan_is_checked() -> None:
    document = {"variables": {"environment": {"value": "dev"}}}
    plans.refuse_other_environment(document, DEV)
    with pytest.raises(UserError, match="the plan itself is for environment dev"):
        plans.refuse_other_environment(document, Target("service", "prod"))
    with pytest.raises(UserError, match=r"for environment \(none\)"):
        plans.refuse_other_environment({}, DEV)
