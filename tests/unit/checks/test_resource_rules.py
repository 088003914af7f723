"""Each resource rule finds a resource that breaks it."""

from pathlib import Path

import pytest

from checks.lint.resource_rules import RULES, Rule, unguarded_resources
from checks.tree import source_files
from ops.settings import ROOT


def findings(root: Path, text: str, file: str = "modules/x/main.tf") -> list[str]:
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(text)
    return list(unguarded_resources(root, [Path(file)]))


def resource(rule: Rule, value: str | None) -> str:
    """Return a resource of the rule's type, with the rule's attribute unless ``value`` is None."""
    block, _, attribute = rule.attribute.rpartition(".")
    line = f"{attribute} = {value}" if value else ""
    body = f"{block} {{\n    {line}\n  }}" if block else line
    return f'resource "{rule.type}" "this" {{\n  {body}\n}}\n'


def about(rule: Rule, found: list[str]) -> list[str]:
    return [line for line in found if f": {rule.attribute} " in line]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.type}.{rule.attribute}")
def test_each_resource_rule_can_fail_and_pass(tmp_path: Path, rule: Rule) -> None:
    good = None if rule.value is None else "var.x" if rule.value == "anything" else f'"{rule.value}"'
    bad = "var.x" if rule.value is None else None
    (found,) = about(rule, findings(tmp_path, resource(rule, bad)))
    assert found.startswith(f"modules/x/main.tf: {rule.type}.this: {rule.attribute} ")
    assert found.endswith(rule.reason)
    assert not about(rule, findings(tmp_path, resource(rule, good)))


def test_finding_shows_the_wrong_value(tmp_path: Path) -> None:
    auth = '  auth {\n    iam_auth = "REQUIRED"\n  }\n'
    text = f'resource "aws_db_proxy" "this" {{\n  require_tls = false\n  debug_logging = false\n{auth}}}\n'
    (found,) = findings(tmp_path, text)
    assert "require_tls must be true, not false" in found


def test_rule_applies_to_each_nested_block(tmp_path: Path) -> None:
    auth = '  auth {\n    iam_auth = "REQUIRED"\n  }\n  auth {\n    secret_arn = "x"\n  }\n'
    text = f'resource "aws_db_proxy" "this" {{\n  require_tls = true\n  debug_logging = false\n{auth}}}\n'
    (found,) = findings(tmp_path, text)
    assert "auth.iam_auth is not set" in found


def test_rules_apply_to_dynamic_blocks(tmp_path: Path) -> None:
    ingress = '  dynamic "ingress" {\n    for_each = []\n    content {\n      from_port = 1\n    }\n  }\n'
    text = f'resource "aws_security_group" "this" {{\n{ingress}}}\n'
    (found,) = findings(tmp_path, text)
    assert "ingress must not be set" in found


def test_exemption_applies_only_in_its_folder(tmp_path: Path) -> None:
    text = 'resource "aws_iam_role" "this" {\n  path = "/pmp/"\n}\n'
    assert not findings(tmp_path, text, "modules/delivery/main.tf")
    assert len(findings(tmp_path, text, "modules/function/main.tf")) == 1


def test_pmp_modules_follow_all_resource_rules() -> None:
    assert not list(unguarded_resources(ROOT, source_files()))
